// SPDX-License-Identifier: Apache-2.0
// The process that runs inputs tells by shared memory which one it is at; its parent finds out how it ended.
#include "campaign.hpp"

#include <execinfo.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <ctime>
#include <functional>
#include <sstream>

#include "gpfq/base/error.hpp"
#include "gpfq/hdf5/handle.hpp"
#include "memory_watch.hpp"
#include "mutate.hpp"
#include "support/data_files.hpp"
#include "support/temp_folder.hpp"

namespace gpfq::fuzz {
namespace {

namespace fs = std::filesystem;

// How the child ends where it notices something itself. Sanitizers end with other codes or by a signal.
enum Exit { done = 0, exception = 91, memory = 92, bad_message = 93, open_handles = 94 };

constexpr std::uint64_t inputs_per_process = 500;  // what a library leaks does not add up for long
constexpr int wait_seconds = 60;

/// What child and parent share.
struct Progress {
  std::uint64_t index;
  std::uint64_t taken;
  std::uint64_t refused;
  std::uint64_t contained;
  std::size_t most_memory;
  double slowest_seconds;
  bool is_finished;
};

void say(const std::string& text) { static_cast<void>(!write(STDERR_FILENO, text.data(), text.size())); }

void print_stack() {
  say("\nfuzz: stack\n");
  std::array<void*, 64> frames{};
  const int count = backtrace(frames.data(), static_cast<int>(frames.size()));
  backtrace_symbols_fd(frames.data(), count, STDERR_FILENO);
}

void on_signal(int number) {
  print_stack();
  std::signal(number, SIG_DFL);
  raise(number);
}

void on_memory(std::size_t bytes) {
  say(fmt::format("fuzz: {} bytes of memory are more than {}", bytes, most_memory_bytes));
  print_stack();
  _exit(memory);
}

void install_handlers() {
#ifdef GPFQ_SANITIZED
  constexpr std::array watched = {SIGPROF, SIGALRM};  // the sanitizer's own handlers say more of the others
#else
  constexpr std::array watched = {SIGPROF, SIGALRM, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
#endif
  static std::array<char, 1 << 16> alternate;  // a handler needs a stack when the other one has run over
  stack_t stack{};
  stack.ss_sp = alternate.data();
  stack.ss_size = alternate.size();
  sigaltstack(&stack, nullptr);
  std::array<void*, 1> warm{};
  backtrace(warm.data(), 1);  // loads its library now
  for (const int number : watched) {
    struct sigaction action {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_ONSTACK | SA_NODEFER;
    sigaction(number, &action, nullptr);
  }
}

void set_clocks(int processor_seconds, int real_seconds) {
  itimerval timer{};
  timer.it_value.tv_sec = processor_seconds;
  setitimer(ITIMER_PROF, &timer, nullptr);
  alarm(static_cast<unsigned>(real_seconds));
}

double processor_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// A message is what a terminal and a log can take: printable, and not longer than a person reads.
bool is_fit(const std::string& message) {
  constexpr std::size_t longest = 4000;
  return !message.empty() && message.size() <= longest &&
         std::none_of(message.begin(), message.end(), [](char c) {
           return c != '\n' && (static_cast<unsigned char>(c) < ' ' || c == '\x7f');
         });
}

void run_input(const Importer& importer, const std::string& bytes, const fs::path& folder, Progress& progress) {
  const double begin = processor_seconds();
  set_clocks(most_seconds, wait_seconds);
  watch_memory(most_memory_bytes, on_memory);
  try {
    const Outcome outcome = try_import(importer, bytes, folder);
    ++(outcome.taken ? progress.taken : progress.refused);
    if (!outcome.taken && !is_fit(outcome.message)) {
      say(fmt::format("fuzz: a message of {} bytes that is not fit to be shown: {:.2000}\n", outcome.message.size(),
                      outcome.message));
      _exit(bad_message);
    }
  } catch (const std::exception& error) {
    say(fmt::format("fuzz: exception: {}\n", error.what()));
    _exit(exception);
  } catch (...) {
    say("fuzz: exception of an unknown type\n");
    _exit(exception);
  }
  progress.most_memory = std::max(progress.most_memory, stop_watching());
  set_clocks(0, 0);
  progress.slowest_seconds = std::max(progress.slowest_seconds, processor_seconds() - begin);
}

std::string how_it_ended(int status, const std::string& said) {
  if (WIFSIGNALED(status)) {
    const int number = WTERMSIG(status);
    if (number == SIGPROF || number == SIGALRM) return "hang";
    return fmt::format("signal {} ({})", number, strsignal(number));
  }
  const auto line_from = [&](const char* start) {
    const std::size_t at = said.find(start);
    return at == std::string::npos ? std::string() : said.substr(at, std::min<std::size_t>(200, said.find('\n', at) - at));
  };
  const std::string own = line_from("fuzz: ");
  if (!own.empty()) return own;
  const std::string runtime = line_from("runtime error: ");
  if (!runtime.empty()) return runtime;
  const std::string address = line_from("AddressSanitizer: ");
  return address.empty() ? fmt::format("exit code {}", WEXITSTATUS(status)) : address;
}

/// True when of the frames in the stack that are libhdf5's or ours the last called is libhdf5's. A stack that has run
/// over is ours.
bool is_in_hdf5(const std::string& said) {
  const auto has = [](const std::string& line, const char* part) { return line.find(part) != std::string::npos; };
  constexpr int deepest = 40;
  int own = 0;
  bool is_hdf5 = false;
  bool is_stack = false;
  std::istringstream lines(said);
  for (std::string line; std::getline(lines, line);) {
    const bool is_start = line == "fuzz: stack" || has(line, "ERROR: AddressSanitizer") || has(line, "runtime error");
    if (is_start && is_stack) break;  // one stack is enough; another tells of allocation
    if (is_stack && line.empty()) break;
    is_stack = is_stack || is_start;
    const bool is_frame = line.starts_with("    #") || has(line, "[0x");
    if (!is_stack || !is_frame || has(line, "memory_watch") || has(line, "campaign.cpp")) continue;
    if (own == 0 && has(line, "libhdf5")) is_hdf5 = true;
    if (has(line, "gpfq")) ++own;
  }
  return is_hdf5 && own < deepest;
}

/// True when HDF5 fell over a file as a user would see it: one message, exit code 2.
bool is_contained(int status, const std::string& said) {
  constexpr int exit_input = 2;
  return WIFEXITED(status) && WEXITSTATUS(status) == exit_input && said.find("gpfq: reading ") != std::string::npos &&
         said.find("damaged in a way that HDF5 does not survive") != std::string::npos;
}

using Inputs = std::function<std::string(std::uint64_t)>;

[[noreturn]] void run_child(const Importer& importer, const Inputs& inputs, std::uint64_t end, const fs::path& folder,
                            Progress& progress, int said) {
  dup2(said, STDERR_FILENO);
  install_handlers();
  hdf5::silence_error_printing();
  for (; progress.index < end; ++progress.index) {
    const std::string bytes = inputs(progress.index);
    run_input(importer, bytes, folder, progress);
    if (H5Fget_obj_count(static_cast<hid_t>(H5F_OBJ_ALL), H5F_OBJ_FILE) > 0) {
      say("fuzz: an HDF5 file stays open\n");
      _exit(open_handles);
    }
  }
  progress.is_finished = true;
  _exit(done);
}

/// Runs inputs progress.index .. end−1 in one process. @returns false when one failed; else the next index is that of
/// the first input that was not run.
bool run_process(const Importer& importer, const Inputs& inputs, std::uint64_t end, const fs::path& folder,
                 Progress& progress, Failure& failure, std::string& said) {
  const fs::path said_file = folder / "stderr";
  const int descriptor = open(said_file.c_str(), O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
  progress.is_finished = false;
  const pid_t child = fork();
  require(child >= 0 && descriptor >= 0, "the fuzzer cannot start a process");
  if (child == 0) run_child(importer, inputs, end, folder, progress, descriptor);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  close(descriptor);
  if (progress.is_finished && WIFEXITED(status) && WEXITSTATUS(status) == done) return true;
  said = test::read_text(said_file);
  if (is_contained(status, said)) {
    ++progress.contained;
    ++progress.index;
    return true;
  }
  failure = {progress.index, how_it_ended(status, said), is_in_hdf5(said), {}};
  return false;
}

/// Memory that both processes see.
class SharedProgress {
 public:
  SharedProgress() : memory_(mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {
    require(memory_ != MAP_FAILED, "the fuzzer cannot have shared memory");
  }
  ~SharedProgress() { munmap(memory_, sizeof(Progress)); }
  SharedProgress(const SharedProgress&) = delete;
  SharedProgress& operator=(const SharedProgress&) = delete;
  Progress& operator*() const { return *static_cast<Progress*>(memory_); }

 private:
  void* memory_;
};

/// splitmix64: neighbouring numbers make seeds that have nothing in common.
std::uint64_t mixed(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31U);
}

}  // namespace

std::string input_of(const Importer& importer, const std::vector<std::string>& seeds, std::uint64_t seed,
                     std::uint64_t index) {
  if (index < seeds.size()) return seeds[index];
  return mutated(seeds, importer.kind, mixed(mixed(seed) ^ index));
}

Tally run_campaign(const Importer& importer, std::uint64_t seed, std::uint64_t first, std::uint64_t count,
                   const fs::path& keep) {
  const test::TempFolder folder;
  const std::vector<std::string> seeds = importer.seeds(folder.path());
  const SharedProgress shared;
  Progress& progress = *shared;
  progress = {first, 0, 0, 0, 0, 0, false};
  Tally tally;
  const Inputs inputs = [&](std::uint64_t index) { return input_of(importer, seeds, seed, index); };
  while (progress.index < first + count) {
    const std::uint64_t end = std::min(first + count, progress.index + inputs_per_process);
    Failure failure;
    std::string said;
    if (run_process(importer, inputs, end, folder.path(), progress, failure, said)) continue;
    fs::create_directories(keep);
    failure.input = keep / fmt::format("{}-{}-{}", importer.name, seed, failure.index);
    test::write_text(failure.input, inputs(failure.index));
    test::write_text(failure.input.string() + ".stderr", said);
    tally.failures.push_back(std::move(failure));
    ++progress.index;
  }
  tally.taken = progress.taken;
  tally.refused = progress.refused;
  tally.contained = progress.contained;
  tally.most_memory = progress.most_memory;
  tally.slowest_seconds = progress.slowest_seconds;
  return tally;
}

Tally run_one(const Importer& importer, const std::string& bytes, std::string& said) {
  const test::TempFolder folder;
  static_cast<void>(importer.seeds(folder.path()));
  const SharedProgress shared;
  *shared = {0, 0, 0, 0, 0, 0, false};
  Tally tally;
  Failure failure;
  if (!run_process(importer, [&](std::uint64_t) { return bytes; }, 1, folder.path(), *shared, failure, said))
    tally.failures.push_back(failure);
  tally.taken = (*shared).taken;
  tally.refused = (*shared).refused;
  tally.contained = (*shared).contained;
  tally.most_memory = (*shared).most_memory;
  return tally;
}

}  // namespace gpfq::fuzz
