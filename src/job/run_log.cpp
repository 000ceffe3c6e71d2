// SPDX-License-Identifier: Apache-2.0
// stderr by hand (a line that updates is not a log), the file by spdlog.
#include "job/run_log.hpp"

#include <fmt/format.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <regex>
#include <system_error>
#include <vector>

#include "gpfq/base/error.hpp"

namespace gpfq::job {

namespace {

constexpr const char* unfinished = ".partial";

/// The files in a folder that are logs, with or without their final names.
std::vector<std::filesystem::path> logs_in(const std::filesystem::path& output) {
  static const std::regex log_names(R"(log(\.rank[0-9]+)?(\.partial)?)");
  std::vector<std::filesystem::path> logs;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(output, ignored))
    if (std::regex_match(entry.path().filename().string(), log_names)) logs.push_back(entry.path());
  return logs;
}

}  // namespace

std::string log_name(int rank) { return rank == 0 ? "log" : fmt::format("log.rank{}", rank); }

void publish_logs(const std::filesystem::path& output) {
  for (std::filesystem::path log : logs_in(output)) {
    if (log.extension() != unfinished) continue;
    const std::filesystem::path beside = log;
    std::error_code code;
    std::filesystem::rename(beside, log.replace_extension(), code);
    if (code) throw_output("cannot write {}: {}", log.string(), code.message());
  }
}

void remove_unfinished_logs(const std::filesystem::path& output) {
  std::error_code ignored;
  for (const std::filesystem::path& log : logs_in(output))
    if (log.extension() == unfinished) std::filesystem::remove(log, ignored);
}

void remove_rank_logs(const std::filesystem::path& output) {
  std::error_code ignored;
  for (const std::filesystem::path& log : logs_in(output))
    if (log.extension() != unfinished && log.filename() != log_name(0)) std::filesystem::remove(log, ignored);
}

RunLog::RunLog(int rank, LogLevel level) : rank_(rank), level_(level), is_terminal_(::isatty(STDERR_FILENO) == 1) {}

RunLog::~RunLog() { clear_progress(); }

void RunLog::open(const std::filesystem::path& output, bool goes_on) {
  if (rank_ != 0 && level_ != LogLevel::debug) return;
  const std::filesystem::path path = output / (log_name(rank_) + unfinished);
  try {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string(), !goes_on);
    file_ = std::make_shared<spdlog::logger>("run", std::move(sink));
  } catch (const spdlog::spdlog_ex& error) {
    throw_output("cannot write {}: {}", path.string(), error.what());
  }
  file_->set_level(level_ == LogLevel::debug ? spdlog::level::debug : spdlog::level::info);
  file_->set_pattern("%Y-%m-%d %H:%M:%S.%e  %v");
  file_->flush_on(spdlog::level::debug);
  file_->set_error_handler([](const std::string&) {});  // a full disk: what cannot do without it says so
}

void RunLog::clear_progress() {
  if (has_progress_) fmt::print(stderr, "\r\033[K");
  has_progress_ = false;
}

void RunLog::line(const std::string& text) {
  if (rank_ != 0) return;
  clear_progress();
  const std::string shown = presentable(text);
  fmt::print(stderr, "[{:8.2f} s] {}\n", since_start_.seconds(), shown);
  if (file_) file_->info(shown);
}

void RunLog::note(const std::string& text) {
  if (rank_ == 0 && file_) file_->info(presentable(text));
}

void RunLog::debug(const std::string& text) {
  if (file_) file_->debug(presentable(text));
}

void RunLog::progress(const std::string& text) {
  if (rank_ != 0 || !is_terminal_) return;
  fmt::print(stderr, "\r\033[K[{:8.2f} s] {}", since_start_.seconds(), presentable(text));
  std::fflush(stderr);
  has_progress_ = true;
}

}  // namespace gpfq::job
