// SPDX-License-Identifier: Apache-2.0
// Dataset calls that the files of this room share: creation without filling, rows of any rank.
#pragma once

#include <filesystem>
#include <string>

#include "gpfq/base/shard_plan.hpp"
#include "gpfq/hdf5/handle.hpp"
#include "gpfq/net/graph.hpp"
#include "gpfq/net/tensor_source.hpp"
#include "gpfq/store/file_frame.hpp"

namespace gpfq::store {

/// A contiguous dataset whose space is taken at once (parallel writers need that) and not filled.
[[nodiscard]] hdf5::Handle create_dataset(hid_t location, const std::string& name, const Shape& shape, hid_t type,
                                          const std::string& where);
/// Where the values of a contiguous dataset lie in its file.
[[nodiscard]] FileRange range_of(hid_t dataset);
void create_group(hid_t location, const std::string& name, const std::string& where);

/// @throws Error (input) unless the dataset is there with this shape and class.
void expect_dataset(hid_t location, const std::string& name, const Shape& shape, H5T_class_t type_class,
                    const std::string& where);

/// Rows first .. first+count−1 of a dataset of `shape` (a scalar has one row).
void write_rows(hid_t dataset, hid_t memory_type, const Shape& shape, Index first, Index count, const void* data,
                const std::string& what, hid_t transfer = H5P_DEFAULT);
void read_rows_of(hid_t dataset, hid_t memory_type, const Shape& shape, Index first, Index count, void* out,
                  const std::string& what, hid_t transfer = H5P_DEFAULT);

/// A new model file with its attributes and groups, serially; one float tensor copied into it, or some of its rows into
/// its dataset.
[[nodiscard]] hdf5::Handle create_model_file(const std::filesystem::path& path, const net::Graph& graph);
void copy_tensor(hid_t file, const std::string& name, const net::TensorSource& source, const std::string& where);
void copy_rows(hid_t dataset, const std::string& name, const net::TensorSource& source, Range rows,
               const std::string& where, hid_t transfer = H5P_DEFAULT);

}  // namespace gpfq::store
