// SPDX-License-Identifier: Apache-2.0
// Elementwise operators and softmax on packed values.
#pragma once

#include <span>

#include "gpfq/net/graph.hpp"

namespace gpfq::net {

/// Applies an elementwise operator in place; formulas stand at Op.
void apply_elementwise(const Node& node, std::span<float> values);

/// Softmax in place over rows of `row_size` values, shifted by each row's maximum.
void apply_softmax(std::span<float> values, Index row_size);

}  // namespace gpfq::net
