// SPDX-License-Identifier: Apache-2.0
// An HDF5 file's bytes, for what is looked at before HDF5 follows it.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <vector>

namespace gpfq::hdf5 {

/// What a collection of the global heap, which holds values of variable length, begins with.
inline constexpr std::string_view global_heap("GCOL\x01\0\0\0", 8);

/// A file, a window of it at a time.
class WindowedFile {
 public:
  explicit WindowedFile(const std::filesystem::path& path) : descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    struct stat status {};
    if (descriptor_ >= 0 && fstat(descriptor_, &status) == 0) size_ = static_cast<std::uint64_t>(status.st_size);
  }
  ~WindowedFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  WindowedFile(const WindowedFile&) = delete;
  WindowedFile& operator=(const WindowedFile&) = delete;

  [[nodiscard]] std::uint64_t size() const { return size_; }
  /// What there is from `offset` on: at least `least` bytes, less only at the end of the file.
  std::string_view from(std::uint64_t offset, std::uint64_t least) {
    if (offset < begin_ || offset + least > begin_ + window_.size()) {
      begin_ = offset;
      window_.resize(window_bytes);
      window_.resize(read_window());
    }
    return std::string_view(window_.data(), window_.size())
        .substr(std::min<std::uint64_t>(offset - begin_, window_.size()));
  }

 private:
  static constexpr std::size_t window_bytes = std::size_t{1} << 16;

  std::size_t read_window() {
    std::size_t done = 0;
    while (done < window_.size()) {
      const ssize_t got =
          pread(descriptor_, window_.data() + done, window_.size() - done, static_cast<off_t>(begin_ + done));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) break;
      done += static_cast<std::size_t>(got);
    }
    return done;
  }

  int descriptor_;
  std::uint64_t size_ = 0;
  std::uint64_t begin_ = 0;
  std::vector<char> window_;
};

template <class Number>
Number number_at(std::string_view bytes, std::size_t at) {
  Number value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

}  // namespace gpfq::hdf5
