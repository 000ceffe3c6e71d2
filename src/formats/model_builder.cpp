// SPDX-License-Identifier: Apache-2.0
// Drafting a graph node by node, and the pruning and naming that make it a model.
#include "formats/model_builder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "gpfq/base/error.hpp"

namespace gpfq::formats {

namespace {

/// For each node, whether `output` depends on it; the input always stays.
std::vector<bool> used_nodes(const net::Graph& graph, int output) {
  std::vector<bool> used(graph.nodes.size(), false);
  used.at(static_cast<std::size_t>(output)) = true;
  used.front() = true;
  for (std::size_t i = graph.nodes.size(); i-- > 0;) {
    if (!used[i]) continue;
    for (const int input : graph.nodes[i].inputs) used[static_cast<std::size_t>(input)] = true;
  }
  return used;
}

/// True when a transpose moves only extents of 1, which leaves the values in order.
bool keeps_order(const Shape& shape, const std::vector<std::size_t>& perm) {
  std::vector<std::size_t> moved;
  std::copy_if(perm.begin(), perm.end(), std::back_inserter(moved), [&](std::size_t axis) { return shape[axis] > 1; });
  return std::is_sorted(moved.begin(), moved.end());
}

bool is_subsampling(const net::Node& node) {
  if (node.op != net::Op::max_pool || node.attribute("ceil_mode", 0.0) != 0.0) return false;
  const auto all = [&](const char* key, double value) {
    const auto found = node.attributes.find(key);
    if (found == node.attributes.end()) return key != std::string("kernel");
    return std::all_of(found->second.begin(), found->second.end(), [&](double v) { return v == value; });
  };
  return all("kernel", 1.0) && all("pads", 0.0);
}

}  // namespace

void require_repeatable(Index channels) {
  constexpr Index most_channels = Index{1} << 24;
  if (channels > most_channels)
    throw_input("one value stands for {} channels, expected at most {}", channels, most_channels);
}

net::TensorSource channel_source(std::vector<float> values, Index channels) {
  if (values.size() == 1) require_repeatable(channels);
  if (values.size() != 1) return net::make_source({channels}, std::move(values));
  const float value = values.front();
  return {{channels}, [value](Index, Index count, float* out) { std::fill(out, out + count, value); }};
}

Parameters affine_parameters(std::vector<float> scale, std::vector<float> shift, Index channels) {
  Parameters parameters;
  parameters.emplace("scale", channel_source(std::move(scale), channels));
  parameters.emplace("shift", channel_source(std::move(shift), channels));
  parameters.emplace("mean", channel_source({0.0F}, channels));
  parameters.emplace("variance", channel_source({1.0F}, channels));
  return parameters;
}

int ModelBuilder::add(Layer layer, std::vector<int> inputs) {
  const int index = draft_.size();
  net::Node node;
  node.name = layer.name;
  node.source_name = std::move(layer.name);
  node.op = layer.op;
  node.inputs = std::move(inputs);
  node.shape = std::move(layer.shape);
  node.attributes = std::move(layer.attributes);
  draft_.nodes.push_back(std::move(node));
  set_parameters(index, std::move(layer.parameters));
  draft_.nodes.back().shape = net::infer_shape(draft_, draft_.nodes.back());
  return index;
}

int ModelBuilder::add_reshape(const std::string& name, int input, const Shape& target) {
  while (node(input).op == net::Op::reshape) input = node(input).inputs.front();
  if (target == shape(input)) return input;
  return add({.name = name, .op = net::Op::reshape, .shape = target}, {input});
}

int ModelBuilder::add_transpose(const std::string& name, int input, const std::vector<std::size_t>& perm) {
  std::vector<std::size_t> order = perm;
  if (node(input).op == net::Op::transpose) {
    const std::vector<double>& before = node(input).attributes.at("perm");
    for (std::size_t& axis : order) axis = static_cast<std::size_t>(before.at(axis));
    input = node(input).inputs.front();
  }
  Shape target;
  for (const std::size_t axis : order) target.push_back(shape(input).at(axis));
  if (keeps_order(shape(input), order)) return add_reshape(name, input, target);
  const auto key = std::make_pair(input, order);
  if (const auto found = transposes_.find(key); found != transposes_.end()) return found->second;
  const std::vector<double> numbers(order.begin(), order.end());
  return transposes_[key] = add({.name = name, .op = net::Op::transpose, .attributes = {{"perm", numbers}}}, {input});
}

int ModelBuilder::add_subsampling(const std::string& name, int input, std::size_t axis, Index step) {
  const Shape extents = shape(input);
  if (extents.size() == 3 && axis == 1) return add_map_subsampling(name, input, step, 1);
  if (extents.size() == 3 && axis == 2) return add_map_subsampling(name, input, 1, step);
  const auto at = extents.begin() + static_cast<Index>(axis);
  const Shape map{element_count({extents.begin(), at}), *at, element_count({at + 1, extents.end()})};
  const int pool = add_map_subsampling(name, add_reshape(name, input, map), step, 1);
  Shape target = extents;
  target[axis] = shape(pool)[1];
  return add_reshape(name, pool, target);
}

int ModelBuilder::add_map_subsampling(const std::string& name, int input, Index row_step, Index column_step) {
  std::vector<double> strides{static_cast<double>(row_step), static_cast<double>(column_step)};
  if (is_subsampling(node(input))) {
    const std::vector<double>& before = node(input).attributes.at("strides");
    for (std::size_t i = 0; i < strides.size(); ++i) strides[i] *= before.at(i);
    input = node(input).inputs.front();
  }
  return add({.name = name, .op = net::Op::max_pool, .attributes = {{"kernel", {1.0, 1.0}}, {"strides", strides}}},
             {input});
}

int ModelBuilder::add_slice(const std::string& name, int input, std::size_t axis, Index start, Index count) {
  if (start == 0 && count == shape(input).at(axis)) return input;
  return add({.name = name,
              .op = net::Op::slice,
              .attributes = {{"axis", {static_cast<double>(axis)}},
                             {"start", {static_cast<double>(start)}},
                             {"count", {static_cast<double>(count)}}}},
             {input});
}

void ModelBuilder::add_bias(int index, net::TensorSource bias) {
  Parameters parameters;
  parameters.emplace("bias", std::move(bias));
  set_parameters(index, std::move(parameters));
  static_cast<void>(net::infer_shape(draft_, node(index)));
}

void ModelBuilder::set_parameters(int index, Parameters parameters) {
  net::Node& node = draft_.nodes.at(static_cast<std::size_t>(index));
  for (auto& [role, source] : parameters) {
    const std::string draft_name = fmt::format("{}.{}", index, role);
    node.parameters[role] = draft_name;
    draft_.tensors[draft_name] = source.shape;
    sources_[draft_name] = std::move(source);
  }
}

net::Model ModelBuilder::finish(int output) && {
  const std::vector<bool> used = used_nodes(draft_, output);
  net::Model model;
  std::vector<int> new_index(used.size(), -1);
  std::map<std::string, int> taken;
  for (std::size_t i = 0; i < used.size(); ++i) {
    if (!used[i]) continue;
    net::Node node = std::move(draft_.nodes[i]);
    const int index = model.graph.size();
    new_index[i] = index;
    for (int& input : node.inputs) input = new_index[static_cast<std::size_t>(input)];
    node.name = net::unique_name(node.source_name, net::op_name(node.op), index, taken);
    for (auto& [role, tensor] : node.parameters) {
      net::TensorSource source = std::move(sources_.at(tensor));
      tensor = fmt::format("{}.{}", node.name, role);
      model.graph.tensors[tensor] = source.shape;
      model.tensors[tensor] = std::move(source);
    }
    model.graph.nodes.push_back(std::move(node));
  }
  model.graph.output = new_index[static_cast<std::size_t>(output)];
  net::validate(model.graph);
  return model;
}

}  // namespace gpfq::formats
