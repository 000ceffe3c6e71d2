// SPDX-License-Identifier: Apache-2.0
// What is done to each channel (dimension 0 of a sample) alike: biases and batch normalization.
#pragma once

#include "gpfq/net/propagate.hpp"

namespace gpfq::net {

/// value · scale/√(variance + epsilon) + (shift − mean · scale/√(variance + epsilon)), the factors in double precision.
void batch_norm(const Graph& graph, const Node& node, const Parameters& parameters, int threads, Batch& batch);

}  // namespace gpfq::net
