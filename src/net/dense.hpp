// SPDX-License-Identifier: Apache-2.0
// The linear part of a dense node on a batch of samples.
#pragma once

#include "gpfq/net/propagate.hpp"

namespace gpfq::net {

/// linear_output of a dense node. Memory one weight tile beside input and output, and per thread a chunk's product and
/// where the last chunk is padded its inputs.
[[nodiscard]] Batch dense_output(const Graph& graph, const Node& node, const Batch& input, const Parameters& parameters,
                                 const PropagationOptions& options);

}  // namespace gpfq::net
