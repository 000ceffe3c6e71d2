// SPDX-License-Identifier: Apache-2.0
// A kernel sliding along one axis, for convolutions and pools, and the attributes that describe it;
// they come from files, so each is checked before it is used.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "gpfq/net/graph.hpp"

namespace gpfq::net {

/// Output i reads inputs i·stride − pad_before + k·dilation, k = 0 .. kernel−1, those that exist.
struct Window {
  Index input = 0;
  Index kernel = 1;
  Index stride = 1;
  Index dilation = 1;
  Index pad_before = 0;
  Index pad_after = 0;
  Index output = 0;

  /// Inputs from the first to the last that one output reads.
  [[nodiscard]] Index reach() const { return (kernel - 1) * dilation + 1; }
  /// Outputs whose k-th input exists: a range [begin, end), empty where begin >= end.
  struct Outputs {
    Index begin = 0;
    Index end = 0;
  };
  [[nodiscard]] Outputs outputs_inside(Index k) const;
};

/// Vertical, horizontal.
using Windows = std::array<Window, 2>;

/// Attribute `key` of a node as integers, all at least `least`; `fallback` where the node has none.
/// @throws Error (input) naming the node when there are not `count` of them (any number where count < 0), or one is
///         not an integer, below `least` or above 2^31 − 1.
[[nodiscard]] std::vector<Index> integer_attribute(const Node& node, const std::string& key, Index count, Index least,
                                                   std::vector<Index> fallback);
/// A 0 or 1. @throws Error (input) naming the node when it is something else.
[[nodiscard]] bool flag_attribute(const Node& node, const std::string& key, bool fallback);

/// Windows of a node over an input of shape [channels, height, width], from attributes strides, pads, dilations.
/// With `ceil_mode` a last window that is not wholly inside counts too, unless it starts in the padding behind.
/// @throws Error (input) naming the node when the kernel does not fit.
[[nodiscard]] Windows windows_of(const Node& node, const Shape& input, const std::array<Index, 2>& kernel,
                                 bool ceil_mode);

/// Windows of a max_pool or average_pool node over its input's shape. @throws Error (input) likewise, also when the
/// padding is as long as the kernel: a window would see nothing.
[[nodiscard]] Windows pool_windows(const Node& node, const Shape& input);

}  // namespace gpfq::net
