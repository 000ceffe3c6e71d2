// SPDX-License-Identifier: Apache-2.0
// Exit codes: 0 done; 2 bad arguments, config or input, one message from rank 0; 75 stopped on request with a
// checkpoint; 1 a fault.
#include <fmt/core.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <new>
#include <string>
#include <string_view>

#include "app/commands.hpp"
#include "gpfq/base/error.hpp"
#include "gpfq/base/stop_request.hpp"
#include "gpfq/base/system.hpp"
#include "gpfq/job/job.hpp"

namespace {

using gpfq::app::Request;

constexpr int exit_input = 2;
constexpr int exit_fault = 1;

constexpr int exit_stopped = 75;

int exit_code(const gpfq::Error& error) {
  switch (error.kind()) {
    case gpfq::ErrorKind::input:
    case gpfq::ErrorKind::output:
      return exit_input;
    case gpfq::ErrorKind::stopped:
      return exit_stopped;
    default:
      return exit_fault;
  }
}

/// The build may use instructions that an old node lacks: say so instead of dying of them.
bool processor_fits() {
#if defined(__x86_64__) && defined(GPFQ_NEEDS_AVX2)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return true;
#endif
}

/// This process' rank before MPI has started, from the launcher's environment; empty without a launcher.
std::string launched_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"})
    if (const char* rank = std::getenv(name)) return rank;
  return "";
}

/// The first process prints, then all end. A launcher kills the others as soon as one process fails, so none may end
/// before the first has printed: starting MPI is where they meet.
int end_before_work(const gpfq::app::ParseResult& parsed, int argc, char** argv) {
  const std::string rank = launched_rank();
  if (rank.empty() || rank == "0") fmt::print(parsed.exit_code == 0 ? stdout : stderr, "{}", parsed.text);
  std::fflush(nullptr);
  if (parsed.exit_code == 0 || rank.empty()) return parsed.exit_code;
  try {
    const gpfq::mpi::Environment environment(argc, argv);
  } catch (const gpfq::Error&) {  // alone under a foreign launcher: the message is out
  }
  return parsed.exit_code;
}

int run_serially(const Request& request) {
  try {
    fmt::print("{}", gpfq::app::run_serial(request));
    return std::fflush(stdout) == 0 ? 0 : exit_fault;
  } catch (const gpfq::Error& error) {
    fmt::print(stderr, "gpfq: {}\n", error.what());
    return exit_code(error);
  } catch (const std::exception& error) {
    fmt::print(stderr, "gpfq: {}\n", error.what());
    return exit_fault;
  }
}

/// How a process of its own ended.
struct Outcome {
  int code = 0;
  int signal = 0;  ///< that killed it; 0: none
};

/// Runs `action` in a child: HDF5 may fall over a damaged file. Not after MPI has started.
/// @param descriptor  the child's stderr; -1: this process' own
Outcome run_contained(const std::function<int()>& action, int descriptor = -1) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) return {action(), 0};
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (descriptor >= 0) ::dup2(descriptor, STDERR_FILENO);
    const int code = action();
    std::fflush(nullptr);
    std::_Exit(code);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? Outcome{WEXITSTATUS(status), 0} : Outcome{exit_input, WTERMSIG(status)};
}

std::string crash_text(const std::string& what, int signal) {
  return fmt::format("reading {} was ended by signal {} ({}): the file is damaged in a way that HDF5 does not survive", what,
                     signal, ::strsignal(signal));
}

/// Commands that only look at a file, whoever it is from.
int run_alone(const Request& request) {
  if (!gpfq::app::reads_foreign_files(request.command)) return run_serially(request);
  const Outcome outcome = run_contained([&] { return run_serially(request); });
  if (outcome.signal != 0) fmt::print(stderr, "gpfq: {}\n", crash_text(request.input.string(), outcome.signal));
  return outcome.code;
}

/// A file without a name, for what a child says.
class Notes {
 public:
  ~Notes() {
    if (file_ != nullptr) std::fclose(file_);
  }
  Notes() = default;
  Notes(const Notes&) = delete;
  Notes& operator=(const Notes&) = delete;
  [[nodiscard]] int descriptor() const { return file_ == nullptr ? -1 : ::fileno(file_); }
  /// The first line of the program's own (the C library may have had its say before), without its name.
  [[nodiscard]] std::string line() const {
    constexpr std::string_view name = "gpfq: ";
    std::array<char, 4096> text{};
    if (file_ != nullptr) std::rewind(file_);
    while (file_ != nullptr && std::fgets(text.data(), static_cast<int>(text.size()), file_) != nullptr) {
      std::string line = text.data();
      line.erase(line.find_last_not_of('\n') + 1);
      if (line.starts_with(name)) return line.substr(name.size());
    }
    return "";
  }
  /// All of it, for who looks for the cause.
  void show() const {
    if (file_ != nullptr) std::rewind(file_);
    for (int c = 0; file_ != nullptr && (c = std::fgetc(file_)) != EOF;) std::fputc(c, stderr);
  }

 private:
  std::FILE* file_ = std::tmpfile();
};

/// Signals by which a library falls; others come from outside.
bool is_crash(int signal) {
  return signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGABRT || signal == SIGILL;
}

/// The first process opens the job's files once in a child before the ranks meet. @returns why they cannot be read, as the
/// child says it; else nothing
std::string trouble_with_files(const Request& request) {
  const std::string rank = launched_rank();
  if (!rank.empty() && rank != "0") return "";
  const Notes notes;
  const Outcome outcome = run_contained(
      [&] {
        try {
          gpfq::app::try_files(request);
          return 0;
        } catch (const gpfq::Error& error) {
          fmt::print(stderr, "gpfq: {}\n", error.what());
          return exit_code(error);
        } catch (const std::exception&) {  // memory that is not had: the job will see
          return 0;
        }
      },
      notes.descriptor());
  if (outcome.signal != 0) return is_crash(outcome.signal) ? crash_text("the job's files", outcome.signal) : "";
  if (outcome.code == 0) return "";
  const std::string line = notes.line();
  if (line.empty()) notes.show();
  return line.empty() ? "the process that tried the job's files has failed" : line;
}

/// A failure that only this rank has: the others wait in a collective, so the job is ended for all.
int end_all(const gpfq::mpi::Communicator& comm, const char* message, int code) {
  fmt::print(stderr, "gpfq: {} [rank {}/{}, {}]\n", message, comm.rank(), comm.size(), gpfq::host_name());
  std::fflush(stderr);
  if (comm.size() > 1) MPI_Abort(MPI_COMM_WORLD, code);
  return code;
}

/// @param trouble  what the first process has to say of files that cannot be read; else empty
int run_with_ranks(const Request& request, const gpfq::mpi::Communicator& comm, const std::string& trouble) {
  try {
    comm.agree([&] {
      if (!trouble.empty()) gpfq::throw_input("{}", trouble);
    });
    const std::string text = gpfq::app::run_on_ranks(request, comm);
    fmt::print("{}", text);
    std::fflush(stdout);
    return 0;
  } catch (const gpfq::mpi::AgreedError& error) {
    if (comm.is_root()) fmt::print(stderr, "gpfq: {}\n", error.what());
    std::fflush(stderr);
    return exit_code(error);
  } catch (const gpfq::Error& error) {
    return end_all(comm, error.what(), exit_code(error));
  } catch (const std::bad_alloc&) {
    return end_all(comm, "out of memory", exit_fault);
  } catch (const std::exception& error) {
    return end_all(comm, error.what(), exit_fault);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (!processor_fits()) {
    fmt::print(stderr, "gpfq: this build is for " GPFQ_ARCH ", which this processor is not; configure with "
                       "-DGPFQ_ARCH=native on it\n");
    return exit_input;
  }
  const gpfq::app::ParseResult parsed = gpfq::app::parse_command_line(argc, argv);
  if (parsed.exit_code >= 0) return end_before_work(parsed, argc, argv);
  if (!gpfq::app::needs_ranks(parsed.request.command)) return run_alone(parsed.request);
  gpfq::catch_stop_requests();  // a launcher may hand one on from here on
  const std::string trouble = trouble_with_files(parsed.request);
  try {
    int code = 0;
    {
      const gpfq::mpi::Environment environment(argc, argv);
      const gpfq::mpi::Communicator comm(MPI_COMM_WORLD);
      code = run_with_ranks(parsed.request, comm, trouble);
      if (code == exit_input || code == exit_fault) gpfq::mpi::Environment::leave_files();
    }
    if (code != exit_input && code != exit_fault) return code;
    std::fflush(nullptr);
    std::_Exit(code);
  } catch (const gpfq::Error& error) {
    fmt::print(stderr, "gpfq: {}\n", error.what());
    return exit_code(error);
  }
}
