// SPDX-License-Identifier: Apache-2.0
// What is fuzzed: each reader of files from outside, run as the program runs it, and valid files to begin with.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace gpfq::fuzz {

/// How inputs of an importer are best changed.
enum class Kind {
  text,    ///< JSON and the like: tokens, numbers, nesting
  binary,  ///< lengths, offsets and varints among bytes; texts inside
  hdf5     ///< binary of fixed places, as HDF5's: bytes rarely move
};

/// One reader of files from outside.
struct Importer {
  const char* name;
  Kind kind;
  /// Valid inputs, made in `folder`, which also gets the files that they refer to.
  std::vector<std::string> (*seeds)(const std::filesystem::path& folder);
  /// Writes `bytes` as a file in `folder` and reads it as the program does.
  /// @throws Error (input) where it is refused; anything else that is thrown is a defect.
  void (*run)(const std::string& bytes, const std::filesystem::path& folder);
};

[[nodiscard]] std::span<const Importer> importers();

/// What came of one input: taken, or refused by an input error, whose message is handed on; anything else is thrown on.
struct Outcome {
  bool taken = false;
  std::string message;
};
[[nodiscard]] Outcome try_import(const Importer& importer, const std::string& bytes,
                                 const std::filesystem::path& folder);

}  // namespace gpfq::fuzz
