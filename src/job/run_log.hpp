// SPDX-License-Identifier: Apache-2.0
// What the person at the terminal sees while a job runs, and what stays in run/log. Only root speaks; the other ranks
// keep a file of their own where details are wanted.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "gpfq/base/system.hpp"
#include "gpfq/job/job.hpp"

namespace spdlog {
class logger;
}

namespace gpfq::job {

/// Progress on stderr (one line that updates on a terminal, plain lines with times otherwise) and a log file.
class RunLog {
 public:
  RunLog(int rank, LogLevel level);
  ~RunLog();
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;

  /// Starts this rank's log file in the output folder, where it has one (log_name(), ".partial" until publish_logs()), or
  /// goes on with an earlier run's. @throws Error (output) when it cannot be written.
  void open(const std::filesystem::path& output, bool goes_on);
  /// A step that is over, to both; root only.
  void line(const std::string& text);
  /// A detail, to the file only; root only.
  void note(const std::string& text);
  /// What this rank alone did, to its file; at debug only.
  void debug(const std::string& text);
  /// What goes on now, to stderr only; root only.
  void progress(const std::string& text);

 private:
  void clear_progress();

  int rank_;
  LogLevel level_;
  bool is_terminal_;
  bool has_progress_ = false;
  Stopwatch since_start_;
  std::shared_ptr<spdlog::logger> file_;
};

/// Root's is "log", another rank's "log.rank3".
[[nodiscard]] std::string log_name(int rank);
/// Gives the logs in a folder, of all ranks of all runs so far, their final names. @throws Error (output)
void publish_logs(const std::filesystem::path& output);
/// Removes them: those without their final names, or the other ranks' of a finished run.
void remove_unfinished_logs(const std::filesystem::path& output);
void remove_rank_logs(const std::filesystem::path& output);

}  // namespace gpfq::job
