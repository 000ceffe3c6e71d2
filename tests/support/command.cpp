// SPDX-License-Identifier: Apache-2.0
// Programs run by the shell with their output in files: nothing blocks on a full pipe.
#include "support/command.hpp"

#include <fmt/format.h>
#include <sys/wait.h>

#include <cstdlib>
#include <sstream>

#include "gpfq/base/error.hpp"
#include "support/data_files.hpp"
#include "support/temp_folder.hpp"

namespace gpfq::test {
namespace {

std::string quoted(const std::string& word) {
  std::string text;
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return fmt::format("'{}'", text);
}

/// More ranks than cores, also as root; the same as in tests/CMakeLists.txt.
void set_mpi_environment() {
  for (const char* name : {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
                           "OMPI_MCA_rmaps_base_oversubscribe", "OMPI_MCA_mpi_yield_when_idle"})
    ::setenv(name, "1", 1);
  ::setenv("OMPI_MCA_hwloc_base_binding_policy", "none", 1);
  ::setenv("OMPI_MCA_pml", "^cm", 1);
}

}  // namespace

CommandResult run_command(int ranks, const std::vector<std::string>& arguments, int limit_seconds) {
  set_mpi_environment();
  const TempFolder folder;
  std::string line = fmt::format("{} -s KILL {}", GPFQ_TIMEOUT, limit_seconds);
  if (ranks > 0) line += fmt::format(" {} {}", GPFQ_MPIEXEC, ranks);
  for (const std::string& argument : arguments) line += fmt::format(" {}", quoted(argument));
  line += fmt::format(" </dev/null >{} 2>{}", quoted((folder / "out").string()), quoted((folder / "err").string()));
  const int status = std::system(line.c_str());
  require(status != -1, "run_command: no shell");
  CommandResult result;
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.out = read_text(folder / "out");
  result.err = read_text(folder / "err");
  return result;
}

int count_lines(const std::string& text, const std::string& prefix) {
  std::istringstream lines(text);
  int count = 0;
  for (std::string line; std::getline(lines, line);) count += line.compare(0, prefix.size(), prefix) == 0 ? 1 : 0;
  return count;
}

}  // namespace gpfq::test
