// SPDX-License-Identifier: Apache-2.0
// One matrix in a file of tensors (.npy, .safetensors, HDF5), read a few rows or columns at a time as float32.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "gpfq/base/shard_plan.hpp"
#include "gpfq/net/tensor_source.hpp"

namespace gpfq::formats {

/// Where a tensor lies.
struct TensorLocation {
  std::filesystem::path file;
  std::string tensor;        ///< dataset, or name in a .safetensors file; empty for .npy
  bool is_bfloat16 = false;  ///< its 16-bit words are bfloat16, which .npy and HDF5 cannot say themselves
};

/// A matrix, open for reading. Values are float16, bfloat16, float32 or float64 in the file; NaN and infinities are
/// handed on as they are. Not for several threads at once.
class TensorFile {
 public:
  virtual ~TensorFile() = default;
  TensorFile(const TensorFile&) = delete;
  TensorFile& operator=(const TensorFile&) = delete;

  [[nodiscard]] const Shape& shape() const { return shape_; }        ///< rows, columns; both at least 1
  [[nodiscard]] const std::string& where() const { return where_; }  ///< "file" or "file:tensor", for messages

  /// Rows first .. first+count−1, packed: count × columns. @throws Error (input) when the file cannot be read.
  void read_rows(Index first, Index count, float* out) const;
  /// The first `rows` rows of columns first .. first+count−1, transposed: count × rows. Memory beside `out`: 1 MiB or
  /// one row of the part.
  void read_columns(Index first, Index count, Index rows, float* out) const;

 protected:
  TensorFile(Shape shape, std::string where) : shape_(std::move(shape)), where_(std::move(where)) {}

 private:
  /// A box of the matrix, packed: rows × columns. The ranges are in bounds and not empty.
  virtual void read_box(Range rows, Range columns, float* out) const = 0;

  Shape shape_;
  std::string where_;
};

/// Opens a tensor; the file's kind is found by its content. What headers claim is compared with the size of the file
/// before memory is taken for it.
/// @throws Error (input) naming file and tensor: missing, damaged or truncated, not a matrix, of another type,
/// big-endian or in Fortran order where .npy says so, a name where .npy has none.
[[nodiscard]] std::unique_ptr<TensorFile> open_tensor(const TensorLocation& location);

/// A weight matrix, neurons × inputs, as a source of rows. The file is opened for the first row that is asked for and
/// closed by release(), so that many sources do not hold many files open.
/// @param is_transposed  the file holds inputs × neurons: it is read by strips of columns
/// @param strip_rows     neurons, columns of the file, of such a strip; >= 1
/// Rows throw Error (input) naming file and index of a value that is not finite.
[[nodiscard]] net::TensorSource weight_source(const TensorLocation& location, const Shape& file_shape,
                                              bool is_transposed, Index strip_rows);

}  // namespace gpfq::formats
