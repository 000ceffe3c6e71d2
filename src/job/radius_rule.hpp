// SPDX-License-Identifier: Apache-2.0
// The alphabets of a layer's neurons, by the layer's radius rule.
#pragma once

#include <vector>

#include "gpfq/base/shard_plan.hpp"
#include "gpfq/job/plan.hpp"
#include "gpfq/mpi/communicator.hpp"
#include "gpfq/quant/alphabet.hpp"

namespace gpfq::job {

/// Alphabets of all neurons of a layer, on every rank (a few bytes per neuron).
struct LayerAlphabets {
  std::vector<float> radius;
  std::vector<quant::Alphabet> alphabets;
  std::vector<double> candidates;  ///< radii that a search tries, in units of `radius`; one otherwise
  int levels = 0;
  double threshold_steps = 0;      ///< of shifted levels: λ in steps

  /// A neuron's alphabet with one of the candidates.
  [[nodiscard]] quant::Alphabet candidate(Index neuron, std::size_t which) const;
  /// Settles on candidates: which one, by neuron.
  void choose(const std::vector<int>& which);

  bool fell_back = false;  ///< a median was 0: that of the nonzero weights was taken
};

/// Each rank reads the weights of its share of the neurons: once for a rule per neuron and for a layer's maximum, twice for
/// its exact median (again where that is 0), never for a value.  Collective.
[[nodiscard]] LayerAlphabets find_alphabets(const mpi::Communicator& comm, const LayerPlan& layer,
                                            const LayerSettings& settings, const net::Parameters& weights, int threads);

/// Threads of a rank that count the magnitudes of its weights for a layer's median, each with a mebibyte of counts: at most
/// eight, and fewer where there is little to count.
[[nodiscard]] int counters_of(Index weights, int threads);

/// The neurons whose weights a rank reads for this, and whose alphabets it stores.
[[nodiscard]] Range radius_share(const LayerPlan& layer, const mpi::Communicator& comm);

}  // namespace gpfq::job
