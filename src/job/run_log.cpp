// SPDX-License-Identifier: Apache-2.0
// stderr by hand (a line that updates is not a log), the file by spdlog.
#include "job/run_log.hpp"

#include <fmt/format.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <system_error>

#include "gpfq/base/error.hpp"

namespace gpfq::job {

RunLog::RunLog(bool speaks) : speaks_(speaks), is_terminal_(::isatty(STDERR_FILENO) == 1) {}

RunLog::~RunLog() { clear_progress(); }

void RunLog::open(const std::filesystem::path& path, bool goes_on) {
  if (!speaks_) return;
  try {
    path_ = path;
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string() + ".partial", !goes_on);
    file_ = std::make_shared<spdlog::logger>("run", std::move(sink));
    file_->set_pattern("%Y-%m-%d %H:%M:%S.%e  %v");
    file_->flush_on(spdlog::level::info);
  } catch (const spdlog::spdlog_ex& error) {
    throw_input("cannot write {}: {}", path.string(), error.what());
  }
}

void RunLog::finish() {
  if (!speaks_) return;
  std::error_code code;
  std::filesystem::rename(path_.string() + ".partial", path_, code);
  if (code) throw_input("cannot write {}: {}", path_.string(), code.message());
}

void RunLog::clear_progress() {
  if (has_progress_) fmt::print(stderr, "\r\033[K");
  has_progress_ = false;
}

void RunLog::line(const std::string& text) {
  if (!speaks_) return;
  clear_progress();
  fmt::print(stderr, "[{:8.2f} s] {}\n", since_start_.seconds(), text);
  if (file_) file_->info(text);
}

void RunLog::note(const std::string& text) {
  if (file_) file_->info(text);
}

void RunLog::progress(const std::string& text) {
  if (!speaks_ || !is_terminal_) return;
  fmt::print(stderr, "\r\033[K[{:8.2f} s] {}", since_start_.seconds(), text);
  std::fflush(stderr);
  has_progress_ = true;
}

}  // namespace gpfq::job
