// SPDX-License-Identifier: Apache-2.0
// What the operating system knows of this process: memory, host, free space, time.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>

#include "gpfq/base/types.hpp"

namespace gpfq {

/// Highest resident memory of this process so far, bytes (VmHWM); 0 where the system does not tell.
[[nodiscard]] Index peak_memory_bytes();
/// Lets peak_memory_bytes() begin anew at what is resident now, where the system allows it.
void restart_peak_memory();
/// This process' share of memory now, bytes: pages that several processes map count by their share (Pss of
/// smaps_rollup, so that ranks of a node add up); 0 where the system does not tell.
[[nodiscard]] Index proportional_memory_bytes();
/// Gives freed memory back to the system, which an allocator may keep: what a step leaves behind would else stand
/// beside what the next one takes. @param kept  bytes that are as well kept for it: pages that come back cost time
void release_free_memory(Index kept = 0);
[[nodiscard]] std::string host_name();

/// Writes a small text file beside its place, flushes it to disk and renames it, so that a reader sees the
/// old or the new, never half. @throws Error (input) naming the file: an output that cannot be written.
void write_file_atomically(const std::filesystem::path& path, const std::string& text);

/// Seconds since construction.
class Stopwatch {
 public:
  [[nodiscard]] double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// The processors that this process may run on, as text that is equal for equal sets; their number in `count`.
[[nodiscard]] std::string processor_set(int& count);

}  // namespace gpfq
