// SPDX-License-Identifier: Apache-2.0
// The plan is arithmetic, so thousands of ranks are tested in one process: every item has exactly
// one owner and no rank has two pieces more than another.
#include "gpfq/base/shard_plan.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "support/errors.hpp"

namespace gpfq {
namespace {

using test::fault;

/// 10 items in pieces of 4 are [0,4) [4,8) [8,10); two ranks take two pieces and one.
TEST(ShardPlan, SmallExample) {
  const ShardPlan plan(10, 4, 2);
  EXPECT_EQ(plan.piece_count(), 3);
  EXPECT_EQ(plan.piece(0), (Range{0, 4}));
  EXPECT_EQ(plan.piece(2), (Range{8, 10}));
  EXPECT_EQ(plan.pieces_of(0), (Range{0, 2}));
  EXPECT_EQ(plan.pieces_of(1), (Range{2, 3}));
  EXPECT_EQ(plan.items_of(0), (Range{0, 8}));
  EXPECT_EQ(plan.items_of(1), (Range{8, 10}));
  EXPECT_EQ(plan.owner(1), 0);
  EXPECT_EQ(plan.owner(2), 1);
  EXPECT_EQ(plan.most_pieces(), 2);
}

TEST(ShardPlan, MoreRanksThanPiecesLeavesTheLastOnesIdle) {
  const ShardPlan plan(3, 2, 5);
  EXPECT_EQ(plan.pieces_of(1), (Range{1, 2}));
  EXPECT_EQ(plan.items_of(1), (Range{2, 3}));
  for (int rank = 2; rank < 5; ++rank) {
    EXPECT_TRUE(plan.pieces_of(rank).empty());
    EXPECT_TRUE(plan.items_of(rank).empty());
  }
  EXPECT_EQ(plan.most_pieces(), 1);
}

TEST(ShardPlan, NothingToDealLeavesAllRanksIdle) {
  const ShardPlan plan(0, 64, 4096);
  EXPECT_EQ(plan.piece_count(), 0);
  EXPECT_EQ(plan.most_pieces(), 0);
  for (int rank = 0; rank < 4096; ++rank) {
    EXPECT_TRUE(plan.pieces_of(rank).empty());
    EXPECT_TRUE(plan.items_of(rank).empty());
  }
}

/// Contiguous from 0 to the end in rank order is the same as "everything exactly once".
void expect_partition(Index items, Index piece_size, int ranks) {
  const ShardPlan plan(items, piece_size, ranks);
  const std::string where = fmt::format("{} items, pieces of {}, {} ranks", items, piece_size, ranks);
  ASSERT_EQ(plan.piece_count(), (items + piece_size - 1) / piece_size) << where;
  Index next_piece = 0;
  Index next_item = 0;
  Index fewest = plan.piece_count();
  Index most = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    const Range pieces = plan.pieces_of(rank);
    const Range held = plan.items_of(rank);
    ASSERT_EQ(pieces.begin, next_piece) << where << ", rank " << rank;
    ASSERT_EQ(held.begin, next_item) << where << ", rank " << rank;
    ASSERT_GE(pieces.size(), 0) << where;
    Index items_in_pieces = 0;
    for (Index piece = pieces.begin; piece < pieces.end; ++piece) {
      ASSERT_EQ(plan.owner(piece), rank) << where << ", piece " << piece;
      const Range range = plan.piece(piece);
      ASSERT_EQ(range.begin, held.begin + items_in_pieces) << where << ", piece " << piece;
      ASSERT_TRUE(range.size() == piece_size || (range.end == items && range.size() > 0)) << where;
      items_in_pieces += range.size();
    }
    ASSERT_EQ(held.size(), items_in_pieces) << where << ", rank " << rank;
    next_piece = pieces.end;
    next_item = held.end;
    fewest = std::min(fewest, pieces.size());
    most = std::max(most, pieces.size());
  }
  EXPECT_EQ(next_piece, plan.piece_count()) << where;
  EXPECT_EQ(next_item, items) << where;
  EXPECT_LE(most - fewest, 1) << where;
  EXPECT_EQ(plan.most_pieces(), most) << where;
}

TEST(ShardPlan, CoversEverythingExactlyOnceAndIsBalanced) {
  for (const Index items : {0, 1, 7, 64, 100, 4095, 4096, 4097, 20011})
    for (const Index piece_size : {1, 3, 64, 256, 100000})
      for (const int ranks : {1, 2, 3, 7, 64, 1000, 4095, 4096}) expect_partition(items, piece_size, ranks);
}

TEST(ShardPlan, HoldsBeyondThirtyTwoBits) {
  const Index items = (Index{5} << 40) + 3;
  const ShardPlan plan(items, 256, 4096);
  Index next = 0;
  for (int rank = 0; rank < 4096; ++rank) {
    const Range pieces = plan.pieces_of(rank);
    ASSERT_EQ(pieces.begin, next);
    ASSERT_EQ(plan.owner(pieces.begin), rank);
    ASSERT_EQ(plan.owner(pieces.end - 1), rank);
    next = pieces.end;
  }
  EXPECT_EQ(next, plan.piece_count());
  EXPECT_EQ(plan.items_of(4095).end, items);
}

TEST(RowsWithin, AtLeastOneAtMostAll) {
  EXPECT_EQ(rows_within(100, 30, 50), 3);
  EXPECT_EQ(rows_within(29, 30, 50), 1);
  EXPECT_EQ(rows_within(Index{1} << 40, 30, 50), 50);
  EXPECT_EQ(rows_within(100, 0, 50), 50);  // rows of nothing
}

TEST(ShardPlan, ChecksItsArguments) {
  fault([] { ShardPlan plan(-1, 1, 1); });
  fault([] { ShardPlan plan(1, 0, 1); });
  fault([] { ShardPlan plan(1, 1, 0); });
  const ShardPlan plan(10, 4, 2);
  fault([&] { (void)plan.piece(3); });
  fault([&] { (void)plan.piece(-1); });
  fault([&] { (void)plan.owner(3); });
  fault([&] { (void)plan.pieces_of(2); });
  fault([&] { (void)plan.pieces_of(-1); });
}

}  // namespace
}  // namespace gpfq
