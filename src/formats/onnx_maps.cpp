// SPDX-License-Identifier: Apache-2.0
// Conversion of the operators over feature maps. Paddings that ONNX gives by name become numbers
// here, for the input's shape is known.
#include "formats/onnx_maps.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "formats/kernel_window.hpp"
#include "gpfq/base/error.hpp"

namespace gpfq::formats::onnx_reader {

namespace {

/// `N` integers of an attribute, each from `least` to largest_window; unchanged where the node has none.
template <std::size_t N>
void read_window_attribute(const Call& call, std::string_view name, Index least, std::array<Index, N>& values) {
  const std::optional<std::vector<Index>> found = call.integers_attribute(name);
  if (!found) return;
  const bool fits = found->size() == N && std::all_of(found->begin(), found->end(), [&](Index value) {
                      return value >= least && value <= largest_window;
                    });
  if (!fits) {
    throw_input("attribute '{}' is [{}]; expected {} integers from {} on", name, fmt::join(*found, ", "), N, least);
  }
  std::copy(found->begin(), found->end(), values.begin());
}

/// The window of a Conv or pool over `maps`, its padding explicit.
KernelWindow read_window(const Call& call, const Pair& kernel, const Shape& maps) {
  KernelWindow window{.kernel = kernel};
  read_window_attribute(call, "strides", 1, window.strides);
  read_window_attribute(call, "dilations", 1, window.dilations);
  const std::string named = call.text_attribute("auto_pad", "NOTSET");
  if (named == "SAME_UPPER" || named == "SAME_LOWER") {
    pad_to_same(window, maps, named == "SAME_UPPER" ? OddPadding::end : OddPadding::start);
  } else if (named == "NOTSET") {
    read_window_attribute(call, "pads", 0, window.pads);
  } else if (named != "VALID") {
    throw_input("attribute 'auto_pad' is '{}'; expected NOTSET, SAME_UPPER, SAME_LOWER or VALID", named);
  }
  return window;
}

void require_maps(const Shape& sample) {
  if (sample.size() != 3)
    throw Unsupported(fmt::format("on samples of {} (not channels x height x width)", to_string(sample)));
}

KernelWindow read_pool(const Call& call) {
  const Shape& maps = call.sample_shape(0);
  require_maps(maps);
  Pair kernel{0, 0};
  read_window_attribute(call, "kernel_shape", 1, kernel);
  if (kernel[0] == 0) throw_input("attribute 'kernel_shape' is missing");
  return read_window(call, kernel, maps);
}

Attributes pool_node_attributes(const Call& call, const KernelWindow& window) {
  Attributes attributes = pool_attributes(window);
  attributes["ceil_mode"] = {call.integer_attribute("ceil_mode", 0) != 0 ? 1.0 : 0.0};
  return attributes;
}

/// The axes of a reduction as per-sample axes.
std::vector<Index> reduced_axes(const Call& call, const Shape& sample) {
  const std::optional<std::vector<Index>> found = call.numbers(1, "axes");
  if ((!found || found->empty()) && call.integer_attribute("noop_with_empty_axes", 0) != 0) return {};
  if (!found || found->empty()) throw Unsupported("over the batch dimension");
  std::vector<Index> axes;
  for (const Index axis : *found) {
    const std::size_t at = axis_of(axis, sample.size() + 1);
    if (at == 0) throw Unsupported("over the batch dimension");
    axes.push_back(static_cast<Index>(at) - 1);
  }
  return axes;
}

}  // namespace

Value convert_conv(const Call& call) {
  const Shape& maps = call.sample_shape(0);
  const Constant& weight = call.constant(1);
  const Shape extents = weight.shape();
  require_maps(maps);
  if (extents.size() != 4) throw Unsupported(fmt::format("with a weight of shape {}", to_string(extents)));
  Pair kernel{extents[2], extents[3]};
  read_window_attribute(call, "kernel_shape", 1, kernel);
  if (kernel != Pair{extents[2], extents[3]} || *std::max_element(extents.begin(), extents.end()) > largest_window) {
    throw_input("attribute 'kernel_shape' is {}x{}; its weight has shape {}", kernel[0], kernel[1], to_string(extents));
  }
  Parameters parameters;
  parameters.emplace("weight", rows_source(call.file(), weight));
  if (call.has_input(2)) {
    parameters.emplace("bias", net::make_source({extents[0]}, channel_values(call, 2, {extents[0]}, true)));
  }
  const Index groups = call.integer_attribute("group", 1);
  if (groups < 1 || groups > extents[0])
    throw_input("attribute 'group' is {}; the layer has {} filters", groups, extents[0]);
  return call.add_linear(net::Op::conv, weight, conv_attributes(read_window(call, kernel, maps), groups),
                         std::move(parameters));
}

Value convert_max_pool(const Call& call) {
  // `storage_order` concerns the second output only, the places of the maxima, which nothing reads at inference.
  return call.add(net::Op::max_pool, call.activation(0), pool_node_attributes(call, read_pool(call)));
}

Value convert_average_pool(const Call& call) {
  Attributes attributes = pool_node_attributes(call, read_pool(call));
  attributes["count_include_pad"] = {call.integer_attribute("count_include_pad", 0) != 0 ? 1.0 : 0.0};
  return call.add(net::Op::average_pool, call.activation(0), std::move(attributes));
}

Value convert_global_average_pool(const Call& call) {
  std::vector<Index> axes(call.sample_shape(0).size() - 1);
  std::iota(axes.begin(), axes.end(), 1);
  return Activation{add_mean(call.builder(), call.node().name(), call.activation(0), std::move(axes), true)};
}

Value convert_global_max_pool(const Call& call) {
  require_maps(call.sample_shape(0));
  return Activation{add_global_max(call.builder(), call.node().name(), call.activation(0))};
}

/// Pads are inputs from opset 11 on, attributes before; they cover the batch dimension too.
Value convert_pad(const Call& call) {
  const std::string mode = call.text_attribute("mode", "constant");
  if (mode != "constant") throw Unsupported(fmt::format("in mode '{}'", mode));
  const int input = call.activation(0);
  const std::size_t rank = call.sample_shape(0).size() + 1;
  const std::vector<Index> given = call.numbers(1, "pads").value_or(std::vector<Index>{});
  std::vector<Index> axes(rank);
  std::iota(axes.begin(), axes.end(), 0);
  if (call.has_input(3)) axes = call.numbers(3);
  if (given.size() != 2 * axes.size()) throw_input("{} pads for {} axes; expected two each", given.size(), axes.size());
  std::vector<Index> pads(2 * rank, 0);
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::size_t axis = axis_of(axes[i], rank);
    pads[axis] = given[i];
    pads[axis + rank] = given[i + axes.size()];
  }
  if (pads[0] != 0 || pads[rank] != 0) throw Unsupported("of the batch dimension");
  pads.erase(pads.begin() + static_cast<Index>(rank));
  pads.erase(pads.begin());
  if (std::any_of(pads.begin(), pads.end(), [](Index pad) { return pad < 0 || pad > largest_window; })) {
    throw Unsupported(fmt::format("by [{}]", fmt::join(pads, ", ")));
  }
  const double value = call.has_input(2) ? call.number(2) : call.float_attribute("value", 0.0);
  if (std::isnan(value)) throw Unsupported("with a value that is not a number");
  // The largest float stands for infinity: to a MaxPool, before which it stands, both are below every value.
  constexpr double largest = std::numeric_limits<float>::max();
  return Activation{
      add_padding(call.builder(), call.node().name(), input, pads, std::clamp(value, -largest, largest))};
}

Value convert_reduce_mean(const Call& call) {
  const bool keep = call.integer_attribute("keepdims", 1) != 0;
  std::vector<Index> axes = reduced_axes(call, call.sample_shape(0));
  return Activation{add_mean(call.builder(), call.node().name(), call.activation(0), std::move(axes), keep)};
}

}  // namespace gpfq::formats::onnx_reader
