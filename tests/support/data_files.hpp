// SPDX-License-Identifier: Apache-2.0
// HDF5 files as a user's tools would write them, for tests that read them; and damage to files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "gpfq/base/types.hpp"

namespace gpfq::test {

/// Writes one dataset, name like "train/images", making file and groups where they are missing and replacing a dataset
/// of that name.
void write_dataset(const std::filesystem::path& file, const std::string& name, const Shape& shape,
                   const std::vector<float>& values);
void write_dataset(const std::filesystem::path& file, const std::string& name, const Shape& shape,
                   const std::vector<double>& values);
void write_dataset(const std::filesystem::path& file, const std::string& name, const Shape& shape,
                   const std::vector<std::uint8_t>& values);
void write_dataset(const std::filesystem::path& file, const std::string& name, const Shape& shape,
                   const std::vector<std::int32_t>& values);
void write_dataset(const std::filesystem::path& file, const std::string& name, const Shape& shape,
                   const std::vector<std::uint16_t>& values);
void write_dataset(const std::filesystem::path& file, const std::string& name, const Shape& shape,
                   const std::vector<std::int16_t>& values);
/// A dataset of IEEE half precision, as h5py writes float16. @param bits  of the numbers
void write_float16_dataset(const std::filesystem::path& file, const std::string& name, const Shape& shape,
                           const std::vector<std::uint16_t>& bits);
/// Removes a dataset or group.
void remove_link(const std::filesystem::path& file, const std::string& name);
/// A whole dataset as doubles.
[[nodiscard]] std::vector<double> read_dataset(const std::filesystem::path& file, const std::string& name);

/// Copies a file's first `bytes` bytes to another place.
void copy_head(const std::filesystem::path& from, const std::filesystem::path& to, Index bytes);

void write_text(const std::filesystem::path& file, const std::string& text);
[[nodiscard]] std::string read_text(const std::filesystem::path& file);

}  // namespace gpfq::test
