// SPDX-License-Identifier: Apache-2.0
// Explicit paddings from named ones, and the attributes of the nodes that slide or reduce over
// feature maps.
#include "formats/kernel_window.hpp"

#include <algorithm>
#include <span>
#include <vector>

namespace gpfq::formats {

namespace {

std::vector<double> numbers(std::span<const Index> values) { return {values.begin(), values.end()}; }

}  // namespace

void pad_to_same(KernelWindow& window, const Shape& maps, OddPadding odd) {
  for (std::size_t axis = 0; axis < 2; ++axis) {
    const Index input = maps.at(axis + 1);
    const Index outputs = ceil_div(input, window.strides[axis]);
    const Index reach = (window.kernel[axis] - 1) * window.dilations[axis] + 1;
    const Index total = std::max<Index>(0, (outputs - 1) * window.strides[axis] + reach - input);
    const Index smaller = total / 2;
    window.pads[axis] = odd == OddPadding::end ? smaller : total - smaller;
    window.pads[axis + 2] = total - window.pads[axis];
  }
}

Attributes conv_attributes(const KernelWindow& window, Index groups) {
  return {{"strides", numbers(window.strides)},
          {"pads", numbers(window.pads)},
          {"dilations", numbers(window.dilations)},
          {"groups", {static_cast<double>(groups)}}};
}

Attributes pool_attributes(const KernelWindow& window) {
  return {{"kernel", numbers(window.kernel)},
          {"strides", numbers(window.strides)},
          {"pads", numbers(window.pads)},
          {"dilations", numbers(window.dilations)}};
}

int add_global_max(ModelBuilder& builder, const std::string& name, int input) {
  const Shape& maps = builder.shape(input);
  const KernelWindow whole{.kernel = {maps.at(1), maps.at(2)}, .strides = {maps.at(1), maps.at(2)}};
  return builder.add({.name = name, .op = net::Op::max_pool, .attributes = pool_attributes(whole)}, {input});
}

int add_mean(ModelBuilder& builder, const std::string& name, int input, std::vector<Index> axes, bool keep_dimensions) {
  if (axes.empty()) return input;
  std::sort(axes.begin(), axes.end());
  const bool is_whole = axes.size() == builder.shape(input).size();
  const double keep = keep_dimensions || is_whole ? 1.0 : 0.0;
  const int mean = builder.add(
      {.name = name, .op = net::Op::reduce_mean, .attributes = {{"axes", numbers(axes)}, {"keepdims", {keep}}}},
      {input});
  return is_whole && !keep_dimensions ? builder.add_reshape(name, mean, {1}) : mean;
}

int add_padding(ModelBuilder& builder, const std::string& name, int input, const std::vector<Index>& pads,
                double value) {
  if (std::all_of(pads.begin(), pads.end(), [](Index pad) { return pad == 0; })) return input;
  return builder.add({.name = name, .op = net::Op::pad, .attributes = {{"pads", numbers(pads)}, {"value", {value}}}},
                     {input});
}

}  // namespace gpfq::formats
