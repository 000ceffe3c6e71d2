// SPDX-License-Identifier: Apache-2.0
// Arithmetic of sliding windows. Attributes are at most 2^31 − 1 and extents at most 2^62, so that
// no sum or product below leaves 64 bits.
#include "net/window.hpp"

#include <algorithm>
#include <cmath>

#include "gpfq/base/error.hpp"

namespace gpfq::net {
namespace {

constexpr Index largest_setting = 2147483647;
constexpr std::array<const char*, 2> axis_names = {"vertically", "horizontally"};

/// Extent of the output along one axis; below 1 where the kernel does not fit.
Index output_extent(const Window& window, bool ceil_mode) {
  const Index room = window.input + window.pad_before + window.pad_after - window.reach();
  if (room < 0 && !ceil_mode) return 0;
  if (room < 0) return room + window.stride > 0 ? 1 : 0;
  if (!ceil_mode) return room / window.stride + 1;
  const Index extent = ceil_div(room, window.stride) + 1;
  const bool starts_behind = (extent - 1) * window.stride >= window.input + window.pad_before;
  return starts_behind ? extent - 1 : extent;
}

}  // namespace

Window::Outputs Window::outputs_inside(Index k) const {
  const Index shift = k * dilation - pad_before;  // reads input i·stride + shift
  const Index begin = shift >= 0 ? 0 : std::min(output, ceil_div(-shift, stride));
  const Index end = shift >= input ? 0 : std::min(output, (input - 1 - shift) / stride + 1);
  return {begin, end};
}

std::vector<Index> integer_attribute(const Node& node, const std::string& key, Index count, Index least,
                                     std::vector<Index> fallback) {
  const auto found = node.attributes.find(key);
  if (found == node.attributes.end()) return fallback;
  const std::vector<double>& numbers = found->second;
  if (count >= 0 && static_cast<Index>(numbers.size()) != count)
    throw_input("node '{}' ({}): attribute {} has {} values, expected {}", node.name, op_name(node.op), key,
                numbers.size(), count);
  std::vector<Index> integers;
  for (const double number : numbers) {
    if (!(number >= static_cast<double>(least) && number <= static_cast<double>(largest_setting)) ||
        number != std::floor(number))
      throw_input("node '{}' ({}): attribute {} has the value {}, expected an integer from {} to 2^31 - 1", node.name,
                  op_name(node.op), key, number, least);
    integers.push_back(static_cast<Index>(number));
  }
  return integers;
}

bool flag_attribute(const Node& node, const std::string& key, bool fallback) {
  const Index value = integer_attribute(node, key, 1, 0, {fallback ? 1 : 0}).front();
  if (value > 1)
    throw_input("node '{}' ({}): attribute {} is {}, expected 0 or 1", node.name, op_name(node.op), key, value);
  return value == 1;
}

Windows windows_of(const Node& node, const Shape& input, const std::array<Index, 2>& kernel, bool ceil_mode) {
  if (input.size() != 3 || element_count(input) < 1)
    throw_input("node '{}' ({}): its input has shape {}, expected channels x height x width", node.name,
                op_name(node.op), to_string(input));
  const auto strides = integer_attribute(node, "strides", 2, 1, {1, 1});
  const auto dilations = integer_attribute(node, "dilations", 2, 1, {1, 1});
  const auto pads = integer_attribute(node, "pads", 4, 0, {0, 0, 0, 0});
  Windows windows;
  for (std::size_t axis = 0; axis < 2; ++axis) {
    if (kernel[axis] < 1 || kernel[axis] > largest_setting)
      throw_input("node '{}' ({}): a kernel of {} {}", node.name, op_name(node.op), kernel[axis], axis_names[axis]);
    Window& window = windows[axis];
    window.input = input[axis + 1];
    window.kernel = kernel[axis];
    window.stride = strides[axis];
    window.dilation = dilations[axis];
    window.pad_before = pads[axis];
    window.pad_after = pads[axis + 2];
    window.output = output_extent(window, ceil_mode);
    if (window.output < 1)
      throw_input("node '{}' ({}): its kernel reaches over {} values {}, its padded input has {}", node.name,
                  op_name(node.op), window.reach(), axis_names[axis],
                  window.input + window.pad_before + window.pad_after);
  }
  return windows;
}

Windows pool_windows(const Node& node, const Shape& input) {
  const auto kernel = integer_attribute(node, "kernel", 2, 1, {});
  if (kernel.empty()) throw_input("node '{}' ({}): it has no attribute kernel", node.name, op_name(node.op));
  const Windows windows = windows_of(node, input, {kernel[0], kernel[1]}, flag_attribute(node, "ceil_mode", false));
  for (std::size_t axis = 0; axis < 2; ++axis)
    if (std::max(windows[axis].pad_before, windows[axis].pad_after) >= windows[axis].reach())
      throw_input("node '{}' ({}): padding of {} {}, its kernel reaches over {}: a window would lie in the padding",
                  node.name, op_name(node.op), std::max(windows[axis].pad_before, windows[axis].pad_after),
                  axis_names[axis], windows[axis].reach());
  return windows;
}

}  // namespace gpfq::net
