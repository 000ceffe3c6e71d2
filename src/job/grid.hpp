// SPDX-License-Identifier: Apache-2.0
// How ranks share a layer: by neurons, and by rows as well where neurons run short.
#pragma once

#include <memory>

#include "gpfq/job/plan.hpp"
#include "gpfq/mpi/communicator.hpp"

namespace gpfq::job {

/// Groups of neurons × groups of rows for a layer. Pinned by the config, else the one in which no rank has more chunks of
/// tiles than it must, with the most groups of neurons, since rows that are shared make sums; some ranks may have no
/// tile, where their number divides badly. In Gram form rows are dealt to all ranks first and tiles to all ranks then, which
/// counts as ranks × 1. @throws Error (input) when a pinned grid does not have as many places as there are ranks.
[[nodiscard]] RankGrid choose_grid(const LayerPlan& layer, const Config& config, int ranks);

/// Ranks without a part in a layer's path (they take their share of reading and of G and C).
[[nodiscard]] int idle_ranks(const LayerPlan& layer, const Config& config, int ranks);

/// How many blocks of a stream, at most 2, each of a node's `windows` has room for in the node's shared memory.
[[nodiscard]] Index shared_blocks(Index room, Index block_bytes, Index windows);

/// Sums over the ranks of a communicator.
class RankReducer : public quant::RowReducer {
 public:
  explicit RankReducer(const mpi::Communicator& comm) : comm_(comm) {}
  void sum(std::span<std::int64_t> values) override;
  void max(std::span<double> values) override;

 private:
  const mpi::Communicator& comm_;
};

/// How ranks on equal nodes share a layer in residual form, and what one of those with most to do has in memory.
struct StreamShares {
  RankGrid grid;
  quant::PathShape shape;  ///< with its rows
  int sharers = 1;         ///< ranks of a node with the same rows, which share a window
  int windows = 1;         ///< ... and such windows
  StreamMemory memory;
  Index tiles = 0;         ///< of a rank
  Index wave_tiles = 1;
  [[nodiscard]] Index waves() const { return ceil_div(tiles, wave_tiles); }
  Index bytes = 0;         ///< of memory_per_rank
};
[[nodiscard]] StreamShares stream_shares(const LayerPlan& layer, const Config& config, int ranks, int nodes);

/// Turns in which a rank with most to do takes its tiles.
[[nodiscard]] Index waves_of(const LayerPlan& layer, const Config& config, int ranks, int nodes);

}  // namespace gpfq::job
