// SPDX-License-Identifier: Apache-2.0
// The window of a convolution or pool as importers describe it, and the paddings that files give by
// name; the graph knows explicit numbers only.
#pragma once

#include <array>

#include "formats/model_builder.hpp"

namespace gpfq::formats {

/// Height and width; values are read from files and checked to be at most largest_window.
using Pair = std::array<Index, 2>;

/// No kernel, stride, dilation or padding in sight is longer; it keeps sums and products in range.
inline constexpr Index largest_window = Index{1} << 30;

struct KernelWindow {
  Pair kernel{1, 1};
  Pair strides{1, 1};
  Pair dilations{1, 1};
  std::array<Index, 4> pads{};  ///< top, left, bottom, right
};

/// Where the odd value goes when the padding has no two equal halves. TensorFlow's "same" and ONNX' SAME_UPPER put
/// it at the end, SAME_LOWER at the start.
enum class OddPadding { end, start };

/// Pads such that the output along each axis has ⌈input/stride⌉ values:
///   total = max(0, (⌈input/stride⌉ − 1) stride + (kernel − 1) dilation + 1 − input), half of it before.
/// @param maps  [C, H, W]
void pad_to_same(KernelWindow& window, const Shape& maps, OddPadding odd);

/// Attributes strides, pads and dilations of a node; pools have `kernel` as well.
[[nodiscard]] Attributes conv_attributes(const KernelWindow& window, Index groups);
[[nodiscard]] Attributes pool_attributes(const KernelWindow& window);

/// A max_pool over whole maps [C, H, W] → [C, 1, 1], and the mean over `axes` as kept or dropped dimensions. A mean
/// that leaves no dimension is one value: shape [1].
[[nodiscard]] int add_global_max(ModelBuilder& builder, const std::string& name, int input);
[[nodiscard]] int add_mean(ModelBuilder& builder, const std::string& name, int input, std::vector<Index> axes,
                           bool keep_dimensions);

/// Zero or constant padding; nothing is added where all pads are 0.
/// @param pads  before each axis of a sample, then after each
[[nodiscard]] int add_padding(ModelBuilder& builder, const std::string& name, int input, const std::vector<Index>& pads,
                              double value);

}  // namespace gpfq::formats
