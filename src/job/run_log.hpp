// SPDX-License-Identifier: Apache-2.0
// What the person at the terminal sees while a job runs, and what stays in run/log. Only root speaks.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "gpfq/base/system.hpp"

namespace spdlog {
class logger;
}

namespace gpfq::job {

/// Progress on stderr (one line that updates on a terminal, plain lines with times otherwise) and a log file.
class RunLog {
 public:
  /// @param speaks  false on ranks other than root: all calls do nothing
  explicit RunLog(bool speaks);
  ~RunLog();
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;

  /// Starts the log file, `<path>.partial` until finish(), or goes on with an earlier run's. @throws Error (input) when it cannot be written.
  void open(const std::filesystem::path& path, bool goes_on);
  /// Renames the log to its final name. @throws Error (input)
  void finish();
  /// A step that is over, to both.
  void line(const std::string& text);
  /// A detail, to the file only.
  void note(const std::string& text);
  /// What goes on now, to stderr only.
  void progress(const std::string& text);

 private:
  void clear_progress();

  bool speaks_;
  bool is_terminal_;
  bool has_progress_ = false;
  Stopwatch since_start_;
  std::filesystem::path path_;
  std::shared_ptr<spdlog::logger> file_;
};

}  // namespace gpfq::job
