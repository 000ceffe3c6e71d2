// SPDX-License-Identifier: Apache-2.0
// A convolution as a matrix product: the patches that its filters see, made from feature maps as
// they are needed and never stored.
#pragma once

#include <span>

#include "gpfq/base/types.hpp"
#include "gpfq/net/graph.hpp"

namespace gpfq::net {

/// Extents of one convolution node.
struct ConvGeometry {
  Index channels = 0;  ///< Cin
  Index height = 0;
  Index width = 0;
  Index filters = 0;  ///< Cout
  Index groups = 1;
  Index kernel_height = 1;
  Index kernel_width = 1;
  Index stride_height = 1;
  Index stride_width = 1;
  Index dilation_height = 1;
  Index dilation_width = 1;
  Index pad_top = 0;
  Index pad_left = 0;
  Index output_height = 0;
  Index output_width = 0;

  [[nodiscard]] Index positions() const { return output_height * output_width; }
  [[nodiscard]] Index channels_per_group() const { return channels / groups; }
  /// N: inputs of one filter, in the order Cin/groups, kh, kw.
  [[nodiscard]] Index inputs() const { return channels_per_group() * kernel_height * kernel_width; }
};

/// Geometry of a conv node. @throws Error (input) naming the node when attributes and shapes do not fit.
[[nodiscard]] ConvGeometry conv_geometry(const Graph& graph, const Node& node);

/// Columns first_input .. first_input+count−1 of the patch matrix of one group. Row (sample·K + k) is the k-th
/// position of that sample, K = positions.size()/samples of a selection (ascending positions, sample after sample), or
/// all positions in row-major order when `positions` is empty. Entry (row, t) goes to out[t·stride + row]; what lies in
/// the padding is 0. `maps` is samples × channels × height × width. Cost: one copy per entry.
void extract_patches(const ConvGeometry& geometry, Index group, const float* maps, Index samples,
                     std::span<const Index> positions, Index first_input, Index count, float* out, Index stride);

}  // namespace gpfq::net
