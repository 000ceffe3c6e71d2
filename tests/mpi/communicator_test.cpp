// SPDX-License-Identifier: Apache-2.0
// Collectives and the agreement on failures, on any number of ranks: what one rank throws, all
// ranks throw, and messages longer than one piece arrive whole.
#include "gpfq/mpi/communicator.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/serialization/map.hpp>
#include <boost/serialization/string.hpp>
#include <boost/serialization/vector.hpp>
#include <algorithm>
#include <cstdint>
#include <map>
#include <numeric>
#include <stdexcept>

#include "gpfq/base/system.hpp"
#include "gpfq/mpi/shared_counter.hpp"
#include "gpfq/mpi/shared_window.hpp"
#include "support/mpi_main.hpp"

namespace gpfq::mpi {
namespace {

using test::world;

/// What agree() threw on this rank.
struct Outcome {
  bool threw = false;
  ErrorKind kind = ErrorKind::input;
  std::string message;
};

Outcome agree_on(const Communicator& comm, const std::function<void()>& action) {
  try {
    comm.agree(action);
    return {};
  } catch (const AgreedError& error) {
    return {true, error.kind(), error.what()};
  }
}

std::string origin(const Communicator& comm, int rank) {
  return fmt::format(" [rank {}/{}, {}]", rank, comm.size(), host_name());
}

TEST(Agree, LetsAllThroughWithoutFailure) {
  int calls = 0;
  EXPECT_FALSE(agree_on(world(), [&] { ++calls; }).threw);
  EXPECT_EQ(calls, 1);
}

TEST(Agree, OneFailingRankFailsAllWithItsMessage) {
  const Communicator& comm = world();
  for (int failing = 0; failing < comm.size(); ++failing) {
    const Outcome outcome = agree_on(comm, [&] {
      if (comm.rank() == failing) throw_input("rank {} cannot read its file", failing);
    });
    EXPECT_TRUE(outcome.threw);
    EXPECT_EQ(outcome.kind, ErrorKind::input);
    // Root speaks for all about input; elsewhere rank and host tell where to look.
    EXPECT_EQ(outcome.message,
              fmt::format("rank {} cannot read its file", failing) + (failing == 0 ? "" : origin(comm, failing)));
  }
}

TEST(Agree, LowestOfSeveralFailingRanksSpeaks) {
  const Communicator& comm = world();
  const int lowest = comm.size() / 2;
  const Outcome outcome = agree_on(comm, [&] {
    if (comm.rank() >= lowest)
      throw_fault("{} on rank {}", std::string(100 * static_cast<std::size_t>(comm.rank()), 'x'), comm.rank());
  });
  EXPECT_TRUE(outcome.threw);
  EXPECT_EQ(outcome.kind, ErrorKind::fault);
  EXPECT_EQ(outcome.message,
            fmt::format("{} on rank {}", std::string(100 * static_cast<std::size_t>(lowest), 'x'), lowest) +
                origin(comm, lowest));
}

TEST(Agree, KeepsTheKindOfTheLowestRank) {
  const Communicator& comm = world();
  const Outcome outcome = agree_on(comm, [&] {
    if (comm.rank() == comm.size() - 1) throw_input("bad input");
    throw_fault("fault of rank {}", comm.rank());
  });
  EXPECT_EQ(outcome.kind, comm.size() == 1 ? ErrorKind::input : ErrorKind::fault);
}

TEST(Agree, OtherExceptionsAreFaults) {
  const Communicator& comm = world();
  const Outcome logic = agree_on(comm, [&] {
    if (comm.rank() == comm.size() - 1) throw std::out_of_range("index 7");
  });
  EXPECT_EQ(logic.kind, ErrorKind::fault);
  EXPECT_EQ(logic.message, "index 7" + origin(comm, comm.size() - 1));
  const Outcome memory = agree_on(comm, [] { throw std::bad_alloc(); });
  EXPECT_EQ(memory.kind, ErrorKind::fault);
  EXPECT_EQ(memory.message, "out of memory" + origin(comm, 0));
}

TEST(Agree, AnErrorWithoutTextIsStillAnError) {
  const Communicator& comm = world();
  const Outcome outcome = agree_on(comm, [&] {
    if (comm.rank() == comm.size() - 1) throw std::runtime_error("");
  });
  EXPECT_TRUE(outcome.threw);
  EXPECT_EQ(outcome.kind, ErrorKind::fault);
}

TEST(Agree, NestedAgreementKeepsTheFirstOrigin) {
  const Communicator& comm = world();
  const int failing = comm.size() - 1;
  const Outcome outcome = agree_on(comm, [&] {
    comm.agree([&] {
      if (comm.rank() == failing) throw_fault("deep");
    });
    ADD_FAILURE() << "the inner agreement returned";
  });
  EXPECT_TRUE(outcome.threw);
  EXPECT_EQ(outcome.message, "deep" + origin(comm, failing));
}

TEST(Agree, IsUsableAfterAFailure) {
  const Communicator& comm = world();
  for (int round = 0; round < 3; ++round) {
    EXPECT_TRUE(agree_on(comm, [&] {
                  if (comm.rank() == round % comm.size()) throw_input("again");
                }).threw);
    EXPECT_EQ(comm.sum(Index{1}), comm.size());
  }
}

/// A message as the job sends it.
struct Message {
  std::string name;
  std::vector<double> values;
  std::map<std::string, Index> counts;

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& name& values& counts;
  }
  bool operator==(const Message&) const = default;
};

Message message_of(int rank) {
  Message message{fmt::format("rank {}", rank), std::vector<double>(static_cast<std::size_t>(3 * rank)), {}};
  std::iota(message.values.begin(), message.values.end(), 0.1 * rank);
  for (int i = 0; i <= rank; ++i) message.counts[fmt::format("key {}", i)] = Index{1} << (40 + i);
  return message;
}

TEST(Serialized, BroadcastGivesAllRootsObject) {
  const Communicator& comm = world();
  Message message = message_of(comm.rank() + 5);
  comm.broadcast(message);
  EXPECT_EQ(message, message_of(5));
}

TEST(Serialized, GatherGivesRootEveryObjectByRank) {
  const Communicator& comm = world();
  const std::vector<Message> messages = comm.gather(message_of(comm.rank()));
  EXPECT_EQ(static_cast<int>(messages.size()), comm.is_root() ? comm.size() : 0);
  for (std::size_t rank = 0; rank < messages.size(); ++rank)
    EXPECT_EQ(messages[rank], message_of(static_cast<int>(rank)));
}

/// Bytes that tell their place, so that a lost or repeated piece shows.
std::string pattern(Index size, int seed) {
  std::string bytes(static_cast<std::size_t>(size), '\0');
  std::uint64_t state = static_cast<std::uint64_t>(seed) + 1;
  for (char& byte : bytes) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    byte = static_cast<char>(state >> 56U);
  }
  return bytes;
}

/// Lengths around whole pieces, with pieces of 64 bytes and with those in use.
class Pieces : public testing::TestWithParam<Index> {};

TEST_P(Pieces, BytesArriveWhole) {
  const Communicator small(world().get(), 64);
  const Index size = GetParam();
  std::string bytes = pattern(size, small.is_root() ? 1 : 2 + small.rank());
  small.broadcast_bytes(bytes);
  EXPECT_TRUE(bytes == pattern(size, 1));
  const std::vector<std::string> gathered = small.gather_bytes(pattern(size + small.rank(), small.rank()));
  EXPECT_EQ(static_cast<int>(gathered.size()), small.is_root() ? small.size() : 0);
  for (std::size_t rank = 0; rank < gathered.size(); ++rank)
    EXPECT_TRUE(gathered[rank] == pattern(size + static_cast<Index>(rank), static_cast<int>(rank)))
        << "of rank " << rank;
}

TEST_P(Pieces, SumsAddEveryElement) {
  const Communicator small(world().get(), 64);
  std::vector<std::int64_t> values(static_cast<std::size_t>(GetParam()));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = (std::int64_t{1} << 50) + static_cast<std::int64_t>(i) * (small.rank() + 1);
  small.sum(values);
  const std::int64_t ranks = small.size();
  for (std::size_t i = 0; i < values.size(); ++i)
    EXPECT_EQ(values[i], ranks * (std::int64_t{1} << 50) + static_cast<std::int64_t>(i) * ranks * (ranks + 1) / 2);
}

INSTANTIATE_TEST_SUITE_P(AroundWholePieces, Pieces, testing::Values(0, 1, 7, 8, 9, 63, 64, 65, 128, 1000));

TEST(Bytes, MegabytesArriveWhole) {
  const Communicator& comm = world();
  constexpr Index size = (Index{5} << 20) + 3;
  std::string bytes = comm.is_root() ? pattern(size, 9) : std::string("short");
  comm.broadcast_bytes(bytes);
  EXPECT_TRUE(bytes == pattern(size, 9));
  const std::vector<std::string> gathered = comm.gather_bytes(pattern(size / (comm.rank() + 1), comm.rank()));
  for (std::size_t rank = 0; rank < gathered.size(); ++rank)
    EXPECT_TRUE(gathered[rank] == pattern(size / static_cast<Index>(rank + 1), static_cast<int>(rank)));
}

TEST(Reductions, SumAndMaxAreKnownToAll) {
  const Communicator& comm = world();
  const Index ranks = comm.size();
  EXPECT_EQ(comm.sum(Index{comm.rank()}), ranks * (ranks - 1) / 2);
  EXPECT_EQ(comm.max((Index{1} << 40) - comm.rank()), Index{1} << 40);
  EXPECT_EQ(comm.max(Index{-1} - comm.rank()), -1);
  EXPECT_EQ(comm.max(0.5 * comm.rank() - 3), 0.5 * static_cast<double>(ranks - 1) - 3);
}

TEST(Communicator, MovedFromLeavesOneOwner) {
  Communicator first(world().get());
  const Communicator second(std::move(first));
  EXPECT_EQ(second.rank(), world().rank());
  EXPECT_EQ(second.size(), world().size());
  EXPECT_EQ(second.sum(Index{2}), 2 * world().size());
}

TEST(Check, NamesTheCallAndMpisOwnText) {
  try {
    check(MPI_ERR_TRUNCATE, "MPI_Recv");
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::fault);
    EXPECT_NE(std::string(error.what()).find("MPI_Recv failed: "), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("runcat"), std::string::npos) << error.what();
  }
}

/// Shares of different sizes, one of them empty; pieces of two floats where counts would not fit.
TEST(Communicator, SharesReachAllRanks) {
  const Communicator& comm = world();
  std::vector<Range> shares;
  Index end = 3;  // what lies before the shares stays as it is
  for (int rank = 0; rank < comm.size(); ++rank) {
    const Index size = rank == 1 ? 0 : 2 + rank;
    shares.push_back({end, end + size});
    end += size;
  }
  std::vector<float> values(static_cast<std::size_t>(end), -1.0F);
  const Range mine = shares[static_cast<std::size_t>(comm.rank())];
  for (Index i = mine.begin; i < mine.end; ++i) values[static_cast<std::size_t>(i)] = static_cast<float>(i * i);
  comm.gather_shares(values, shares);
  for (Index i = 0; i < end; ++i)
    EXPECT_EQ(values[static_cast<std::size_t>(i)], i < 3 ? -1.0F : static_cast<float>(i * i)) << i;
}

TEST(Communicator, NodesAreCutIntoGroups) {
  const Communicator node = world().split_node();
  EXPECT_EQ(node.size(), world().size());  // the tests run on one machine
  const Communicator pair = world().split_node(2);
  EXPECT_EQ(pair.size(), std::min(2, world().size() - world().rank() / 2 * 2));
  EXPECT_EQ(pair.rank(), world().rank() % 2);
}

TEST(Communicator, ACallThatMpiRefusesIsAnErrorWithItsText) {
  int value = 0;
  try {
    check(MPI_Bcast(&value, 1, MPI_INT, world().size(), world().get()), "MPI_Bcast");
    ADD_FAILURE() << "no exception";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::fault);
    EXPECT_NE(std::string(error.what()).find("MPI_Bcast"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("root"), std::string::npos) << error.what();
  }
}

TEST(SharedWindow, WhatOneRankWritesAllSee) {
  const Communicator node = world().split_node();
  for (const bool share : {true, false}) {
    const SharedWindow window(node, 1000, share);
    EXPECT_EQ(window.is_shared(), share && node.size() > 1);
    const std::span<float> values = window.values();
    ASSERT_EQ(values.size(), 1000U);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(values.data()) % alignment_bytes, 0U);
    EXPECT_TRUE(std::all_of(values.begin(), values.end(), [](float value) { return value == 0; }));
    window.synchronize();
    for (int round = 1; round <= 20; ++round) {
      for (Index i = node.rank(); i < 1000; i += node.size())
        values[static_cast<std::size_t>(i)] = static_cast<float>(round * i);
      window.synchronize();
      for (Index i = 0; i < 1000; ++i) {
        const bool is_mine = i % node.size() == node.rank();
        ASSERT_EQ(values[static_cast<std::size_t>(i)], window.is_shared() || is_mine ? static_cast<float>(round * i) : 0);
      }
      window.synchronize();
    }
  }
  EXPECT_GT(SharedWindow::room(), 0);
}

TEST(SharedCounter, NoTwoRanksGetTheSameNumber) {
  const Communicator node = world().split_node();
  SharedCounter counter(node, true);
  EXPECT_EQ(counter.is_shared(), node.size() > 1);
  constexpr Index end = 5000;
  for (int round = 0; round < 2; ++round) {
    counter.reset();
    std::vector<Index> mine;
    for (Index next = 0; next < end;) {
      next = counter.advance([](Index value) { return value < end ? Index{1} : Index{0}; });
      if (next < end) mine.push_back(next);
    }
    EXPECT_TRUE(std::ranges::is_sorted(mine));
    std::vector<Index> all;
    for (const std::vector<Index>& part : node.gather(mine)) all.insert(all.end(), part.begin(), part.end());
    std::ranges::sort(all);
    if (!node.is_root()) continue;
    ASSERT_EQ(all.size(), static_cast<std::size_t>(end));
    for (Index i = 0; i < end; ++i) ASSERT_EQ(all[static_cast<std::size_t>(i)], i);
  }
}

TEST(SharedCounter, CountsAloneWhereItIsNotShared) {
  const Communicator node = world().split_node();
  SharedCounter counter(node, false);
  EXPECT_FALSE(counter.is_shared());
  for (Index i = 0; i < 10; ++i) EXPECT_EQ(counter.advance([](Index) { return Index{3}; }), 3 * i);
}

}  // namespace
}  // namespace gpfq::mpi
