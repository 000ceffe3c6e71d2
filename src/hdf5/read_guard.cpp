// SPDX-License-Identifier: Apache-2.0
// Handlers for as long as HDF5 is at work, and a soft limit on the memory of the process. A handler can do little: it
// writes a text that was made before and ends the process. Nothing here allocates or throws.
#include "gpfq/hdf5/read_guard.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace gpfq::hdf5 {
namespace {

constexpr int exit_input = 2;
// What HDF5 takes by itself for a small file is far below; the bar for readers of files is 256 MiB.
constexpr Index least_memory = Index{192} << 20;
constexpr std::size_t longest_name = 2000;
constexpr std::string_view opening = "gpfq: reading ";
constexpr std::string_view closing = " was ended by a signal (";

struct Watched {
  int number;
  const char* name;
};
constexpr std::array watched = {Watched{SIGSEGV, "SIGSEGV"}, Watched{SIGBUS, "SIGBUS"}, Watched{SIGFPE, "SIGFPE"},
                                Watched{SIGABRT, "SIGABRT"}};

/// Of the one guard that counts.
struct State {
  std::atomic<pid_t> thread{0};  ///< 0: there is none
  std::array<char, longest_name + 64> text{};
  std::array<struct sigaction, watched.size()> before{};
  std::array<char, 1 << 16> stack{};  ///< for a handler when the other one has run over
  stack_t stack_before{};
  bool sets_stack = false;
  rlimit memory_before{};
  bool limits_memory = false;
};
State state;

void say(const char* text) { static_cast<void>(!::write(STDERR_FILENO, text, std::strlen(text))); }

void on_signal(int number, siginfo_t* info, void* /*context*/) {
  const bool is_own = info->si_code > 0 || info->si_pid == ::getpid();  // not sent by somebody else
  std::size_t index = 0;
  while (index + 1 < watched.size() && watched[index].number != number) ++index;
  if (is_own && state.thread.load() == ::gettid()) {
    say(state.text.data());
    say(watched[index].name);
    say("): the file is damaged in a way that HDF5 does not survive\n");
    ::_exit(exit_input);
  }
  ::sigaction(number, &state.before[index], nullptr);
  static_cast<void>(std::raise(number));
}

#ifdef GPFQ_SANITIZED
constexpr bool is_sanitized = true;  // whose own handlers say more, and whose memory would count
#else
constexpr bool is_sanitized = false;
#endif

void install_handlers() {
  if (is_sanitized) return;
  stack_t stack{};
  stack.ss_sp = state.stack.data();
  stack.ss_size = state.stack.size();
  state.sets_stack = ::sigaltstack(nullptr, &state.stack_before) == 0 &&
                     (state.stack_before.ss_flags & SS_DISABLE) != 0 && ::sigaltstack(&stack, nullptr) == 0;
  for (std::size_t i = 0; i < watched.size(); ++i) {
    struct sigaction action {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    ::sigaction(watched[i].number, &action, &state.before[i]);
  }
}

void restore_handlers() {
  if (is_sanitized) return;
  for (std::size_t i = 0; i < watched.size(); ++i) ::sigaction(watched[i].number, &state.before[i], nullptr);
  if (state.sets_stack) ::sigaltstack(&state.stack_before, nullptr);
}

Index number_after(const char* text, const char* key) {
  const char* found = std::strstr(text, key);
  return found == nullptr ? 0 : std::atoll(found + std::strlen(key));
}

/// Bytes of the process' own writable memory, touched or not. 0: not known, or other threads may need more of it.
Index data_bytes_alone() {
  std::array<char, 4096> text{};
  const int file = ::open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  const ssize_t bytes = ::read(file, text.data(), text.size() - 1);
  ::close(file);
  if (bytes <= 0 || number_after(text.data(), "Threads:") != 1) return 0;
  return number_after(text.data(), "VmData:") * 1024;
}

bool limit_memory(Index more) {
  const Index data = is_sanitized ? 0 : data_bytes_alone();
  if (data == 0 || ::getrlimit(RLIMIT_DATA, &state.memory_before) != 0) return false;
  rlimit limit = state.memory_before;
  limit.rlim_cur = std::min(limit.rlim_cur, static_cast<rlim_t>(data + more));
  return ::setrlimit(RLIMIT_DATA, &limit) == 0;
}

/// The text up to where the signal is named, with what would drive a terminal replaced.
void make_text(const char* file) {
  char* out = std::copy(opening.begin(), opening.end(), state.text.data());
  for (std::size_t i = 0; i < longest_name && file[i] != '\0'; ++i) {
    const auto c = static_cast<unsigned char>(file[i]);
    *out++ = c < ' ' || c == 0x7F ? '?' : file[i];
  }
  *std::copy(closing.begin(), closing.end(), out) = '\0';
}

/// True for an object of a file that is written too: that one is the job's own. (The driver would say more, but to ask
/// for it is collective.)
bool is_own(hid_t object) {
  const hid_t file = H5Iget_file_id(object);
  unsigned intent = H5F_ACC_RDONLY;
  const bool result = file >= 0 && H5Fget_intent(file, &intent) >= 0 && (intent & H5F_ACC_RDWR) != 0;
  if (file >= 0) H5Idec_ref(file);
  return result;
}

}  // namespace

ReadGuard::ReadGuard(const std::filesystem::path& file, Memory memory) noexcept { begin(file.c_str(), memory); }

ReadGuard::ReadGuard(hid_t object, Memory memory) noexcept {
  if (state.thread.load() != 0 || is_own(object)) return;
  std::array<char, longest_name> name{};
  if (H5Fget_name(object, name.data(), name.size()) <= 0) std::strcpy(name.data(), "an HDF5 file");
  begin(name.data(), memory);
}

void ReadGuard::begin(const char* file, Memory memory) noexcept {
  pid_t none = 0;
  if (!state.thread.compare_exchange_strong(none, ::gettid())) return;
  is_outermost_ = true;
  make_text(file);
  install_handlers();
  struct stat status {};
  const Index bytes = ::stat(file, &status) == 0 ? static_cast<Index>(status.st_size) : 0;
  state.limits_memory = memory == Memory::as_the_file && limit_memory(std::max(least_memory, bytes));
}

ReadGuard::~ReadGuard() {
  if (!is_outermost_) return;
  if (state.limits_memory) ::setrlimit(RLIMIT_DATA, &state.memory_before);
  restore_handlers();
  state.thread.store(0);
}

}  // namespace gpfq::hdf5
