// SPDX-License-Identifier: Apache-2.0
// HDF5 follows what a file says of itself: a damaged one can bring it down, or make it ask for any amount of memory.
#pragma once

#include <hdf5.h>

#include <filesystem>

#include "gpfq/base/types.hpp"

namespace gpfq::hdf5 {

/// While one stands, a signal that this thread's own reading of a file raises (SIGSEGV, SIGBUS, SIGFPE, SIGABRT) ends
/// the process with one message that names the file, and exit code 2: there is no way back into a library that has
/// fallen. Of guards within each other the outermost counts, of two threads the first one's. Sanitizers keep their own
/// handlers.
class ReadGuard {
 public:
  /// What may be allocated meanwhile, in a process of one thread. A file's structure never needs more memory than the
  /// file is large, or little.
  enum class Memory { any, as_the_file };

  ReadGuard(const std::filesystem::path& file, Memory memory) noexcept;
  /// @param object  an open file, or an object in one; one that is open for writing is the job's own, and not guarded
  ReadGuard(hid_t object, Memory memory) noexcept;
  ~ReadGuard();
  ReadGuard(const ReadGuard&) = delete;
  ReadGuard& operator=(const ReadGuard&) = delete;

 private:
  void begin(const char* file, Memory memory) noexcept;
  bool is_outermost_ = false;
};

}  // namespace gpfq::hdf5
