// SPDX-License-Identifier: Apache-2.0
// The linear part of a convolution node on a batch of samples.
#pragma once

#include "gpfq/net/propagate.hpp"

namespace gpfq::net {

/// linear_output of a conv node: W times the patches of each sample and group. Each output is a sum over its inputs in
/// order, in blocks of fixed length, whatever samples, strips and threads it shares the call with.
/// Cost: 2 · samples · positions · filters · N flops, and one copy of the feature maps per tile of filters; memory two
/// weight tiles and a thread's scratch (scratch_floats_per_thread).
[[nodiscard]] Batch conv_output(const Graph& graph, const Node& node, const Batch& input, const Parameters& parameters,
                                const PropagationOptions& options);

/// Floats that conv_output needs per thread.
[[nodiscard]] Index conv_scratch_floats(const Graph& graph, const Node& node);

}  // namespace gpfq::net
