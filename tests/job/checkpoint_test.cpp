// SPDX-License-Identifier: Apache-2.0
// Manifests that somebody changed: under a header that fits, too, nothing is taken on trust.
#include "job/checkpoint.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "gpfq/base/digest.hpp"
#include "job/checkpoint_check.hpp"
#include "job/halfway_job.hpp"
#include "support/errors.hpp"

namespace gpfq::job {
namespace {

using test::input_error;
using test::mentions;

Checkpoint small() {
  Checkpoint checkpoint;
  checkpoint.fingerprint = {{"model", "abc"}};
  checkpoint.states["state-1.h5"] = {};
  checkpoint.layers.emplace_back().report.radius_fell_back = true;
  return checkpoint;
}

std::string archive_refusal(const std::string& bytes) {
  return input_error([&] { static_cast<void>(unpack_checkpoint(bytes, "job.ckpt")); });
}

/// `archive` under a header that fits.
std::string sealed(const std::string& archive) {
  const auto bytes = static_cast<Index>(archive.size());
  return fmt::format("gpfq-checkpoint {} {} {}\n", checkpoint_version, bytes, sha256(archive.data(), bytes)) + archive;
}

std::string archive_of(const Checkpoint& checkpoint) {
  const std::string packed = pack_checkpoint(checkpoint);
  return packed.substr(packed.find('\n') + 1);
}

TEST(HostileCheckpoint, WholeOneIsRead) {
  const Checkpoint checkpoint = unpack_checkpoint(sealed(archive_of(small())), "job.ckpt");
  EXPECT_EQ(checkpoint.fingerprint.at("model"), "abc");
  EXPECT_TRUE(checkpoint.layers.at(0).report.radius_fell_back);
}

TEST(HostileCheckpoint, OfAnotherVersion) {
  std::string bytes = pack_checkpoint(small());
  const std::string ours = fmt::format("gpfq-checkpoint {} ", checkpoint_version);
  ASSERT_TRUE(bytes.starts_with(ours));
  for (const int version : {checkpoint_version - 1, checkpoint_version + 1})
    EXPECT_TRUE(mentions(archive_refusal(fmt::format("gpfq-checkpoint {} ", version) + bytes.substr(ours.size())),
                         fmt::format("job.ckpt is a checkpoint of version {}, this program reads {}", version, checkpoint_version)));
}

TEST(HostileCheckpoint, ClaimsBeyondTheBytesTakeNoMemory) {
  // "model" stands behind its length, which becomes 2^56.
  std::string archive = archive_of(small());
  const std::size_t at = archive.find("model");
  ASSERT_NE(at, std::string::npos);
  archive[at - 1] = 1;
  EXPECT_TRUE(mentions(archive_refusal(sealed(archive)), "a text claims 72057594037927941 elements"));
  for (std::size_t size = 0; size < archive.size(); ++size)
    EXPECT_NE(archive_refusal(sealed(archive_of(small()).substr(0, size))), "") << size;
}

TEST(HostileCheckpoint, StateFilesLieBesideIt) {
  for (const char* name :
       {"../state-1.h5", "/etc/passwd", "state-.h5", "state-1.h5x", "state-1", "", "state-1/../x.h5"}) {
    Checkpoint checkpoint = small();
    checkpoint.states[name] = {};
    EXPECT_TRUE(mentions(archive_refusal(pack_checkpoint(checkpoint)), "expected such as state-1.h5")) << name;
    checkpoint = small();
    checkpoint.progress.tiles.emplace_back().file = name;
    EXPECT_TRUE(mentions(archive_refusal(pack_checkpoint(checkpoint)), "expected such as state-1.h5")) << name;
    if (*name == '\0') continue;  // no sums
    checkpoint = small();
    checkpoint.progress.sums.file = name;
    EXPECT_TRUE(mentions(archive_refusal(pack_checkpoint(checkpoint)), "expected such as state-1.h5")) << name;
  }
}

class HostileValues : public testing::Test {
 protected:
  /// What is said of the good one with a change.
  template <class Change>
  [[nodiscard]] std::string changed(Change change) const {
    Checkpoint checkpoint = job_.checkpoint;
    change(checkpoint);
    return input_error([&] { validate(checkpoint, job_.plan, job_.graph, "job.ckpt"); });
  }

  const HalfwayJob job_;
};

TEST_F(HostileValues, AreHeldAgainstThePlan) {
  ASSERT_GT(job_.plan.quantized_layers().at(1)->candidates, 2);
  ASSERT_GT(job_.plan.quantized_layers().at(1)->tile_count(), 2);
  EXPECT_NO_THROW(validate(job_.checkpoint, job_.plan, job_.graph, "job.ckpt"));
  using C = Checkpoint;
  EXPECT_TRUE(mentions(changed([](C& c) { c.layers.resize(3); }), "job.ckpt: the run: finished layers 3, expected 0 to 2"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.layers[0].step.pop_back(); }), "layer 'fc1': 299 values of step, expected 300"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.layers[0].radius.push_back(1); }), "301 values of radius, expected 300"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.layers[0].step[7] = NAN; }), "step is nan"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.layers[0].bias.assign(300, 0); }), "300 values of bias, expected 0"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.layers[0].report.tiles[0].first_neuron = -1; }), "neuron -1, expected 0 to 299"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.layers[0].report.tiles[0].inputs = Index{1} << 40; }), "inputs 1099511627776"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.layers[0].report.tiles.pop_back(); }), "weights of finished tiles"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.layers[0].report.tiles[1] = c.layers[0].report.tiles[0]; }), "each finished weight once"));
  EXPECT_TRUE(mentions(changed([](C& c) {
                         std::vector<TileReport>& tiles = c.layers[0].report.tiles;  // as many weights, some of them twice
                         --tiles[1].first_neuron;
                       }),
                       "each finished weight once"));
  EXPECT_TRUE(mentions(changed([](C& c) {
                         std::vector<TileReport>& tiles = c.layers[0].report.tiles;
                         TileReport upper = tiles[0];
                         tiles[0].inputs = upper.inputs - 1;
                         upper.first_input = upper.inputs / 2;
                         upper.inputs -= upper.first_input;
                         tiles.push_back(upper);
                       }),
                       "each finished weight once"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.progress.propagation.bounds = {{1}, {-1}}; }), "a bound is -1"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.progress.bounds[1] = {NAN}; }), "an output's bound is nan"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.tensors[0].bounds[3] = INFINITY; }), "a bound is inf"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.tensors[0].node = 3; }), "node 3, expected 0 to 2"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.tensors[0].network = 2; }), "network 2, expected 0 to 1"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.tensors[0].bounds.clear(); }), "0 values of bounds, expected 300"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.tensors.push_back(c.tensors[0]); }), "expected each tensor once"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.progress.tiles[0].tile = 99; }), "layer 'fc2': tile 99"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.progress.tiles[0].candidate = -1; }), "candidate -1"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.progress.tiles[0].state.next_input = 33; }), "between two blocks"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.progress.tiles[0].state.next_input = 320; }), "input 320, expected 0 to 300"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.progress.tiles[0].pass = 3; }), "pass 3"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.progress.known.chosen.resize(5); }), "5 values of chosen radii, expected 600"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.progress.known.chosen[0] = 77; }), "a chosen radius 77"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.progress.known.chosen[0] = -1; }), "past their path"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.progress.known.chosen[599] = 0; }), "past their path"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.progress.known.chosen.clear(); }), "past their path"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.progress.known.column_sums = {{1, 2}}; }), "values of sums, expected 0"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.progress.known.counted = 301; }), "inputs counted 301"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.progress.known.scores = {1}; }), "1 values of scores"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.progress.is_quantized = true; }), "0 values of radius, expected 600"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.progress.sums.file = "state-1.h5"; }), "Gram form"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.evaluations[1].done[5] = 4; }), "units 4, expected 5"));
  EXPECT_TRUE(mentions(changed([](C& c) { c.result.holes.push_back({Index{1} << 62, Index{1} << 62}); }), "a file's range"));
}

}  // namespace
}  // namespace gpfq::job
