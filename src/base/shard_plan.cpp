// SPDX-License-Identifier: Apache-2.0
// The arithmetic of dealing fixed pieces to ranks.
#include "gpfq/base/shard_plan.hpp"

#include <algorithm>

#include "gpfq/base/error.hpp"

namespace gpfq {

ShardPlan::ShardPlan(Index items, Index piece_size, int ranks)
    : items_(items), piece_size_(piece_size), pieces_(0), ranks_(ranks) {
  require(items >= 0 && piece_size > 0 && ranks > 0, "ShardPlan: items >= 0, piece_size > 0, ranks > 0");
  pieces_ = ceil_div(items, piece_size);
}

Range ShardPlan::piece(Index index) const {
  require(index >= 0 && index < pieces_, "ShardPlan::piece: no such piece");
  return {index * piece_size_, std::min(items_, (index + 1) * piece_size_)};
}

Range ShardPlan::pieces_of(int rank) const {
  require(rank >= 0 && rank < ranks_, "ShardPlan::pieces_of: no such rank");
  const Index share = pieces_ / ranks_;
  const Index longer = pieces_ % ranks_;
  const Index begin = rank * share + std::min<Index>(rank, longer);
  return {begin, begin + share + (rank < longer ? 1 : 0)};
}

Range ShardPlan::items_of(int rank) const {
  const Range pieces = pieces_of(rank);
  return {std::min(items_, pieces.begin * piece_size_), std::min(items_, pieces.end * piece_size_)};
}

int ShardPlan::owner(Index piece) const {
  require(piece >= 0 && piece < pieces_, "ShardPlan::owner: no such piece");
  const Index share = pieces_ / ranks_;
  const Index longer = pieces_ % ranks_;
  const Index boundary = longer * (share + 1);
  return static_cast<int>(piece < boundary ? piece / (share + 1) : longer + (piece - boundary) / share);
}

Index rows_within(Index bytes, Index row_bytes, Index rows) {
  return std::clamp<Index>(bytes / std::max<Index>(1, row_bytes), 1, std::max<Index>(1, rows));
}

std::span<const Index> share_of(std::span<const Index> items, int rank, int ranks) {
  const Range mine = ShardPlan(static_cast<Index>(items.size()), 1, ranks).pieces_of(rank);
  return items.subspan(static_cast<std::size_t>(mine.begin), static_cast<std::size_t>(mine.size()));
}

std::vector<Range> runs_of(std::span<const Index> items, Index length) {
  std::vector<Range> runs;
  for (const Index item : items) {
    if (!runs.empty() && runs.back().end == item && runs.back().size() < length)
      ++runs.back().end;
    else
      runs.push_back({item, item + 1});
  }
  return runs;
}

}  // namespace gpfq
