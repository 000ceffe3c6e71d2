// SPDX-License-Identifier: Apache-2.0
#include "job/job_lock.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "gpfq/base/error.hpp"
#include "gpfq/base/system.hpp"

namespace gpfq::job {
namespace {

std::string own_name() {
  const char* const job = std::getenv("SLURM_JOB_ID");
  return fmt::format("process {} on {}{}", ::getpid(), host_name(), job == nullptr ? "" : fmt::format(", job {}", job));
}

std::string text_of(int file) {
  std::array<char, 256> text{};
  const ssize_t bytes = ::pread(file, text.data(), text.size(), 0);
  std::string name(text.data(), bytes > 0 ? static_cast<std::size_t>(bytes) : 0);
  for (char& letter : name)
    if (letter < ' ' || letter > '~') letter = ' ';
  return name.empty() ? "another process" : name;
}

}  // namespace

JobLock::JobLock(const std::filesystem::path& output) : path_(output / ".lock") {
  do {
    if (file_ >= 0) ::close(file_);
    file_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file_ < 0) throw_input("cannot write {}: {}", path_.string(), std::strerror(errno));
    if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
      const int code = errno;
      const std::string holder = text_of(file_);
      ::close(file_);
      file_ = -1;
      if (code == EWOULDBLOCK)
        throw_input("{} is in use by {}: wait for it, or use another 'output'", output.string(), holder);
      return;  // a file system without locks
    }
  } while (!still_there());  // its last holder may have removed it in between
  const std::string name = own_name();
  if (::ftruncate(file_, 0) == 0) static_cast<void>(::pwrite(file_, name.data(), name.size(), 0) > 0);
}

/// The file that is open is the one that the name stands for.
bool JobLock::still_there() const {
  struct stat opened {};
  struct stat named {};
  return ::fstat(file_, &opened) == 0 && ::stat(path_.c_str(), &named) == 0 && opened.st_ino == named.st_ino &&
         opened.st_dev == named.st_dev;
}

/// The file goes before the lock does, so that nobody locks a file that is about to go.
JobLock::~JobLock() {
  if (file_ < 0) return;
  ::unlink(path_.c_str());
  ::close(file_);
}

}  // namespace gpfq::job
