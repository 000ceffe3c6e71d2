// SPDX-License-Identifier: Apache-2.0
// The user's calibration and evaluation data: samples by index from any HDF5 dataset of numbers.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "gpfq/base/types.hpp"
#include "gpfq/hdf5/handle.hpp"

namespace gpfq::store {

/// One dataset whose first dimension is the samples.
class SampleFile {
 public:
  /// @throws Error (input): missing file or dataset, not numbers, no sample dimension.
  SampleFile(const std::filesystem::path& path, const std::string& dataset);

  [[nodiscard]] Index sample_count() const { return shape_.front(); }
  [[nodiscard]] Shape sample_shape() const { return {shape_.begin() + 1, shape_.end()}; }
  /// Samples by ascending index, packed, converted to float.
  void read(std::span<const Index> indexes, float* out) const;
  /// @throws Error (input) unless its header promises one integer per sample
  void require_labels() const;
  /// The same as read() for labels, converted to integers.
  [[nodiscard]] std::vector<Index> read_labels(std::span<const Index> indexes) const;
  /// "file:dataset" for messages.
  [[nodiscard]] std::string where() const { return path_.string() + ":" + dataset_name_; }

 private:
  void read_as(hid_t memory_type, Index element_bytes, std::span<const Index> indexes, void* out) const;

  std::filesystem::path path_;
  std::string dataset_name_;
  hdf5::Handle file_;
  hdf5::FileStamp stamp_;
  hdf5::Handle dataset_;
  Shape shape_;
  H5T_class_t type_class_ = H5T_NO_CLASS;
};

}  // namespace gpfq::store
