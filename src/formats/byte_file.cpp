// SPDX-License-Identifier: Apache-2.0
// POSIX reads at offsets, repeated until all bytes are there.
#include "formats/byte_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "gpfq/base/error.hpp"

namespace gpfq::formats {

ByteFile::ByteFile(const std::filesystem::path& path, const std::string& what)
    : shown_(fmt::format("{}{}'{}'", what, what.empty() ? "" : " ", path.string())) {
  std::error_code code;
  // Before opening: a pipe would wait for its writer.
  if (std::filesystem::exists(path, code) && !std::filesystem::is_regular_file(path, code))
    throw_input("{} is not a regular file", shown_);
  descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) throw_input("{} cannot be opened: {}", shown_, std::strerror(errno));
  struct stat status {};
  if (fstat(descriptor_, &status) == 0) size_ = status.st_size;
}

ByteFile::~ByteFile() { ::close(descriptor_); }

void ByteFile::read(Index offset, Index size, char* out) const {
  while (size > 0) {
    const ssize_t got = pread(descriptor_, out, static_cast<std::size_t>(size), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_input("{} cannot be read: {}", shown_, std::strerror(errno));
    if (got == 0) throw_input("{} ends at byte {}; it became shorter", shown_, offset);
    offset += got;
    out += got;
    size -= got;
  }
}

}  // namespace gpfq::formats
