// SPDX-License-Identifier: Apache-2.0
// Making, checking and removing folders.
#include "job/workspace.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <system_error>

#include "gpfq/base/digest.hpp"
#include "gpfq/base/error.hpp"
#include "gpfq/base/system.hpp"
#include "gpfq/base/text.hpp"
#include "job/checkpoint.hpp"
#include "job/run_log.hpp"

namespace gpfq::job {
namespace {

// A file that says that what is here of a run is void.
constexpr const char* overwriting = ".overwriting";

void check_space(const std::filesystem::path& folder, Index needed, const char* what) {
  std::error_code code;
  const std::filesystem::space_info space = std::filesystem::space(folder, code);
  if (code || static_cast<std::uintmax_t>(needed) <= space.available) return;
  throw_input("{} {} in {}, where {} are free", what, format_bytes(needed), folder.string(),
              format_bytes(static_cast<Index>(space.available)));
}

bool on_same_disk(const std::filesystem::path& first, const std::filesystem::path& second) {
  struct stat of_first = {};
  struct stat of_second = {};
  return ::stat(first.c_str(), &of_first) == 0 && ::stat(second.c_str(), &of_second) == 0 &&
         of_first.st_dev == of_second.st_dev;
}

/// "a/./run/" as "a/run", the form in which folders are compared.
std::filesystem::path normal(const std::filesystem::path& folder) {
  const std::filesystem::path plain = folder.lexically_normal();
  return plain.has_filename() ? plain : plain.parent_path();
}

/// Makes a folder and those around it. @param made  gets the ones that were not there, outermost first
void make_folder(const std::filesystem::path& folder, std::vector<std::filesystem::path>& made) {
  std::error_code code;
  const std::filesystem::path parent = folder.parent_path();
  if (!parent.empty() && !std::filesystem::exists(parent, code)) make_folder(parent, made);
  if (std::filesystem::is_directory(folder, code)) return;
  if (!std::filesystem::create_directory(folder, code)) {
    std::error_code ignored;
    if (std::filesystem::is_directory(folder, ignored)) return;  // another job was faster
    throw_input("cannot make the folder {}: {}", folder.string(), code ? code.message() : "something else has its name");
  }
  made.push_back(folder);
}

/// Disk that a file takes; what is reserved but not yet written does not count.
Index taken_by_file(const std::filesystem::path& file) {
  constexpr Index block_bytes = 512;
  struct stat status {};
  return ::stat(file.c_str(), &status) == 0 && S_ISREG(status.st_mode) ? status.st_blocks * block_bytes : 0;
}

/// ... and all files of a folder.
Index taken_by(const std::filesystem::path& folder) {
  Index bytes = 0;
  std::error_code code;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder, code))
    bytes += taken_by_file(entry.path());
  return bytes;
}

}  // namespace

TemporaryFolder::TemporaryFolder(const std::filesystem::path& folder) {
  make_folder(normal(folder), made_);
  if (made_.empty()) made_.push_back(normal(folder));
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(made_.back(), ignored);
  for (auto outer = made_.rbegin(); outer != made_.rend(); ++outer) std::filesystem::remove(*outer, ignored);
}

std::filesystem::path scratch_of(const std::filesystem::path& scratch, const std::filesystem::path& output) {
  const std::string place = normal(std::filesystem::absolute(output)).string();
  return scratch / ("gpfq-" + sha256(place.data(), static_cast<Index>(place.size())).substr(0, 8));
}

Workspace::Workspace(const std::filesystem::path& output, Earlier earlier) : output_(normal(output)) {
  std::error_code code;
  try {
    make_folder(output_, made_);
    lock_.emplace(output_);
    write_file_atomically(output_ / ".writable", "");
    std::filesystem::remove(output_ / ".writable", code);
    if (earlier == Earlier::refuse) {
      if (std::filesystem::exists(manifest_of(output_), code))
        throw_input("{} holds a run that is not finished: --resume goes on with it, --overwrite replaces it", output.string());
      for (const char* name : {"quantized.h5", "report.json"})
        if (std::filesystem::exists(output_ / name, code))
          throw_input("{} holds a finished run ({}): --overwrite replaces it, --resume only shows it; or use another "
                      "'output'",
                      output.string(), name);
    }
    // A job that is lost before its first checkpoint is not to be taken for the run that it overwrites.
    if (earlier == Earlier::overwrite) write_file_atomically(output_ / overwriting, "");
    overwrites_ = earlier != Earlier::refuse && std::filesystem::exists(output_ / overwriting, code);
    found_checkpoint_ = !overwrites_ && earlier == Earlier::resume && std::filesystem::exists(manifest_of(output_), code);
    if (found_checkpoint_) keep();
    if (!found_checkpoint_) std::filesystem::remove_all(checkpoint_folder(output_), code);
  } catch (...) {
    lock_.reset();
    remove_made();
    throw;
  }
}

void Workspace::make_scratch(const std::filesystem::path& scratch, Index output_bytes, Index scratch_bytes) {
  scratch_ = normal(scratch_of(scratch, output_));
  make_folder(normal(scratch), made_);
  make_folder(scratch_, made_);
  // What this run goes on with is there already; what it replaces stays beside it until the end.
  std::error_code code;
  std::filesystem::path result = output_ / "quantized.h5.partial";
  if (found_checkpoint_ && !std::filesystem::exists(result, code)) result = output_ / "quantized.h5";
  const Index taken = found_checkpoint_ ? taken_by_file(result) + taken_by(checkpoint_folder(output_)) : 0;
  const Index of_result = std::max<Index>(0, output_bytes - taken);
  const Index of_scratch = std::max<Index>(0, scratch_bytes - taken_by(scratch_));
  if (on_same_disk(output_, scratch_)) {
    check_space(output_, of_result + of_scratch, "the result, its checkpoints and scratch together need");
  } else {
    check_space(output_, of_result, "the result and its checkpoints need");
    check_space(scratch_, of_scratch, "scratch needs");
  }
}

std::string Workspace::full_disks() const {
  constexpr std::uintmax_t little = std::uintmax_t{16} << 20;
  std::string text;
  for (const std::filesystem::path& folder : {output_, scratch_}) {
    std::error_code code;
    const std::filesystem::space_info space = std::filesystem::space(folder, code);
    const bool is_another = text.empty() || !on_same_disk(output_, scratch_);
    if (!folder.empty() && !code && is_another && space.available < little)
      text += fmt::format("\n  {} are free in {}", format_bytes(static_cast<Index>(space.available)), folder.string());
  }
  return text;
}

void Workspace::release_earlier(const std::filesystem::path& scratch) {
  scratch_ = normal(scratch_of(scratch, output_));
  outcome_ = Outcome::done;
  publish_logs(output_);
}

void Workspace::keep() {
  if (outcome_ == Outcome::nothing) outcome_ = Outcome::kept;
}

void Workspace::drop_earlier() {
  std::error_code ignored;
  for (const char* name : {"report.json", "report.csv"}) std::filesystem::remove(output_ / name, ignored);
  remove_rank_logs(output_);
  std::filesystem::remove(output_ / overwriting, ignored);
  overwrites_ = false;
}

void Workspace::remove_made() {
  std::error_code ignored;
  for (auto folder = made_.rbegin(); folder != made_.rend(); ++folder)
    std::filesystem::remove(*folder, ignored);  // empty ones only
}

Workspace::~Workspace() {
  std::error_code ignored;
  if (outcome_ != Outcome::kept && !scratch_.empty()) {
    std::filesystem::remove_all(scratch_, ignored);
    const std::filesystem::path around = scratch_.parent_path();
    if (around.parent_path() == output_) std::filesystem::remove(around, ignored);  // an earlier run's, now empty
  }
  if (outcome_ == Outcome::nothing) std::filesystem::remove_all(checkpoint_folder(output_), ignored);
  if (outcome_ == Outcome::nothing) {
    std::filesystem::remove(output_ / overwriting, ignored);
    std::filesystem::remove(output_ / "quantized.h5.partial", ignored);
    remove_unfinished_logs(output_);
  }
  lock_.reset();
  remove_made();
}

}  // namespace gpfq::job
