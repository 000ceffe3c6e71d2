// SPDX-License-Identifier: Apache-2.0
#include "gpfq/base/durable.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "gpfq/base/error.hpp"

namespace gpfq {

void start_sync(const std::filesystem::path& file) {
#ifdef SYNC_FILE_RANGE_WRITE
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return;
  static_cast<void>(::sync_file_range(descriptor, 0, 0, SYNC_FILE_RANGE_WRITE));
  ::close(descriptor);
#else
  static_cast<void>(file);
#endif
}

void sync_file(const std::filesystem::path& file) {
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  int code = descriptor >= 0 && ::fsync(descriptor) == 0 ? 0 : errno;
  if (descriptor >= 0) ::close(descriptor);
  if (code == EINVAL || code == ENOTSUP) code = 0;  // nothing to be done there
  if (code != 0) throw_output("{} cannot be written: {}", file.string(), std::strerror(code));
}

void sync_folder(const std::filesystem::path& folder) {
  const int descriptor = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  static_cast<void>(::fsync(descriptor) == 0);
  ::close(descriptor);
}

void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to) {
  sync_file(from);
  std::error_code code;
  std::filesystem::rename(from, to, code);
  if (code) throw_output("cannot rename {} to {}: {}", from.string(), to.string(), code.message());
  sync_folder(to.parent_path());
}

}  // namespace gpfq
