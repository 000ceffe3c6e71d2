// SPDX-License-Identifier: Apache-2.0
// Reports and checkpoints are replaced whole or not at all: every way a write can fail must leave
// the old file as it was and nothing beside it.
#include "gpfq/base/system.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <vector>

#include "support/errors.hpp"

namespace gpfq {
namespace {

namespace fs = std::filesystem;
using test::output_error;
using test::mentions;

class WriteFile : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::temp_directory_path() / fmt::format("gpfq_base_{}_{}", info->name(), getpid());
    fs::create_directories(folder_);
  }
  void TearDown() override {
    fs::permissions(folder_, fs::perms::owner_all);
    fs::remove_all(folder_);
  }

  [[nodiscard]] static std::string content(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  /// Names of all files in the folder, sorted.
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_)) found.push_back(entry.path().filename().string());
    std::sort(found.begin(), found.end());
    return found;
  }

  fs::path folder_;
};

TEST_F(WriteFile, WritesAndReplaces) {
  const fs::path path = folder_ / "report.json";
  write_file_atomically(path, "first");
  EXPECT_EQ(content(path), "first");
  std::string text(300000, 'x');  // more than one buffer, with a zero inside
  text[5] = '\0';
  write_file_atomically(path, text);
  EXPECT_EQ(content(path), text);
  write_file_atomically(path, "");
  EXPECT_EQ(content(path), "");
  EXPECT_EQ(names(), std::vector<std::string>{"report.json"});
}

TEST_F(WriteFile, ReplacesWhatAnInterruptedRunLeft) {
  const fs::path path = folder_ / "report.json";
  std::ofstream(folder_ / "report.json.partial") << std::string(1000, 'y');
  write_file_atomically(path, "whole");
  EXPECT_EQ(content(path), "whole");
  EXPECT_EQ(names(), std::vector<std::string>{"report.json"});
}

TEST_F(WriteFile, NamesTheFileWhenItsFolderIsMissing) {
  const fs::path path = folder_ / "no" / "report.json";
  EXPECT_TRUE(mentions(output_error([&] { write_file_atomically(path, "text"); }), path.string()));
  EXPECT_TRUE(names().empty());
}

TEST_F(WriteFile, NamesTheFileWhenItsFolderIsAFile) {
  std::ofstream(folder_ / "taken") << "kept";
  const fs::path path = folder_ / "taken" / "report.json";
  EXPECT_TRUE(mentions(output_error([&] { write_file_atomically(path, "text"); }), path.string()));
  EXPECT_EQ(content(folder_ / "taken"), "kept");
}

TEST_F(WriteFile, LeavesNothingWhenThePlaceIsAFolder) {
  const fs::path path = folder_ / "report.json";
  fs::create_directories(path / "inside");
  EXPECT_TRUE(mentions(output_error([&] { write_file_atomically(path, "text"); }), path.string()));
  EXPECT_TRUE(fs::exists(path / "inside"));
  EXPECT_EQ(names(), std::vector<std::string>{"report.json"});
}

/// A full disk, by the device that stands for one: the partial file is a link to it.
TEST_F(WriteFile, KeepsTheOldFileWhenTheDiskIsFull) {
  const fs::path path = folder_ / "report.json";
  write_file_atomically(path, "old");
  if (!fs::exists("/dev/full")) return;
  fs::create_symlink("/dev/full", folder_ / "report.json.partial");
  EXPECT_TRUE(mentions(output_error([&] { write_file_atomically(path, "new"); }), "No space left"));
  EXPECT_EQ(content(path), "old");
  EXPECT_EQ(names(), std::vector<std::string>{"report.json"});
}

TEST_F(WriteFile, KeepsTheOldFileInAFolderWithoutPermission) {
  const fs::path path = folder_ / "report.json";
  write_file_atomically(path, "old");
  if (geteuid() == 0) return;  // the superuser may write anywhere
  fs::permissions(folder_, fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_TRUE(mentions(output_error([&] { write_file_atomically(path, "new"); }), path.string()));
  EXPECT_EQ(content(path), "old");
  EXPECT_EQ(names(), std::vector<std::string>{"report.json"});
}

TEST(System, KnowsItsMemoryHostAndTime) {
  const Index before = peak_memory_bytes();
  const std::vector<char> block(Index{64} << 20, 1);  // written to, hence resident
  EXPECT_GE(peak_memory_bytes(), Index{64} << 20);
  EXPECT_GE(peak_memory_bytes(), before);
  EXPECT_EQ(block.back(), 1);
  EXPECT_FALSE(host_name().empty());
  const Stopwatch watch;
  EXPECT_GE(watch.seconds(), 0.0);
  EXPECT_LT(watch.seconds(), 60.0);
}

}  // namespace
}  // namespace gpfq
