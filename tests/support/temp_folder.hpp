// SPDX-License-Identifier: Apache-2.0
// Folders that tests write to, gone afterwards; one process' own, or one that all ranks share.
#pragma once

#include <filesystem>
#include <string>

#include "gpfq/mpi/communicator.hpp"

namespace gpfq::test {

/// A new empty folder in the system's place for temporary files.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// The same for all ranks: root makes and removes it. Constructor and destructor are collective.
class SharedFolder {
 public:
  explicit SharedFolder(const mpi::Communicator& comm);
  ~SharedFolder();
  SharedFolder(const SharedFolder&) = delete;
  SharedFolder& operator=(const SharedFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  const mpi::Communicator& comm_;
  std::filesystem::path path_;
};

/// Names of what a folder holds, sorted, relative, recursive; empty where it does not exist.
[[nodiscard]] std::string listing(const std::filesystem::path& folder);

}  // namespace gpfq::test
