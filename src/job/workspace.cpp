// SPDX-License-Identifier: Apache-2.0
// Making, checking and removing folders.
#include "job/workspace.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <system_error>

#include "gpfq/base/digest.hpp"
#include "gpfq/base/error.hpp"
#include "gpfq/base/system.hpp"
#include "gpfq/base/text.hpp"

namespace gpfq::job {
namespace {

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

}  // namespace

std::filesystem::path scratch_of(const std::filesystem::path& scratch, const std::filesystem::path& output) {
  const std::string place = normal(std::filesystem::absolute(output)).string();
  return scratch / ("gpfq-" + sha256(place.data(), static_cast<Index>(place.size())).substr(0, 8));
}

Workspace::Workspace(const std::filesystem::path& output, const std::filesystem::path& scratch, bool overwrite,
                     Index output_bytes, Index scratch_bytes)
    : output_(normal(output)), scratch_(normal(scratch_of(scratch, output))) {
  std::error_code code;
  for (const char* name : {"quantized.h5", "report.json"})
    if (!overwrite && std::filesystem::exists(output / name, code))
      throw_input("{} holds a finished run ({}): use --overwrite to replace it, or another 'output'", output.string(), name);
  try {
    make_folder(output_);
    make_folder(normal(scratch));
    make_folder(scratch_);
    write_file_atomically(output_ / ".writable", "");
    std::filesystem::remove(output_ / ".writable", code);
    if (on_same_disk(output_, scratch_)) {
      check_space(output_, output_bytes + scratch_bytes, "the result and scratch together need");
    } else {
      check_space(output_, output_bytes, "the result needs");
      check_space(scratch_, scratch_bytes, "scratch needs");
    }
  } catch (...) {
    for (auto folder = made_.rbegin(); folder != made_.rend(); ++folder) std::filesystem::remove(*folder, code);
    throw;
  }
}

void Workspace::make_folder(const std::filesystem::path& folder) {
  std::error_code code;
  const std::filesystem::path parent = folder.parent_path();
  if (!parent.empty() && !std::filesystem::exists(parent, code)) make_folder(parent);
  if (std::filesystem::is_directory(folder, code)) return;
  if (!std::filesystem::create_directory(folder, code))
    throw_input("cannot make the folder {}: {}", folder.string(), code ? code.message() : "something else has its name");
  made_.push_back(folder);
}

Workspace::~Workspace() {
  std::error_code ignored;
  std::filesystem::remove_all(scratch_, ignored);
  if (!succeeded_)
    for (const char* name : {"quantized.h5.partial", "log.partial"}) std::filesystem::remove(output_ / name, ignored);
  for (auto folder = made_.rbegin(); folder != made_.rend(); ++folder)
    std::filesystem::remove(*folder, ignored);  // empty ones only
}

}  // namespace gpfq::job
