// SPDX-License-Identifier: Apache-2.0
// The few calls to the operating system that are not tied to one room.
#include "gpfq/base/system.hpp"

#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>

#include "gpfq/base/durable.hpp"
#include "gpfq/base/error.hpp"

namespace gpfq {

namespace {

/// The number after `key` in a file of "key: n kB" lines, in bytes; 0 where it is not there.
Index kibibytes_in(const char* path, const char* key) {
  std::ifstream file(path);
  std::string word;
  while (file >> word) {
    if (word == key) {
      Index kibibytes = 0;
      file >> kibibytes;
      return kibibytes * 1024;
    }
  }
  return 0;
}

}  // namespace

Index peak_memory_bytes() { return kibibytes_in("/proc/self/status", "VmHWM:"); }

void restart_peak_memory() { std::ofstream("/proc/self/clear_refs") << "5"; }

Index proportional_memory_bytes() { return kibibytes_in("/proc/self/smaps_rollup", "Pss:"); }

void release_free_memory(Index kept) {
#ifdef __GLIBC__
#if __GLIBC_PREREQ(2, 33)
  if (kept > 0 && static_cast<Index>(::mallinfo2().fordblks) <= kept) return;
#endif
  ::malloc_trim(0);
#endif
  static_cast<void>(kept);
}

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? std::string(name.data()) : std::string("unknown");
}

void write_file_atomically(const std::filesystem::path& path, const std::string& text) {
  const std::string beside = path.string() + ".partial";
  const int file = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  bool good = file >= 0;
  for (std::size_t done = 0; good && done < text.size();) {
    const ssize_t wrote = ::write(file, text.data() + done, text.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote == 0) errno = EIO;
    good = wrote > 0;
    if (good) done += static_cast<std::size_t>(wrote);
  }
  good = good && ::fsync(file) == 0;
  int code = good ? 0 : errno;
  if (file >= 0 && ::close(file) != 0 && code == 0) code = errno;
  if (code == 0 && ::rename(beside.c_str(), path.c_str()) != 0) code = errno;
  if (code != 0) {
    ::unlink(beside.c_str());
    throw_output("cannot write {}: {}", path.string(), std::strerror(code));
  }
  sync_folder(path.parent_path());
}

std::string processor_set(int& count) {
  constexpr int most = 16384;
  const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(most), [](cpu_set_t* made) { CPU_FREE(made); });
  const std::size_t bytes = CPU_ALLOC_SIZE(most);
  count = 1;
  if (!set || sched_getaffinity(0, bytes, set.get()) != 0) return "unknown";
  count = std::max(1, CPU_COUNT_S(bytes, set.get()));
  return {reinterpret_cast<const char*>(set.get()), bytes};
}

}  // namespace gpfq
