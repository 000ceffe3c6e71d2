// SPDX-License-Identifier: Apache-2.0
// Every piece exactly once, whatever the number of threads, and no failure is lost: the numbers
// of a whole run stand on this loop.
#include "gpfq/base/parallel.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace gpfq {
namespace {

TEST(ParallelFor, CallsEachIndexOnce) {
  for (const Index count : {0, 1, 2, 7, 1000}) {
    for (const int threads : {1, 2, 3, 8, 50}) {
      std::vector<std::atomic<int>> calls(static_cast<std::size_t>(count));
      std::atomic<int> outside{0};
      parallel_for(count, threads, [&](Index i) {
        if (i < 0 || i >= count)
          ++outside;
        else
          ++calls[static_cast<std::size_t>(i)];
      });
      EXPECT_EQ(outside, 0);
      for (std::size_t i = 0; i < calls.size(); ++i)
        EXPECT_EQ(calls[i], 1) << "index " << i << " of " << count << ", " << threads << " threads";
    }
  }
}

TEST(ParallelFor, OneThreadRunsInTheCallerInOrder) {
  const std::thread::id caller = std::this_thread::get_id();
  std::vector<Index> order;
  parallel_for(5, 1, [&](Index i) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    order.push_back(i);
  });
  EXPECT_EQ(order, (std::vector<Index>{0, 1, 2, 3, 4}));
}

TEST(ParallelFor, UsesNoMoreThreadsThanAskedFor) {
  std::mutex mutex;
  std::set<std::thread::id> seen;
  parallel_for(200, 3, [&](Index) {
    const std::lock_guard lock(mutex);
    seen.insert(std::this_thread::get_id());
  });
  EXPECT_GE(seen.size(), 1U);
  EXPECT_LE(seen.size(), 3U);
}

std::atomic<int> started{0};

TEST(ParallelFor, EveryNewThreadCallsTheHookFirst) {
  set_thread_start([] { ++started; });
  parallel_for(100, 1, [](Index) { EXPECT_EQ(started, 0); });  // in the caller
  parallel_for(100, 4, [](Index) {});
  set_thread_start(nullptr);
  EXPECT_EQ(started, 3);
  parallel_for(100, 4, [](Index) {});
  EXPECT_EQ(started, 3);
}

/// Two pieces that wait for each other both see the other only when two threads work at once.
TEST(ParallelFor, ThreadsWorkAtTheSameTime) {
  std::atomic<int> arrived{0};
  std::atomic<int> met{0};
  parallel_for(2, 2, [&](Index) {
    ++arrived;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (arrived < 2 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    if (arrived == 2) ++met;
  });
  EXPECT_EQ(met, 2);
}

/// Pieces so small that threads fight over the next one.
TEST(ParallelFor, CallsEachIndexOnceUnderContention) {
  constexpr std::size_t count = 1000000;
  std::vector<std::atomic<unsigned char>> calls(count);
  parallel_for(static_cast<Index>(count), 4, [&](Index i) { ++calls[static_cast<std::size_t>(i)]; });
  std::size_t wrong = 0;
  for (const auto& called : calls) wrong += called == 1 ? 0 : 1;
  EXPECT_EQ(wrong, 0U);
}

TEST(ParallelFor, RethrowsAFailureOfAnyPiece) {
  for (const int threads : {1, 2, 4, 9}) {
    for (const Index bad : {0, 3, 6}) {
      try {
        parallel_for(7, threads, [&](Index i) {
          if (i == bad) throw std::runtime_error("piece " + std::to_string(i));
        });
        ADD_FAILURE() << "the failure of piece " << bad << " was lost with " << threads << " threads";
      } catch (const std::runtime_error& error) {
        EXPECT_EQ(error.what(), "piece " + std::to_string(bad));
      }
    }
  }
}

TEST(ParallelFor, EndsWhenEveryPieceFails) {
  std::atomic<int> calls{0};
  EXPECT_THROW(parallel_for(100000, 4,
                            [&](Index) {
                              ++calls;
                              throw std::runtime_error("no");
                            }),
               std::runtime_error);
  EXPECT_LE(calls, 4);  // a thread that failed takes no further piece
}

TEST(ParallelFor, AFailureEndsTheOtherThreadsToo) {
  constexpr Index count = 1000;
  std::atomic<Index> calls{0};
  const auto work = [&](Index i) {
    ++calls;
    if (i == 0) throw std::runtime_error("no");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  };
  EXPECT_THROW(parallel_for(count, 2, work), std::runtime_error);
  EXPECT_LT(calls, count);
}

}  // namespace
}  // namespace gpfq
