// SPDX-License-Identifier: Apache-2.0
// A file that is read by byte ranges, and the check that a range lies in it.
#pragma once

#include <filesystem>
#include <string>

#include "gpfq/base/types.hpp"

namespace gpfq::formats {

/// A regular file, open for reading; closed with the object.
class ByteFile {
 public:
  /// @param what  how messages call it, before its path ("external data"); may be empty
  /// @throws Error (input) when it cannot be opened, or is no regular file.
  explicit ByteFile(const std::filesystem::path& path, const std::string& what = "");
  ~ByteFile();
  ByteFile(const ByteFile&) = delete;
  ByteFile& operator=(const ByteFile&) = delete;

  /// Bytes of the file when it was opened.
  [[nodiscard]] Index size() const { return size_; }
  /// Reads bytes offset .. offset+size−1. @throws Error (input) when the file ends before them.
  void read(Index offset, Index size, char* out) const;

 private:
  std::string shown_;  ///< what and path
  int descriptor_ = -1;
  Index size_ = 0;
};

}  // namespace gpfq::formats
