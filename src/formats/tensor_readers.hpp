// SPDX-License-Identifier: Apache-2.0
// The readers behind open_tensor(), one per kind of file.
#pragma once

#include <memory>
#include <string>

#include "formats/byte_file.hpp"
#include "formats/number_format.hpp"
#include "gpfq/formats/tensor_file.hpp"

namespace gpfq::formats {

/// A packed row-major matrix from a byte of a file on: what .npy and .safetensors come down to.
class PackedTensor : public TensorFile {
 public:
  /// @param end  byte where the values must end, at or before the end of the file
  /// @throws Error (input) unless the shape is a matrix and its values fill the bytes exactly.
  PackedTensor(std::unique_ptr<ByteFile> file, NumberFormat format, Shape shape, Index begin, Index end,
               std::string where);

 private:
  void read_box(Range rows, Range columns, float* out) const override;
  void read_run(Index first, Index count, float* out) const;

  std::unique_ptr<ByteFile> file_;
  NumberFormat format_;
  Index begin_;
};

[[nodiscard]] std::unique_ptr<TensorFile> open_npy(const TensorLocation& location);
[[nodiscard]] std::unique_ptr<TensorFile> open_safetensors(const TensorLocation& location);
[[nodiscard]] std::unique_ptr<TensorFile> open_hdf5_tensor(const TensorLocation& location);

/// @throws Error (input) unless `shape` has two extents of at least 1.
void require_matrix(const Shape& shape, const std::string& where);

}  // namespace gpfq::formats
