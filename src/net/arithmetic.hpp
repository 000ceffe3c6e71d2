// SPDX-License-Identifier: Apache-2.0
// Operators that combine values: sums, differences and products of two tensors, means over axes.
#pragma once

#include "gpfq/net/propagate.hpp"

namespace gpfq::net {

/// The shape that two shapes broadcast to: aligned at their last axes, an extent of 1 repeats.
/// @throws Error (input) naming the node when they do not fit.
[[nodiscard]] Shape broadcast_shape(const Node& node, const Shape& first, const Shape& second);

/// Values of one operand, samples × shape; `output` may be one of the operands where the shapes are the same.
struct Operand {
  const float* values = nullptr;
  const Shape* shape = nullptr;
};

/// output = first + second (Op::add), first − second (Op::sub) or first · second (Op::mul), sample by sample.
void combine(Op op, const Operand& first, const Operand& second, int threads, Batch& output);

/// Means over the node's axes, summed in double precision in row-major order.
void reduce_mean(const Node& node, const Batch& input, int threads, Batch& output);

}  // namespace gpfq::net
