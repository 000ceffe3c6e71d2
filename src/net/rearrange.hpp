// SPDX-License-Identifier: Apache-2.0
// Operators that move values without changing them: padding, joining, cutting, permuted axes.
#pragma once

#include <vector>

#include "gpfq/net/propagate.hpp"

namespace gpfq::net {

/// The input in the middle of the node's constant.
void pad(const Node& node, const Batch& input, int threads, Batch& output);

/// The inputs, in order, along the node's axis.
void concatenate(const Node& node, const std::vector<const Batch*>& inputs, int threads, Batch& output);

/// The part of the input that the node takes along its axis.
void slice(const Node& node, const Batch& input, int threads, Batch& output);

/// The input with its axes in the node's order.
void transpose(const Node& node, const Batch& input, int threads, Batch& output);

}  // namespace gpfq::net
