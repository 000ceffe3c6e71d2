// SPDX-License-Identifier: Apache-2.0
// Activations written by samples on all ranks, in uneven shares, and read back by inputs and by
// samples: every bit where it belongs, padding zero.
#include "gpfq/store/activation_store.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "gpfq/base/shard_plan.hpp"
#include "support/mpi_main.hpp"
#include "support/temp_folder.hpp"

namespace gpfq::store {
namespace {

using test::SharedFolder;
using test::world;

/// Value j of sample i: a pattern of bits that tells its place (and no NaN, whose bits a copy may change).
float value_at(Index sample, Index j, int salt) {
  const auto bits = static_cast<std::uint32_t>((sample * 7919 + j * 104729 + salt * 31) & 0x3fffffff);
  return std::bit_cast<float>(bits);
}

net::Batch make_batch(Range samples, const Shape& shape, int salt) {
  net::Batch batch(samples.size(), shape);
  const Index size = batch.sample_size();
  for (Index i = 0; i < samples.size(); ++i)
    for (Index j = 0; j < size; ++j) batch.values[i * size + j] = value_at(samples.begin + i, j, salt);
  return batch;
}

bool same_bits(float a, float b) { return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b); }

Index differences(const net::Batch& batch, Index first_sample, int salt) {
  Index count = 0;
  const Index size = batch.sample_size();
  for (Index i = 0; i < batch.samples; ++i)
    for (Index j = 0; j < size; ++j)
      count += same_bits(batch.values[i * size + j], value_at(first_sample + i, j, salt)) ? 0 : 1;
  return count;
}

/// Samples and sample shape; ranks beyond the samples hold none.
struct Case {
  Index samples;
  Shape shape;
};

std::ostream& operator<<(std::ostream& out, const Case& test_case) {
  return out << test_case.samples << " samples of " << to_string(test_case.shape);
}

class StoredTensor : public testing::TestWithParam<Case> {};

void write_share(ActivationStore& store, int node, Network network, const Case& test_case, Index chunk, int salt) {
  const mpi::Communicator& comm = world();
  const Range mine = ShardPlan(test_case.samples, chunk, comm.size()).items_of(comm.rank());
  for (Index begin = mine.begin; begin < mine.end; begin += chunk)
    store.write(node, network, begin, make_batch({begin, std::min(mine.end, begin + chunk)}, test_case.shape, salt));
}

TEST_P(StoredTensor, ComesBackByInputsAndBySamples) {
  const mpi::Communicator& comm = world();
  const Case& test_case = GetParam();
  const SharedFolder folder(comm);
  ActivationStore store(comm, folder / "store");
  const std::vector<std::pair<Network, int>> networks{{Network::analog, 1}, {Network::quantized, 2}};
  for (const auto& [network, salt] : networks) {
    store.create(3, network, "layer", test_case.shape, test_case.samples);
    write_share(store, 3, network, test_case, 5, salt);
    store.publish(3, network);
  }
  const Index size = element_count(test_case.shape);
  for (const auto& [network, salt] : networks) {
    for (const Range range : {Range{0, test_case.samples}, Range{0, 1}, Range{test_case.samples - 1, test_case.samples},
                              Range{test_case.samples / 3, (test_case.samples + 1) / 2}}) {
      const net::Batch batch = store.read_samples(3, network, range.begin, range.size());
      EXPECT_EQ(batch.samples, range.size());
      EXPECT_EQ(batch.shape, test_case.shape);
      EXPECT_EQ(differences(batch, range.begin, salt), 0) << "samples from " << range.begin << " to " << range.end;
    }
    if (test_case.shape.size() != 1) {
      std::vector<float> column(static_cast<std::size_t>(test_case.samples));
      EXPECT_THROW(store.read_inputs(3, network, 0, 1, 0, test_case.samples, column.data(), test_case.samples), Error);
      continue;
    }
    for (const Index padding : {0, 1, 13})
      for (const Range inputs : {Range{0, size}, Range{size - 1, size}, Range{size / 3, (size + 1) / 2}}) {
        const Index stride = test_case.samples + padding;
        std::vector<float> out(static_cast<std::size_t>(inputs.size() * stride),
                               std::numeric_limits<float>::quiet_NaN());
        store.read_inputs(3, network, inputs.begin, inputs.size(), 0, test_case.samples, out.data(), stride);
        Index wrong = 0;
        for (Index t = 0; t < inputs.size(); ++t)
          for (Index i = 0; i < stride; ++i) {
            const float expected = i < test_case.samples ? value_at(i, inputs.begin + t, salt) : 0.0F;
            wrong += same_bits(out[static_cast<std::size_t>(t * stride + i)], expected) ? 0 : 1;
          }
        EXPECT_EQ(wrong, 0) << "inputs " << inputs.begin << " to " << inputs.end << ", padding " << padding;
      }
  }
  comm.barrier();
}

INSTANTIATE_TEST_SUITE_P(VectorsAndFeatureMaps, StoredTensor,
                         testing::Values(Case{1, {1}}, Case{1, {9}}, Case{3, {1}}, Case{37, {1}}, Case{37, {50}},
                                         Case{100, {7}}, Case{64, {33}}, Case{37, {2, 3, 4}}, Case{3, {2, 5}},
                                         Case{11, {}}));

TEST(ActivationStore, FewerSamplesThanRanksLeavesSomeEmpty) {
  const mpi::Communicator& comm = world();
  const SharedFolder folder(comm);
  ActivationStore store(comm, folder / "store");
  store.create(0, Network::analog, "x", {4}, 2);
  // The last rank alone has samples.
  const bool writes = comm.rank() == comm.size() - 1;
  if (writes) store.write(0, Network::analog, 0, make_batch({0, 2}, {4}, 5));
  store.flush(0, Network::analog);
  EXPECT_EQ(differences(store.read_samples(0, Network::analog, 0, 2), 0, 5), 0);
  EXPECT_EQ(store.bytes_written(), writes ? 2 * 4 * 4 : 0);
  EXPECT_EQ(store.bytes_read(), 2 * 4 * 4);
  comm.barrier();
}

TEST(ActivationStore, ReleaseForgetsATensorAndTheRestStays) {
  const mpi::Communicator& comm = world();
  const SharedFolder folder(comm);
  {
    ActivationStore store(comm, folder / "store");
    for (const int node : {1, 2}) {
      store.create(node, Network::analog, "x", {3}, 4);
      if (comm.is_root()) store.write(node, Network::analog, 0, make_batch({0, 4}, {3}, node));
      store.flush(node, Network::analog);
    }
    comm.barrier();
    EXPECT_EQ(test::listing(folder / "store"), "1_analog.h5 2_analog.h5");
    comm.barrier();
    const FileFrame frame = store.frame(1, Network::analog);
    EXPECT_EQ(store.release(1, Network::analog).filename(), "1_analog.h5");
    EXPECT_EQ(test::listing(folder / "store"), "1_analog.h5 2_analog.h5");
    store.reopen(1, Network::analog, "x", {3}, 4, frame);  // what a checkpoint said of it still holds
    EXPECT_EQ(differences(store.read_samples(1, Network::analog, 0, 4), 0, 1), 0);
    static_cast<void>(store.release(1, Network::analog));
    EXPECT_THROW(static_cast<void>(store.read_samples(1, Network::analog, 0, 1)), Error);
    EXPECT_EQ(differences(store.read_samples(2, Network::analog, 0, 4), 0, 2), 0);
    comm.barrier();
  }
  comm.barrier();
  EXPECT_FALSE(std::filesystem::exists(folder / "store"));
  comm.barrier();
}

TEST(ActivationStore, StartsEmptyWhereAnEarlierRunLeftFiles) {
  const mpi::Communicator& comm = world();
  const SharedFolder folder(comm);
  if (comm.is_root()) std::filesystem::create_directories(folder / "store/old");
  comm.barrier();
  const ActivationStore store(comm, folder / "store");
  EXPECT_EQ(test::listing(folder / "store"), "");
  comm.barrier();
}

TEST(ActivationStore, AFolderThatCannotBeMadeFailsOnAllRanks) {
  const mpi::Communicator& comm = world();
  EXPECT_THROW(ActivationStore(comm, "/dev/null/store"), mpi::AgreedError);
}

}  // namespace
}  // namespace gpfq::store
