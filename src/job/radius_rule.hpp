// SPDX-License-Identifier: Apache-2.0
// The alphabets of this rank's neurons, by the layer's radius rule.
#pragma once

#include <vector>

#include "gpfq/base/shard_plan.hpp"
#include "gpfq/job/plan.hpp"
#include "gpfq/mpi/communicator.hpp"
#include "gpfq/quant/alphabet.hpp"

namespace gpfq::job {

/// Alphabets of neurons range.begin .. range.end−1.
struct ShardAlphabets {
  Range neurons;
  std::vector<float> radius;
  std::vector<quant::Alphabet> alphabets;
  bool fell_back = false;  ///< a median was 0: that of the nonzero weights was taken
};

/// Reads each weight once (per neuron) or twice (the exact median of a layer). Collective.
/// @param neurons  this rank's share; the shares of all ranks cover the layer
[[nodiscard]] ShardAlphabets find_alphabets(const mpi::Communicator& comm, const LayerPlan& layer,
                                            const LayerSettings& settings, const net::Parameters& weights,
                                            Range neurons);

}  // namespace gpfq::job
