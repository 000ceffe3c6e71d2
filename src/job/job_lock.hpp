// SPDX-License-Identifier: Apache-2.0
// One job at a time on an output folder.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

namespace gpfq::job {

/// Holds <output>/.lock while it lives. The system lets go of it when the process ends, however it ends. Where the file
/// system has no locks, <output>/.lock.held stands for one: made by who comes first, touched while it is held, and
/// void when it has not been for a minute or its process on this host is gone.
class JobLock {
 public:
  /// Waits a few seconds for who holds it: ranks outlive a launcher that was killed.
  /// @throws Error (input) naming who holds it
  explicit JobLock(const std::filesystem::path& output);
  ~JobLock();
  JobLock(const JobLock&) = delete;
  JobLock& operator=(const JobLock&) = delete;

  /// True where the file system has no locks.
  [[nodiscard]] bool stands_in() const { return held_ >= 0; }

 private:
  /// @returns who holds it, nothing when this does now
  [[nodiscard]] std::optional<std::string> try_lock();
  [[nodiscard]] std::optional<std::string> try_to_hold();
  [[nodiscard]] bool still_there() const;
  [[nodiscard]] bool is_void(const std::string& holder) const;
  void remove_void(const std::string& holder) const;
  void keep_fresh(const std::stop_token& stop);

  std::filesystem::path path_;
  std::filesystem::path held_path_;
  int file_ = -1;
  int held_ = -1;  ///< where it stands in for a lock
  std::mutex mutex_;
  std::condition_variable_any ended_;
  std::jthread refresher_;
};

}  // namespace gpfq::job
