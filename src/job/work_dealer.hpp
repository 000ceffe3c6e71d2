// SPDX-License-Identifier: Apache-2.0
// Work in pieces that any rank may do: each node has a share, and within it whoever is free takes the next piece.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "gpfq/base/shard_plan.hpp"
#include "gpfq/mpi/shared_counter.hpp"

namespace gpfq::job {

/// Deals items to the ranks of a communicator, for work whose result does not depend on who does what: processors that
/// are slower, or shared with others, take less of it. Ranks whose node has no shared memory keep to fixed shares.
class WorkDealer {
 public:
  /// Collective over `comm`, which must outlive it. @param interval  seconds between checkpoints: occasions to pause
  /// come as often, or every few seconds, give and take a run
  /// @param ranks_per_node  ranks that take from one share at most; 0: all of a node
  WorkDealer(const mpi::Communicator& comm, double interval, int ranks_per_node = 0);

  /// Runs `step` on runs of the items, on whichever rank, until all are done. Collective; what `step` throws, all
  /// throw.
  /// @param items  ascending, the same on all ranks
  /// @param most   items of one run at most; towards the end runs are shorter
  /// @param step   not collective
  /// @param pause  called on all ranks in step, every now and then between two runs; may be collective
  void deal(std::span<const Index> items, Index most, const std::function<void(Range)>& step,
            const std::function<void()>& pause);

 private:
  [[nodiscard]] std::vector<Range> take(std::span<const Index> share, Index most);

  const mpi::Communicator& comm_;
  double round_seconds_;
  mpi::Communicator node_;
  Index first_ = 0;    ///< ranks of the nodes before this one
  Index sharers_ = 1;  ///< ranks that take from the same share
  mpi::SharedCounter taken_;
};

}  // namespace gpfq::job
