// SPDX-License-Identifier: Apache-2.0
// The command line: what was asked for, as one struct.
#pragma once

#include <filesystem>
#include <string>

#include "gpfq/job/job.hpp"

namespace gpfq::app {

enum class Command { none, demo, import_model, plan, scale, bench, quantize, evaluate, inspect };

/// A parsed command line.
struct Request {
  Command command = Command::none;
  std::filesystem::path input;   ///< model or file
  std::filesystem::path output;
  job::JobOptions job;
  job::PlanOptions plan;
  job::BenchOptions bench;
  job::ScaleShape scale_shape;
  job::ScaleMachine scale_machine;
  job::ScaleDesign scale_design;
};

/// Parses. Where the command line is wrong or asks for help, `exit_code` is set (0 or 2), the text is for
/// stdout (0) or stderr (2), and the request is none.
struct ParseResult {
  Request request;
  int exit_code = -1;
  std::string text;
};
[[nodiscard]] ParseResult parse_command_line(int argc, const char* const* argv);

/// Runs a command that needs no ranks. @throws Error
[[nodiscard]] std::string run_serial(const Request& request);
/// True for commands that only look at a file, whoever it is from: they run in a process of their own.
[[nodiscard]] bool reads_foreign_files(Command command);
/// Reads what a command on all ranks begins with, in a process that HDF5 may bring down.
void try_files(const Request& request);
/// True for commands that run on all ranks.
[[nodiscard]] bool needs_ranks(Command command);
/// Runs such a command.  Collective. @throws Error
[[nodiscard]] std::string run_on_ranks(const Request& request, const mpi::Communicator& comm);

}  // namespace gpfq::app
