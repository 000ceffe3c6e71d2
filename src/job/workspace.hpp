// SPDX-License-Identifier: Apache-2.0
// The folders of a job: results and scratch. A job that fails leaves behind what was there before it, or what it can go
// on from.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "gpfq/base/types.hpp"
#include "job/job_lock.hpp"

namespace gpfq::job {

/// What to do about another run in the output folder.
enum class Earlier { refuse, overwrite, resume };

/// Folders made for one job, on root, which has them for itself. Unless released or kept, the destructor removes what the
/// job made.
class Workspace {
 public:
  /// Makes the output folder and locks it.
  /// @throws Error (input): not writable; another job's; holds a run or a checkpoint that is to be refused.
  Workspace(const std::filesystem::path& output, Earlier earlier);
  /// Makes the scratch folder. @throws Error (input): not writable; too little free space.
  void make_scratch(const std::filesystem::path& scratch, Index output_bytes, Index scratch_bytes);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  /// This job's own folder in scratch.
  [[nodiscard]] const std::filesystem::path& scratch() const { return scratch_; }
  /// The results stand: only scratch is removed.
  void release() { outcome_ = Outcome::done; }
  /// What this job made is not worth keeping after all; what it found when it came is.
  void forget() {
    if (!found_checkpoint_) outcome_ = Outcome::nothing;
  }
  /// "\n  12 KiB are free in run" for each of the folders where little is: HDF5 does not say why it cannot write.
  [[nodiscard]] std::string full_disks() const;
  /// The results of an earlier run stand, which may have ended before it cleaned up: that is done instead.
  void release_earlier(const std::filesystem::path& scratch);
  /// There is a checkpoint, which everything is kept for.
  void keep();
  /// It is this run's: what an earlier one left beside it goes.
  void drop_earlier();
  /// True from Earlier::overwrite on until drop_earlier(), in whichever runs: what is here of a run is void.
  [[nodiscard]] bool overwrites() const { return overwrites_; }
  /// True where the file system has no locks, and a file stands in for one.
  [[nodiscard]] bool lock_stands_in() const { return lock_ && lock_->stands_in(); }

 private:
  void remove_made();

  std::filesystem::path output_;
  std::filesystem::path scratch_;
  std::vector<std::filesystem::path> made_;  ///< folders that were not there before, outermost first
  enum class Outcome { nothing, kept, done };
  Outcome outcome_ = Outcome::nothing;
  bool overwrites_ = false;
  bool found_checkpoint_ = false;
  std::optional<JobLock> lock_;
};

/// A folder for files of the moment, with the folders around it that are missing; all of that goes with it.
class TemporaryFolder {
 public:
  /// @throws Error (input) when it cannot be made
  explicit TemporaryFolder(const std::filesystem::path& folder);
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return made_.back(); }

 private:
  std::vector<std::filesystem::path> made_;
};

/// This job's own folder in the user's scratch folder, named after where the results go.
[[nodiscard]] std::filesystem::path scratch_of(const std::filesystem::path& scratch, const std::filesystem::path& output);

}  // namespace gpfq::job
