// SPDX-License-Identifier: Apache-2.0
// Running programs from tests as a user does from a shell, never for longer than a limit.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace gpfq::test {

/// What a program left behind.
struct CommandResult {
  int exit_code = -1;  ///< 137 after the time limit
  std::string out;
  std::string err;
};

/// Runs a program with arguments and waits for it; killed with all it started after `limit_seconds`.
/// @param ranks  0 starts it directly, otherwise under mpirun
[[nodiscard]] CommandResult run_command(int ranks, const std::vector<std::string>& arguments, int limit_seconds);

/// Lines of `text` that start with `prefix`.
[[nodiscard]] int count_lines(const std::string& text, const std::string& prefix);

}  // namespace gpfq::test
