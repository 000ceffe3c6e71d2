// SPDX-License-Identifier: Apache-2.0
#include "job/job_lock.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <stop_token>

#include "gpfq/base/error.hpp"
#include "gpfq/base/system.hpp"

namespace gpfq::job {
namespace {

using std::chrono::seconds;

constexpr seconds patience{6};        // Open MPI's ranks live for a second or two after their launcher
constexpr seconds refresh_after{10};
constexpr seconds void_after{60};
constexpr std::chrono::milliseconds between_tries{200};

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

std::string text_of(const std::filesystem::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return "another process";
  std::string text = text_of(file);
  ::close(file);
  return text;
}

void write_name(int file) {
  const std::string name = own_name();
  if (::ftruncate(file, 0) == 0) static_cast<void>(::pwrite(file, name.data(), name.size(), 0) > 0);
}

/// True for the name of a process of this host that is no more.
bool is_gone(const std::string& holder) {
  constexpr std::string_view begin = "process ";
  int process = 0;
  if (!holder.starts_with(begin)) return false;
  const char* const end = holder.data() + holder.size();
  const auto [rest, code] = std::from_chars(holder.data() + begin.size(), end, process);
  if (code != std::errc() || process <= 0) return false;
  const std::string_view where(rest, static_cast<std::size_t>(end - rest));
  const std::string here = " on " + host_name();
  const bool is_here = where == here || where.starts_with(here + ",");
  return is_here && ::kill(process, 0) != 0 && errno == ESRCH;
}

}  // namespace

JobLock::JobLock(const std::filesystem::path& output) : path_(output / ".lock"), held_path_(output / ".lock.held") {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (;;) {
    const std::optional<std::string> holder = try_lock();
    if (!holder) break;
    if (std::chrono::steady_clock::now() > deadline) {
      const bool by_name = file_ >= 0;
      if (by_name) ::close(file_);
      throw_input("{} is in use by {}: wait for it, or use another 'output'{}", output.string(), *holder,
                  by_name ? fmt::format("; if it is no more, {} is void {} s after its end", held_path_.string(), void_after.count())
                          : std::string());
    }
    std::this_thread::sleep_for(between_tries);
  }
  write_name(file_);
}

std::optional<std::string> JobLock::try_lock() {
  do {
    if (file_ >= 0) ::close(file_);
    file_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file_ < 0) throw_input("cannot write {}: {}", path_.string(), std::strerror(errno));
    if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return try_to_hold();  // a file system without locks
      std::string holder = text_of(file_);
      ::close(file_);
      file_ = -1;
      return holder;
    }
  } while (!still_there());  // its last holder may have removed it in between
  return std::nullopt;
}

std::optional<std::string> JobLock::try_to_hold() {
  held_ = ::open(held_path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (held_ >= 0) {
    write_name(held_);
    refresher_ = std::jthread([this](const std::stop_token& stop) { keep_fresh(stop); });
    return std::nullopt;
  }
  if (errno != EEXIST) throw_input("cannot write {}: {}", held_path_.string(), std::strerror(errno));
  std::string holder = text_of(held_path_);
  if (is_void(holder)) remove_void(holder);
  return holder;
}

/// By the file server's own time, which the file that is open here is given.
bool JobLock::is_void(const std::string& holder) const {
  struct stat now {};
  struct stat held {};
  if (::futimens(file_, nullptr) != 0 || ::fstat(file_, &now) != 0 || ::stat(held_path_.c_str(), &held) != 0) return false;
  return is_gone(holder) || now.st_mtime - held.st_mtime > void_after.count();
}

/// Only what was looked at: another job may have been faster, and its file goes back to its place.
void JobLock::remove_void(const std::string& holder) const {
  const std::filesystem::path aside = held_path_.string() + fmt::format(".{}.{}", host_name(), ::getpid());
  if (::rename(held_path_.c_str(), aside.c_str()) != 0) return;
  if (text_of(aside) != holder) static_cast<void>(::link(aside.c_str(), held_path_.c_str()) == 0);
  ::unlink(aside.c_str());
}

void JobLock::keep_fresh(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!ended_.wait_for(lock, stop, refresh_after, [&] { return stop.stop_requested(); }))
    ::futimens(held_, nullptr);
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
  if (refresher_.joinable()) {
    refresher_.request_stop();
    refresher_.join();
  }
  if (held_ >= 0) {
    ::unlink(held_path_.c_str());
    ::close(held_);
  }
  if (file_ < 0) return;
  ::unlink(path_.c_str());
  ::close(file_);
}

}  // namespace gpfq::job
