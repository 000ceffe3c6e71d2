// SPDX-License-Identifier: Apache-2.0
// The recursion inside one block of inputs: the only sequential part of the blocked path.
#pragma once

#include <cstdint>

#include "gpfq/base/types.hpp"

namespace gpfq::quant {

/// Neurons that the kernel works on at once; tiles are padded to it.
inline constexpr Index kernel_lanes = 16;

/// Operands of quantize_block. Matrices over inputs and neurons are b×n, row-major, packed: the n
/// neurons of one input are contiguous.
struct BlockOperands {
  Index width = 0;                     ///< b, inputs of the block
  Index neurons = 0;                   ///< n, a multiple of kernel_lanes
  const float* G = nullptr;            ///< b×b XqᵀXq of this block, row-major, lower triangle read
  const float* C = nullptr;            ///< b×b XqᵀX of this block, row-major, lower triangle read
  const float* inverse_norm = nullptr; ///< b    1/G_tt; 0 for a dead direction
  const float* W = nullptr;            ///< b×n  float weights
  const float* P = nullptr;            ///< b×n  XqᵀU at block entry
  const float* step = nullptr;         ///< n    step of each neuron's alphabet
  const float* inverse_spacing = nullptr;  ///< n  1/(2·step); 0 where the step is 0
  int levels = 0;                      ///< M
  float* Q = nullptr;                  ///< b×n  out: quantized values
  std::uint8_t* codes = nullptr;       ///< b×n  out: codes
  std::int32_t* saturated = nullptr;   ///< n    in/out: arguments more than half a spacing beyond the last level
};

/// Quantizes one block of b inputs, in path order, for all neurons of a tile.
///
///   c_t = P_t + Σ_{s≤t} C_ts w_s − Σ_{s<t} G_ts q_s,   q_t = nearest(c_t / G_tt)
/// Source: Lybrand & Saab, JMLR 22(156), 2021 (the path); the blocking is ours, README "Architecture".
/// A dead direction takes the level nearest zero.
///
/// @throws Error (fault) when neurons is not a multiple of kernel_lanes.   Cost: 2·b²·n flops.
void quantize_block(const BlockOperands& block);

}  // namespace gpfq::quant
