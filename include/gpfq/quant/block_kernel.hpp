// SPDX-License-Identifier: Apache-2.0
// The recursion inside one block of inputs: the only sequential part of the blocked path.
#pragma once

#include <cstdint>

#include "gpfq/base/types.hpp"
#include "gpfq/quant/alphabet.hpp"

namespace gpfq::quant {

/// Tiles are padded to this many neurons; the kernel works on as many at once, or on twice as many.
inline constexpr Index kernel_lanes = 16;

/// Inputs of a block whose sums run in registers; what earlier ones of the block leave behind is a matrix product. W and Q
/// of a strip's neurons, 16 KiB, have to fit the first-level cache.
inline constexpr Index kernel_strip = 64;

/// Operands of quantize_block. Matrices over inputs and neurons are b×n, row-major, packed: the n
/// neurons of one input are contiguous.
struct BlockOperands {
  Index width = 0;                     ///< b, inputs of the block
  Index neurons = 0;                   ///< n, a multiple of kernel_lanes
  const float* G = nullptr;            ///< b×b XqᵀXq of this block, row-major, lower triangle read
  const float* C = nullptr;            ///< b×b XqᵀX of this block, row-major, lower triangle read
  const float* inverse_norm = nullptr; ///< b    1/G_tt; 0 for a dead direction
  const float* W = nullptr;            ///< b×n  float weights
  float* P = nullptr;                  ///< b×n  XqᵀU at block entry; overwritten
  const float* step = nullptr;         ///< n    step of each neuron's alphabet
  const float* inverse_spacing = nullptr;  ///< n  1/(2·step); 0 where the step is 0
  int levels = 0;                      ///< M
  RoundingKind rounding = RoundingKind::nearest;
  const float* threshold = nullptr;    ///< n    λ of each neuron, for soft and hard
  const float* shift = nullptr;        ///< n    shift of each neuron's alphabet, for hard; 0 with the others
  const std::uint64_t* seed = nullptr; ///< n    of each neuron, for stochastic
  Index first_counter = 0;             ///< of the block's first input among a neuron's random numbers
  bool diffuses = false;               ///< the sums over s take c_s − q_s in place of q_s, and no W
  float* E = nullptr;                  ///< b×n  out, where it diffuses: c_t − q_t
  float* Q = nullptr;                  ///< b×n  out: quantized values
  std::uint8_t* codes = nullptr;       ///< b×n  out: codes
  std::int32_t* saturated = nullptr;   ///< n    in/out: arguments more than half a spacing beyond the last level
};

/// Quantizes one block of b inputs, in path order, for all neurons of a tile.
///
///   c_t = P_t + Σ_{s≤t} C_ts w_s − Σ_{s<t} G_ts q_s,   q_t = nearest(c_t / G_tt)
/// Source: Lybrand & Saab, JMLR 22(156), 2021 (the path); the blocking is ours, README "Architecture".
/// A dead direction takes the level nearest zero. With `diffuses`, the recursion of error diffusion (GPTQ: Frantar et
/// al., ICLR 2023) for factors whose diagonal is 1:  c_t = P_t − Σ_{s<t} G_ts (c_s − q_s),  q_t = nearest(c_t).
///
/// @throws Error (fault) when neurons is not a multiple of kernel_lanes.   Cost: 2·b²·n flops.
void quantize_block(const BlockOperands& block);

/// Operands of refine_block, laid out as those of BlockOperands.
struct RefineOperands {
  Index width = 0;
  Index neurons = 0;
  const float* G = nullptr;
  const float* inverse_norm = nullptr;
  float* P = nullptr;                      ///< b×n  XqᵀU at block entry; overwritten
  const float* step = nullptr;
  const float* inverse_spacing = nullptr;
  const float* noise = nullptr;            ///< n    of P_t in units of ‖Xq_t‖: what rounding may have done to it
  int levels = 0;
  float* Q = nullptr;                      ///< b×n  in/out: quantized values
  std::uint8_t* codes = nullptr;           ///< b×n  in/out: codes
  float* D = nullptr;                      ///< b×n  out: new values less old ones
  double* gain = nullptr;                  ///< n    in/out: what the changes took off ‖u‖²
};

/// Visits the inputs of one block again, with the residual of all inputs at hand:
///
///   c_t = P_t − Σ_{s<t} G_ts (q_s^new − q_s^old),   q_t ← nearest(q_t + c_t / G_tt)
/// Each change of q_t by d takes d (2 c_t − d G_tt) off ‖u‖². A level is left only where that exceeds what rounding in
/// single precision may have made of c_t, so that no change raises ‖u‖.
///
/// @returns weights that changed.   @throws Error (fault) as quantize_block.   Cost: b²·n flops.
Index refine_block(const RefineOperands& block);

}  // namespace gpfq::quant
