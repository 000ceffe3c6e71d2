// SPDX-License-Identifier: Apache-2.0
// The folders of a job: results and scratch. A job that fails leaves behind what was there before it.
#pragma once

#include <filesystem>
#include <vector>

#include "gpfq/base/types.hpp"

namespace gpfq::job {

/// Folders made for one job, on root. Unless released, the destructor removes what the job made.
class Workspace {
 public:
  /// Checks and makes the folders.
  /// @throws Error (input): output holds a run and `overwrite` is false; not writable; too little free space.
  Workspace(const std::filesystem::path& output, const std::filesystem::path& scratch, bool overwrite,
            Index output_bytes, Index scratch_bytes);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  /// This job's own folder in scratch.
  [[nodiscard]] const std::filesystem::path& scratch() const { return scratch_; }
  /// The results stand: only scratch is removed.
  void release() { succeeded_ = true; }

 private:
  void make_folder(const std::filesystem::path& folder);

  std::filesystem::path output_;
  std::filesystem::path scratch_;
  std::vector<std::filesystem::path> made_;  ///< folders that were not there before, outermost first
  bool succeeded_ = false;
};

/// This job's own folder in the user's scratch folder, named after where the results go.
[[nodiscard]] std::filesystem::path scratch_of(const std::filesystem::path& scratch, const std::filesystem::path& output);

}  // namespace gpfq::job
