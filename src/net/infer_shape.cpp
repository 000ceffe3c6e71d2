// SPDX-License-Identifier: Apache-2.0
// Output shapes of operators, with every check that a node from a file needs before its extents
// are used for anything else.
#include <algorithm>

#include "gpfq/base/error.hpp"
#include "gpfq/net/graph.hpp"
#include "gpfq/net/patches.hpp"
#include "net/arithmetic.hpp"
#include "net/window.hpp"

namespace gpfq::net {
namespace {

constexpr Index largest_extent = Index{1} << 62;

const Shape& input_shape(const Graph& graph, const Node& node, std::size_t index = 0) {
  return graph.node(node.inputs[index]).shape;
}

const Shape& parameter_shape(const Graph& graph, const Node& node, const std::string& role) {
  const auto found = node.parameters.find(role);
  if (found == node.parameters.end()) throw_input("node '{}' ({}) has no {}", node.name, op_name(node.op), role);
  if (graph.tensors.count(found->second) == 0)
    throw_input("node '{}' ({}): its {} is tensor '{}', which the network does not hold", node.name, op_name(node.op),
                role, found->second);
  return graph.tensor_shape(found->second);
}

void expect_shape(const Node& node, const std::string& role, const Shape& found, const Shape& expected) {
  if (found != expected)
    throw_input("node '{}' ({}): {} has shape {}, expected {}", node.name, op_name(node.op), role, to_string(found),
                to_string(expected));
}

void expect_input_count(const Node& node) {
  const std::size_t count = node.inputs.size();
  const bool is_pair = node.op == Op::add || node.op == Op::sub || node.op == Op::mul;
  const std::size_t expected = node.op == Op::input ? 0 : (is_pair ? 2 : 1);
  if (node.op == Op::concat ? count < 1 : count != expected)
    throw_input("node '{}' ({}) has {} inputs, expected {}{}", node.name, op_name(node.op), count, expected,
                node.op == Op::concat ? " or more" : "");
}

Shape dense_shape(const Graph& graph, const Node& node) {
  const Shape& input = input_shape(graph, node);
  const Shape& weight = parameter_shape(graph, node, "weight");
  if (weight.size() != 2 || weight[0] < 1 || weight[1] < 1)
    throw_input("node '{}' (dense): weight has shape {}, expected outputs x inputs", node.name, to_string(weight));
  if (input.size() != 1 || input[0] != weight[1])
    throw_input("node '{}' (dense): its input has shape {}, its weight expects {}", node.name, to_string(input),
                weight[1]);
  if (node.has_parameter("bias")) expect_shape(node, "bias", parameter_shape(graph, node, "bias"), {weight[0]});
  return {weight[0]};
}

Shape conv_shape(const Graph& graph, const Node& node) {
  static_cast<void>(parameter_shape(graph, node, "weight"));
  const ConvGeometry geometry = conv_geometry(graph, node);
  if (node.has_parameter("bias")) expect_shape(node, "bias", parameter_shape(graph, node, "bias"), {geometry.filters});
  return {geometry.filters, geometry.output_height, geometry.output_width};
}

Shape batch_norm_shape(const Graph& graph, const Node& node) {
  const Shape& input = input_shape(graph, node);
  if (input.empty()) throw_input("node '{}' (batch_norm): its input is a scalar", node.name);
  for (const char* role : {"scale", "shift", "mean", "variance"})
    expect_shape(node, role, parameter_shape(graph, node, role), {input.front()});
  return input;
}

Shape pool_shape(const Graph& graph, const Node& node) {
  const Shape& input = input_shape(graph, node);
  const Windows windows = pool_windows(node, input);
  if (node.op == Op::average_pool) static_cast<void>(flag_attribute(node, "count_include_pad", false));
  return {input[0], windows[0].output, windows[1].output};
}

/// A list of distinct axes of a shape.
std::vector<Index> axes_of(const Node& node, const std::string& key, Index count, const Shape& shape) {
  const std::vector<Index> axes = integer_attribute(node, key, count, 0, {});
  if (axes.empty()) throw_input("node '{}' ({}): it has no attribute {}", node.name, op_name(node.op), key);
  std::vector<bool> seen(shape.size(), false);
  for (const Index axis : axes) {
    if (axis >= static_cast<Index>(shape.size()) || seen[static_cast<std::size_t>(axis)])
      throw_input("node '{}' ({}): attribute {} names axis {}, of {}, or names it twice", node.name, op_name(node.op),
                  key, axis, shape.size());
    seen[static_cast<std::size_t>(axis)] = true;
  }
  return axes;
}

Shape reduced_shape(const Graph& graph, const Node& node) {
  const Shape& input = input_shape(graph, node);
  const std::vector<Index> axes = axes_of(node, "axes", -1, input);
  const bool keep = flag_attribute(node, "keepdims", true);
  Shape shape;
  for (std::size_t axis = 0; axis < input.size(); ++axis) {
    const bool reduced = std::find(axes.begin(), axes.end(), static_cast<Index>(axis)) != axes.end();
    if (!reduced || keep) shape.push_back(reduced ? 1 : input[axis]);
  }
  return shape;
}

Shape padded_shape(const Graph& graph, const Node& node) {
  Shape shape = input_shape(graph, node);
  const std::size_t rank = shape.size();
  const auto pads = integer_attribute(node, "pads", 2 * static_cast<Index>(rank), 0, std::vector<Index>(2 * rank, 0));
  for (std::size_t axis = 0; axis < rank; ++axis) shape[axis] += pads[axis] + pads[axis + rank];
  return shape;
}

Shape joined_shape(const Graph& graph, const Node& node) {
  Shape shape = input_shape(graph, node);
  const Index axis = integer_attribute(node, "axis", 1, 0, {0}).front();
  if (axis >= static_cast<Index>(shape.size()))
    throw_input("node '{}' (concat): attribute axis is {}, its inputs have {}", node.name, axis, shape.size());
  for (std::size_t i = 1; i < node.inputs.size(); ++i) {
    Shape other = input_shape(graph, node, i);
    const std::size_t at = static_cast<std::size_t>(axis);
    const Index extent = other.size() == shape.size() ? other[at] : 0;
    if (extent > 0) other[at] = shape[at];
    if (extent < 1 || other != shape)
      throw_input("node '{}' (concat): inputs of shapes {} and {} cannot be joined along axis {}", node.name,
                  to_string(input_shape(graph, node)), to_string(input_shape(graph, node, i)), axis);
    if (extent > largest_extent - shape[at])
      throw_input("node '{}' (concat): its inputs together have more than 2^62 values along axis {}", node.name, axis);
    shape[at] += extent;
  }
  return shape;
}

Shape sliced_shape(const Graph& graph, const Node& node) {
  Shape shape = input_shape(graph, node);
  const Index axis = integer_attribute(node, "axis", 1, 0, {0}).front();
  if (axis >= static_cast<Index>(shape.size()))
    throw_input("node '{}' (slice): attribute axis is {}, its input has {}", node.name, axis, shape.size());
  const Index start = integer_attribute(node, "start", 1, 0, {0}).front();
  const std::vector<Index> count = integer_attribute(node, "count", 1, 1, {});
  if (count.empty()) throw_input("node '{}' (slice): it has no attribute count", node.name);
  Index& extent = shape[static_cast<std::size_t>(axis)];
  if (start + count.front() > extent)
    throw_input("node '{}' (slice): {} values from {} on along axis {}, its input has {}", node.name, count.front(),
                start, axis, extent);
  extent = count.front();
  return shape;
}

Shape transposed_shape(const Graph& graph, const Node& node) {
  const Shape& input = input_shape(graph, node);
  Shape shape;
  for (const Index axis : axes_of(node, "perm", static_cast<Index>(input.size()), input))
    shape.push_back(input[static_cast<std::size_t>(axis)]);
  return shape;
}

Shape shape_of(const Graph& graph, const Node& node) {
  switch (node.op) {
    case Op::input:
      return node.shape;
    case Op::dense:
      return dense_shape(graph, node);
    case Op::conv:
      return conv_shape(graph, node);
    case Op::max_pool:
    case Op::average_pool:
      return pool_shape(graph, node);
    case Op::reduce_mean:
      return reduced_shape(graph, node);
    case Op::pad:
      return padded_shape(graph, node);
    case Op::add:
    case Op::sub:
    case Op::mul:
      return broadcast_shape(node, input_shape(graph, node), input_shape(graph, node, 1));
    case Op::concat:
      return joined_shape(graph, node);
    case Op::slice:
      return sliced_shape(graph, node);
    case Op::transpose:
      return transposed_shape(graph, node);
    case Op::batch_norm:
      return batch_norm_shape(graph, node);
    case Op::reshape:
      if (element_count(node.shape) != element_count(input_shape(graph, node)))
        throw_input("node '{}' (reshape): {} cannot become {}", node.name, to_string(input_shape(graph, node)),
                    to_string(node.shape));
      return node.shape;
    case Op::softmax:
      if (input_shape(graph, node).empty()) throw_input("node '{}' (softmax): its input is a scalar", node.name);
      return input_shape(graph, node);
    default:
      return input_shape(graph, node);
  }
}

}  // namespace

Shape infer_shape(const Graph& graph, const Node& node) {
  expect_input_count(node);
  for (const int from : node.inputs)
    if (from < 0 || from >= graph.size())
      throw_input("node '{}' reads node {}, the network has {}", node.name, from, graph.size());
  Shape shape = shape_of(graph, node);
  try {
    static_cast<void>(element_count(shape));
  } catch (const Error& error) {
    throw_input("node '{}' ({}): {}", node.name, op_name(node.op), error.what());
  }
  return shape;
}

}  // namespace gpfq::net
