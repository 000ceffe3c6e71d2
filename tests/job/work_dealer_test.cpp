// SPDX-License-Identifier: Apache-2.0
// Every item is done once, whoever does it, and a failure is everybody's.
#include "job/work_dealer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/serialization/vector.hpp>
#include <chrono>
#include <numeric>
#include <thread>

#include "gpfq/base/error.hpp"
#include "support/mpi_main.hpp"

namespace gpfq::job {
namespace {

using test::world;

std::vector<Index> numbers(Index count) {
  std::vector<Index> items(static_cast<std::size_t>(count));
  std::iota(items.begin(), items.end(), Index{0});
  return items;
}

/// All that the ranks have done, in ascending order, on root.
std::vector<Index> gathered(const std::vector<Index>& mine) {
  std::vector<Index> all;
  for (const std::vector<Index>& part : world().gather(mine)) all.insert(all.end(), part.begin(), part.end());
  std::ranges::sort(all);
  return all;
}

TEST(WorkDealer, EveryItemIsDoneOnce) {
  WorkDealer dealer(world(), 600);
  for (const Index count : {0, 1, 2, 7, 100, 1000})
    for (const Index most : {1, 3, 64}) {
      std::vector<Index> mine;
      dealer.deal(
          numbers(count), most,
          [&](Range run) {
            ASSERT_GT(run.size(), 0);
            ASSERT_LE(run.size(), most);
            for (Index item = run.begin; item < run.end; ++item) mine.push_back(item);
          },
          [] {});
      EXPECT_TRUE(std::ranges::is_sorted(mine));
      const std::vector<Index> all = gathered(mine);
      if (world().is_root()) {
        EXPECT_EQ(all, numbers(count));
      }
    }
}

TEST(WorkDealer, NodesHaveSharesOfTheirOwn) {
  for (const int ranks_per_node : {1, 2}) {
    WorkDealer dealer(world(), 600, ranks_per_node);
    std::vector<Index> mine;
    const auto take = [&](Range run) {
      for (Index item = run.begin; item < run.end; ++item) mine.push_back(item);
    };
    dealer.deal(numbers(101), 7, take, [] {});
    const ShardPlan shares(101, 1, world().size());
    const int first = world().rank() / ranks_per_node * ranks_per_node;
    const int last = std::min(world().size(), first + ranks_per_node) - 1;
    for (const Index item : mine) {
      EXPECT_GE(item, shares.pieces_of(first).begin);
      EXPECT_LT(item, shares.pieces_of(last).end);
    }
    const std::vector<Index> all = gathered(mine);
    if (world().is_root()) {
      EXPECT_EQ(all, numbers(101));
    }
  }
}

TEST(WorkDealer, ItemsMayHaveGaps) {
  WorkDealer dealer(world(), 600);
  const std::vector<Index> items{2, 3, 4, 9, 10, 20, 31, 32, 33, 34};
  std::vector<Index> mine;
  dealer.deal(
      items, 4,
      [&](Range run) {
        for (Index item = run.begin; item < run.end; ++item) mine.push_back(item);
      },
      [] {});
  const std::vector<Index> all = gathered(mine);
  if (world().is_root()) {
    EXPECT_EQ(all, items);
  }
}

TEST(WorkDealer, TheFasterRankDoesMore) {
  WorkDealer dealer(world(), 600);
  if (world().size() == 1) return;
  Index mine = 0;
  dealer.deal(
      numbers(400), 400,
      [&](Range run) {
        mine += run.size();
        if (world().is_root()) std::this_thread::sleep_for(std::chrono::milliseconds(2 * run.size()));
      },
      [] {});
  const Index of_root = world().sum(world().is_root() ? mine : Index{0});
  EXPECT_EQ(world().sum(mine), 400);
  EXPECT_LT(of_root, 400 / world().size());
}

TEST(WorkDealer, PausesAreInStep) {
  WorkDealer dealer(world(), 0);  // after every run
  Index pauses = 0;
  Index runs = 0;
  dealer.deal(
      numbers(50), 1, [&](Range) { ++runs; },
      [&] {
        ++pauses;
        EXPECT_EQ(world().max(pauses), pauses);
      });
  EXPECT_EQ(world().sum(runs), 50);
  EXPECT_GE(pauses, 50 / world().size() - 1);
  EXPECT_LE(pauses, 50);
}

TEST(WorkDealer, AFailureIsEverybodys) {
  WorkDealer dealer(world(), 600);
  try {
    dealer.deal(
        numbers(100), 1,
        [](Range run) {
          if (run.begin == 17) throw_input("item 17 is bad");
        },
        [] {});
    ADD_FAILURE() << "no exception";
  } catch (const mpi::AgreedError& error) {
    EXPECT_NE(std::string(error.what()).find("item 17 is bad"), std::string::npos) << error.what();
  }
  Index mine = 0;  // and what follows begins anew
  dealer.deal(
      numbers(100), 5, [&](Range run) { mine += run.size(); }, [] {});
  EXPECT_EQ(world().sum(mine), 100);
}

}  // namespace
}  // namespace gpfq::job
