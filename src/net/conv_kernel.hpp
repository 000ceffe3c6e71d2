// SPDX-License-Identifier: Apache-2.0
// The inner product of convolutions: a few filters times a few lines of neighbouring positions,
// summed over inputs in their order, so that every output's sum is the same whoever computes it.
#pragma once

#include "gpfq/base/types.hpp"

namespace gpfq::net {

/// Positions that one vector of the kernel holds.
inline constexpr Index lane_count = 8;
/// Most filters of one call. Filters come in blocks of so many, the last one narrower.
inline constexpr Index filter_block = 4;

/// Vectors of positions per call that keep enough sums in flight: 12 sums fill the 16 registers of AVX2
/// (4 filters × 3 vectors), fewer filters take more vectors.
[[nodiscard]] constexpr Index panel_vectors(Index filters) {
  return filters == 1 ? 8 : (filters == 2 ? 6 : (filters == 3 ? 4 : 3));
}

/// One block of filters times one panel of positions, over `inputs` inputs in ascending order.
struct ConvBlock {
  Index filters = 0;               ///< 1 .. filter_block
  Index vectors = 0;               ///< panel width / lane_count; 1 .. panel_vectors(filters), at most 8
  Index inputs = 0;                ///< inputs of this block of the sum
  const float* weights = nullptr;  ///< inputs × filters
  const float* values = nullptr;   ///< input t of the panel's first position is at values[offsets[t]], then contiguous
  const Index* offsets = nullptr;
  float* out = nullptr;  ///< filters rows, `stride` apart
  Index stride = 0;
  bool accumulate = false;  ///< adds to what `out` holds; sets it otherwise
};

/// out[f][p] (+)= Σ_t weights[t][f] · values[offsets[t] + p], the sum starting at 0 and running over t in order.
/// Cost: 2 · inputs · filters · vectors · lane_count flops.
void multiply_block(const ConvBlock& block);

}  // namespace gpfq::net
