// SPDX-License-Identifier: Apache-2.0
// Who does what: pieces of fixed size dealt to ranks. Pure arithmetic; the pieces never depend on
// the ranks, only their owners do.
#pragma once

#include <span>
#include <vector>

#include "gpfq/base/types.hpp"

namespace gpfq {

/// A half-open range of items.
struct Range {
  Index begin = 0;
  Index end = 0;
  [[nodiscard]] Index size() const { return end - begin; }
  [[nodiscard]] bool empty() const { return end <= begin; }
  bool operator==(const Range&) const = default;
};

/// `items` cut into pieces of `piece_size` (the last may be shorter), dealt to `ranks` in
/// contiguous runs whose lengths differ by at most one piece; the first ranks get the longer ones.
class ShardPlan {
 public:
  /// @param items  >= 0   @param piece_size  > 0   @param ranks  > 0
  ShardPlan(Index items, Index piece_size, int ranks);

  [[nodiscard]] Index piece_count() const { return pieces_; }
  /// Items of one piece.
  [[nodiscard]] Range piece(Index index) const;
  /// Pieces of one rank.
  [[nodiscard]] Range pieces_of(int rank) const;
  /// Items of one rank.
  [[nodiscard]] Range items_of(int rank) const;
  /// The rank that owns a piece.
  [[nodiscard]] int owner(Index piece) const;
  /// The most pieces that any rank owns.
  [[nodiscard]] Index most_pieces() const { return pieces_ == 0 ? 0 : ceil_div(pieces_, ranks_); }

 private:
  Index items_;
  Index piece_size_;
  Index pieces_;
  int ranks_;
};

/// How many of some rows fit so many bytes: at least one, at most all.
[[nodiscard]] Index rows_within(Index bytes, Index row_bytes, Index rows);

/// A rank's share of a list that all ranks have.
[[nodiscard]] std::span<const Index> share_of(std::span<const Index> items, int rank, int ranks);

/// Ascending numbers cut into runs of consecutive ones, of at most `length` each.
[[nodiscard]] std::vector<Range> runs_of(std::span<const Index> items, Index length);

}  // namespace gpfq
