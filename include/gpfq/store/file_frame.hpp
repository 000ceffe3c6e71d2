// SPDX-License-Identifier: Apache-2.0
// What of a file must not change while its large datasets are written: headers and everything else outside of them.
#pragma once

#include <boost/serialization/string.hpp>
#include <boost/serialization/vector.hpp>

#include <filesystem>
#include <string>
#include <vector>

#include "gpfq/base/types.hpp"

namespace gpfq::store {

/// Some bytes of a file.
struct FileRange {
  Index begin = 0;
  Index bytes = 0;

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& begin& bytes;
  }
};

/// A file's size and the SHA-256 of its bytes outside some ranges. HDF5 reads a file with a matching frame as it was
/// written, whatever the ranges hold.
struct FileFrame {
  Index size = 0;
  std::vector<FileRange> holes;  ///< ascending, apart
  std::string sha256;

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& size& holes& sha256;
  }
};

/// @throws Error (input) naming a file that cannot be read
[[nodiscard]] FileFrame take_frame(const std::filesystem::path& path, std::vector<FileRange> holes);

/// @throws Error (input) naming the file, its size or digest, and what was expected
void check_frame(const std::filesystem::path& path, const FileFrame& frame);

}  // namespace gpfq::store
