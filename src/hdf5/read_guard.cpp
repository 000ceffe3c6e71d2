// SPDX-License-Identifier: Apache-2.0
// Handlers for as long as HDF5 is at work, and a soft limit on the memory of the process. What a handler may do is little:
// it writes a text that was made before and ends the process.
#include "gpfq/hdf5/read_guard.hpp"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <system_error>

namespace gpfq::hdf5 {
namespace {

constexpr int exit_input = 2;
constexpr Index least_memory = Index{192} << 20;

struct Watched {
  int number;
  const char* name;
};
constexpr std::array watched = {Watched{SIGSEGV, "SIGSEGV"}, Watched{SIGBUS, "SIGBUS"}, Watched{SIGFPE, "SIGFPE"},
                                Watched{SIGABRT, "SIGABRT"}};

/// Of the one guard that counts.
struct State {
  std::atomic<pid_t> thread{0};  ///< 0: there is none
  std::array<char, 4096> text{};
  std::array<struct sigaction, watched.size()> before{};
  rlimit memory_before{};
  bool limits_memory = false;
};
State state;

void say(const char* text) { static_cast<void>(!::write(STDERR_FILENO, text, std::strlen(text))); }

void on_signal(int number) {
  if (state.thread.load() == ::gettid()) {
    say(state.text.data());
    for (const Watched& signal : watched)
      if (signal.number == number) say(signal.name);
    say("): the file is damaged in a way that HDF5 does not survive\n");
    ::_exit(exit_input);
  }
  std::signal(number, SIG_DFL);  // another thread's
  static_cast<void>(std::raise(number));
}

void install_handlers() {
#if !defined(__SANITIZE_ADDRESS__)
  for (std::size_t i = 0; i < watched.size(); ++i) {
    struct sigaction action {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_ONSTACK | SA_NODEFER;
    ::sigaction(watched[i].number, &action, &state.before[i]);
  }
#endif
}

void restore_handlers() {
#if !defined(__SANITIZE_ADDRESS__)
  for (std::size_t i = 0; i < watched.size(); ++i) ::sigaction(watched[i].number, &state.before[i], nullptr);
#endif
}

/// Bytes of the process' own writable memory, touched or not. 0: not known, or other threads may need more of it.
[[maybe_unused]] Index data_bytes_alone() {
  std::ifstream file("/proc/self/status");
  Index kibibytes = 0;
  Index threads = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("VmData:")) kibibytes = std::atoll(line.c_str() + std::strlen("VmData:"));
    if (line.starts_with("Threads:")) threads = std::atoll(line.c_str() + std::strlen("Threads:"));
  }
  return threads == 1 ? kibibytes * 1024 : 0;
}

/// AddressSanitizer's own memory would count.
bool limit_memory([[maybe_unused]] Index more) {
#if defined(__SANITIZE_ADDRESS__)
  return false;
#else
  const Index data = data_bytes_alone();
  if (data == 0 || ::getrlimit(RLIMIT_DATA, &state.memory_before) != 0) return false;
  rlimit limit = state.memory_before;
  limit.rlim_cur = std::min(limit.rlim_cur, static_cast<rlim_t>(data + more));
  return ::setrlimit(RLIMIT_DATA, &limit) == 0;
#endif
}

std::string name_of(hid_t object) {
  const ssize_t length = H5Fget_name(object, nullptr, 0);
  std::string name(static_cast<std::size_t>(std::max<ssize_t>(0, length)) + 1, '\0');
  if (length > 0) H5Fget_name(object, name.data(), name.size());
  name.pop_back();
  return name.empty() ? "an HDF5 file" : name;
}

Index size_of(const std::filesystem::path& file) {
  std::error_code code;
  const std::uintmax_t bytes = std::filesystem::file_size(file, code);
  return code ? 0 : static_cast<Index>(bytes);
}

}  // namespace

ReadGuard::ReadGuard(const std::filesystem::path& file, Memory memory) {
  begin(file.string(), memory == Memory::any ? 0 : size_of(file), memory);
}

ReadGuard::ReadGuard(hid_t object, Memory memory) {
  if (state.thread.load() != 0) return;
  const std::string file = name_of(object);
  begin(file, memory == Memory::any ? 0 : size_of(file), memory);
}

void ReadGuard::begin(const std::string& file, Index file_bytes, Memory memory) {
  pid_t none = 0;
  if (!state.thread.compare_exchange_strong(none, ::gettid())) return;
  is_outermost_ = true;
  const std::string text = fmt::format("gpfq: reading {:.2000} was ended by a signal (", file);
  std::copy_n(text.c_str(), std::min(text.size() + 1, state.text.size() - 1), state.text.begin());
  install_handlers();
  state.limits_memory = memory == Memory::as_the_file && limit_memory(std::max(least_memory, file_bytes));
}

ReadGuard::~ReadGuard() {
  if (!is_outermost_) return;
  if (state.limits_memory) ::setrlimit(RLIMIT_DATA, &state.memory_before);
  restore_handlers();
  state.thread.store(0);
}

}  // namespace gpfq::hdf5
