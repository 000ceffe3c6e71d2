// SPDX-License-Identifier: Apache-2.0
// When a checkpoint is due, and how one is put on disk by all ranks.
#pragma once

#include <filesystem>
#include <functional>
#include <future>
#include <string>
#include <vector>

#include "gpfq/base/system.hpp"
#include "gpfq/mpi/communicator.hpp"
#include "job/checkpoint.hpp"

namespace gpfq::job {

class Checkpointer {
 public:
  /// @param interval  seconds between checkpoints; 0: at every occasion
  Checkpointer(const mpi::Communicator& comm, std::filesystem::path output, double interval);

  /// What is saved next. Complete on root; as read, on every rank, where the job was resumed.
  [[nodiscard]] Checkpoint& state() { return state_; }
  [[nodiscard]] const Checkpoint& state() const { return state_; }

  /// True, on all ranks alike, when it is time for a checkpoint or a stop was asked for. Collective.
  /// @param share  of the time between checkpoints that must have passed: less than 1 where work is about to be lost
  [[nodiscard]] bool is_due(double share = 1) const;
  /// Writes the manifest, then removes state files that it no longer names and what remove_after_save() was told of.
  /// Collective.
  void save();
  /// The same, behind the work that follows: on root a thread of its own puts `files`, which the manifest vouches for, and
  /// then the manifest on disk, then removes what is no longer needed, until settle(). Nobody writes to these files before.
  /// A process's first one is waited for: from then on a run is worth keeping. Collective.
  void save_behind(std::vector<std::filesystem::path> files);
  /// Waits for what save_behind() began. Collective.
  /// @throws Error (output) on all ranks when it could not be written
  void settle();
  /// Waits for the thread alone: before files are removed in the wake of an error.
  void wait() const;
  /// Throws Error (stopped) on all ranks when a stop was asked for at the last is_due(). To be called after save() or
  /// save_behind(). Collective.
  void stop_if_asked();
  /// A file that no rank has open, and that the next manifest does not need: removed when that is on disk.
  void remove_after_save(std::filesystem::path file) { unneeded_.push_back(std::move(file)); }

  /// A name for the next state file. The same on all ranks.
  [[nodiscard]] std::string next_state_name();
  [[nodiscard]] std::filesystem::path path_of(const std::string& state_name) const;
  /// Makes the folder for state files. Collective.
  void make_folder() const;
  /// Removes manifest and state files, on root.
  void remove_all() const;

  [[nodiscard]] double seconds() const { return seconds_; }
  /// Called on every rank when a checkpoint is on disk, with the seconds that the work waited for it.
  void on_save(std::function<void(double)> listener) { listener_ = std::move(listener); }

 private:
  void remove_unnamed() const;

  const mpi::Communicator& comm_;
  std::filesystem::path output_;
  double interval_;
  Checkpoint state_;
  Stopwatch since_start_;
  double last_save_ = 0;
  double earlier_seconds_ = -1;  ///< of the runs before this one
  double seconds_ = 0;           ///< that the work waited
  mutable bool stop_ = false;
  mutable double began_ = 0;  ///< with the last is_due(), which comes before whatever is saved
  std::vector<std::filesystem::path> unneeded_;
  bool is_first_ = true;
  bool is_pending_ = false;      ///< between save_behind() and settle()
  double pending_seconds_ = 0;   ///< that save_behind() itself took
  std::future<void> on_disk_;    ///< on root, while pending
  std::function<void(double)> listener_;
};

}  // namespace gpfq::job
