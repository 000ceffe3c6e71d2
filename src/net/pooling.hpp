// SPDX-License-Identifier: Apache-2.0
// Maxima and averages over sliding windows.
#pragma once

#include "gpfq/net/propagate.hpp"

namespace gpfq::net {

/// The largest input of each window, NaN where one is; a dilated window without any input gives −infinity.
void max_pool(const Node& node, const Batch& input, int threads, Batch& output);

/// The mean of each window, summed in double precision. With count_include_pad the padding counts as zeros (what
/// ceil_mode adds beyond it does not), without it only inputs count; a dilated window without any gives 0.
void average_pool(const Node& node, const Batch& input, int threads, Batch& output);

}  // namespace gpfq::net
