// SPDX-License-Identifier: Apache-2.0
// One job at a time on an output folder.
#pragma once

#include <filesystem>

namespace gpfq::job {

/// Holds <output>/.lock while it lives. The system lets go of it when the process ends, however it ends.
class JobLock {
 public:
  /// @throws Error (input) naming who holds it
  explicit JobLock(const std::filesystem::path& output);
  ~JobLock();
  JobLock(const JobLock&) = delete;
  JobLock& operator=(const JobLock&) = delete;

 private:
  [[nodiscard]] bool still_there() const;

  std::filesystem::path path_;
  int file_ = -1;
};

}  // namespace gpfq::job
