// SPDX-License-Identifier: Apache-2.0
// Manifests that somebody changed: under a header that fits, too, nothing is taken on trust.
#include "job/checkpoint.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "gpfq/base/digest.hpp"
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

std::string refusal(const std::string& bytes) {
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

TEST(HostileCheckpoint, ClaimsBeyondTheBytesTakeNoMemory) {
  // "model" stands behind its length, which becomes 2^56.
  std::string archive = archive_of(small());
  const std::size_t at = archive.find("model");
  ASSERT_NE(at, std::string::npos);
  archive[at - 1] = 1;
  EXPECT_TRUE(mentions(refusal(sealed(archive)), "a text claims 72057594037927941 elements"));
  for (std::size_t size = 0; size < archive.size(); ++size)
    EXPECT_NE(refusal(sealed(archive_of(small()).substr(0, size))), "") << size;
}

TEST(HostileCheckpoint, StateFilesLieBesideIt) {
  for (const char* name :
       {"../state-1.h5", "/etc/passwd", "state-.h5", "state-1.h5x", "state-1", "", "state-1/../x.h5"}) {
    Checkpoint checkpoint = small();
    checkpoint.states[name] = {};
    EXPECT_TRUE(mentions(refusal(pack_checkpoint(checkpoint)), "expected such as state-1.h5")) << name;
    checkpoint = small();
    checkpoint.progress.tiles.emplace_back().file = name;
    EXPECT_TRUE(mentions(refusal(pack_checkpoint(checkpoint)), "expected such as state-1.h5")) << name;
    if (*name == '\0') continue;  // no sums
    checkpoint = small();
    checkpoint.progress.sums.file = name;
    EXPECT_TRUE(mentions(refusal(pack_checkpoint(checkpoint)), "expected such as state-1.h5")) << name;
  }
}

}  // namespace
}  // namespace gpfq::job
