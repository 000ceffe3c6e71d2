// SPDX-License-Identifier: Apache-2.0
// How ranks share a layer: by neurons, and by rows as well where neurons run short.
#pragma once

#include <memory>

#include "gpfq/job/plan.hpp"
#include "gpfq/mpi/communicator.hpp"

namespace gpfq::job {

/// Groups of neurons × groups of rows for a layer. Pinned by the config, else as many groups of neurons as there are
/// tiles (a divisor of the ranks). In Gram form rows are dealt to all ranks first and tiles to all ranks then, which
/// counts as ranks × 1. @throws Error (input) when a pinned grid does not have as many places as there are ranks.
[[nodiscard]] RankGrid choose_grid(const LayerPlan& layer, const Config& config, int ranks);

/// Sums over the ranks of a communicator.
class RankReducer : public quant::RowReducer {
 public:
  explicit RankReducer(const mpi::Communicator& comm) : comm_(comm) {}
  void sum(std::span<std::int64_t> values) override;
  void max(std::span<double> values) override;

 private:
  const mpi::Communicator& comm_;
};

}  // namespace gpfq::job
