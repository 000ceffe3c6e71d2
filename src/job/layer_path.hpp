// SPDX-License-Identifier: Apache-2.0
// One layer on one rank: its neurons' tiles, in waves that fit memory, over the streamed inputs.
#pragma once

#include "gpfq/store/activation_store.hpp"
#include "gpfq/store/quantized_file.hpp"
#include "job/messages.hpp"
#include "job/radius_rule.hpp"

namespace gpfq::job {

/// What a rank needs to quantize its shard of a layer.
struct LayerShard {
  const LayerPlan& layer;
  const ShardAlphabets& alphabets;
  Range tiles;  ///< of the layer's ShardPlan
  int input_node = 0;
  int threads = 1;
  Index memory_per_rank = 0;
};

/// Greedy path of this rank's tiles; codes go to `result`. Not collective.
/// @throws Error (input) naming layer and sample when an activation is not finite or too large.
void quantize_by_path(const LayerShard& shard, const net::Parameters& weights, const store::ActivationStore& inputs,
                      store::QuantizedFile& result, RankReport& report);

/// Plain rounding of this rank's tiles; codes go to `result`. Not collective.
void quantize_by_rounding(const LayerShard& shard, const net::Parameters& weights, store::QuantizedFile& result,
                          RankReport& report);

}  // namespace gpfq::job
