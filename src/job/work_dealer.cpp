// SPDX-License-Identifier: Apache-2.0
// Guided self-scheduling on a node: a run is a part of what is left, so that all end at about the same time.
#include "job/work_dealer.hpp"

#include <algorithm>
#include <cstdint>

#include "gpfq/base/stop_request.hpp"
#include "gpfq/base/system.hpp"

namespace gpfq::job {
namespace {

// A rank takes at most its part of what is left over this, and no less than this part of the longest run, which reads
// weights as often.
constexpr Index runs_to_come = 2;
constexpr Index shortest_part = 8;
// So long the others work on when one rank has failed. The end of a round costs a rank up to one run of waiting.
constexpr double longest_round_seconds = 4;

/// The same answer on all ranks.
bool can_share(const mpi::Communicator& comm) {
  return comm.max(mpi::SharedWindow::room() > 0 ? Index{0} : Index{1}) == 0;
}

}  // namespace

WorkDealer::WorkDealer(const mpi::Communicator& comm, double interval, int ranks_per_node)
    : comm_(comm),
      round_seconds_(std::min(longest_round_seconds, interval)),
      node_(comm.split_node(ranks_per_node)),
      taken_(node_, can_share(comm)) {
  sharers_ = taken_.is_shared() ? node_.size() : 1;
  // Ranks in the order of their nodes, a node named after its first rank.
  Index leader = comm.rank();
  node_.broadcast(leader);
  std::vector<std::int64_t> leaders(static_cast<std::size_t>(comm.size()), 0);
  leaders[static_cast<std::size_t>(comm.rank())] = leader;
  comm.sum(leaders);
  first_ = std::ranges::count_if(leaders, [&](std::int64_t other) { return other < leader; });
  if (!taken_.is_shared()) first_ += node_.rank();
}

std::vector<Range> WorkDealer::take(std::span<const Index> share, Index most) {
  const auto count = static_cast<Index>(share.size());
  const auto length = [&](Index taken) {
    const Index left = count - taken;
    if (sharers_ == 1) return std::clamp<Index>(left, 0, most);
    const Index fair =
        std::clamp<Index>(left / (sharers_ * runs_to_come), std::max<Index>(1, most / shortest_part), most);
    return std::clamp<Index>(left, 0, fair);
  };
  const Index begin = taken_.advance(length);
  return runs_of(share.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(length(begin))), most);
}

void WorkDealer::deal(std::span<const Index> items, Index most, const std::function<void(Range)>& step,
                      const std::function<void()>& pause) {
  const ShardPlan plan(static_cast<Index>(items.size()), 1, comm_.size());
  const Index begin = plan.pieces_of(static_cast<int>(first_)).begin;
  const Index end = plan.pieces_of(static_cast<int>(first_ + sharers_ - 1)).end;
  const std::span<const Index> share =
      items.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  taken_.reset();
  Index is_more = share.empty() ? 0 : 1;
  for (bool is_first = true; comm_.max(is_more) != 0; is_first = false) {
    if (!is_first) pause();
    comm_.agree([&] {
      const Stopwatch round;
      do {
        const std::vector<Range> runs = take(share, most);
        if (runs.empty()) is_more = 0;
        for (const Range& run : runs) step(run);
      } while (is_more != 0 && round.seconds() < round_seconds_ && !stop_requested());
    });
  }
}

}  // namespace gpfq::job
