// SPDX-License-Identifier: Apache-2.0
// An ONNX file in memory and its tensors as float32: embedded or external, of any floating-point
// type, converted a few values at a time so that no second copy of a weight matrix exists.
#pragma once

#include <onnx/onnx_pb.h>

#include <deque>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "gpfq/net/tensor_source.hpp"

namespace gpfq::formats::onnx_reader {

/// The parsed model. Sources share it, for they read from it after the import.
struct OnnxFile {
  std::filesystem::path path;
  onnx::ModelProto model;
  std::deque<onnx::TensorProto> made;  ///< tensors of constants that are written as plain attributes
  mutable Index values_held = 0;       ///< by read_floats, which many nodes may ask for the same tensor
  mutable std::set<std::filesystem::path> external_files;  ///< of the tensors that were looked at
};

/// Parses and checks that it is a model at all.
/// @throws Error (input): missing, a folder, empty, over protobuf's 2 GiB, not ONNX.
[[nodiscard]] std::shared_ptr<OnnxFile> read_onnx_file(const std::filesystem::path& path);

/// The opset of the standard operators. @throws Error (input) when missing or before 7.
[[nodiscard]] Index standard_opset(const onnx::ModelProto& model);

[[nodiscard]] Shape shape_of(const onnx::TensorProto& tensor);
/// float32, float16, bfloat16, float64.
[[nodiscard]] bool is_floating_type(Index data_type);
[[nodiscard]] bool is_floating(const onnx::TensorProto& tensor);

/// A constant of the network. On its way it may have been given another shape, or, a matrix, been transposed after
/// that; its values stay where they are.
struct Constant {
  const onnx::TensorProto* tensor = nullptr;
  bool is_transposed = false;
  std::optional<Shape> extents = {};

  [[nodiscard]] Shape stored_shape() const { return extents ? *extents : shape_of(*tensor); }
  [[nodiscard]] Shape shape() const {
    const Shape stored = stored_shape();
    return is_transposed ? Shape(stored.rbegin(), stored.rend()) : stored;
  }
};

struct TensorBytes;  // where a tensor's bytes are

/// The values of a floating-point tensor; its sizes are checked on construction.
class TensorValues {
 public:
  TensorValues(const std::shared_ptr<const OnnxFile>& file, const onnx::TensorProto& tensor);

  [[nodiscard]] const Shape& shape() const { return shape_; }
  /// Converts elements first .. first+count−1 (row-major) to float32. @throws Error (input) where one is not finite.
  void read(Index first, Index count, float* out) const;
  /// The first element, which may be infinite or not a number.
  [[nodiscard]] float first_value() const;

 private:
  /// @param count  at most conversion_batch
  void read_batch(Index first, Index count, float* out) const;

  std::shared_ptr<const TensorBytes> bytes_;
  Shape shape_;
};

/// factor · constant as rows: [rows, columns] after the transpositions.
/// @param transpose  swaps the dimensions once more (MatMul and Gemm keep weights as [inputs, outputs])
[[nodiscard]] net::TensorSource matrix_source(const std::shared_ptr<const OnnxFile>& file, const Constant& constant,
                                              bool transpose, double factor);
/// The constant as it is, of any shape, by rows of its first dimension. @throws Unsupported when it is transposed.
[[nodiscard]] net::TensorSource rows_source(const std::shared_ptr<const OnnxFile>& file, const Constant& constant);
[[nodiscard]] std::vector<float> read_floats(const std::shared_ptr<const OnnxFile>& file,
                                             const onnx::TensorProto& tensor);
/// int64 or int32 values. @throws Error (input) for other types.
[[nodiscard]] std::vector<Index> read_integers(const std::shared_ptr<const OnnxFile>& file,
                                               const onnx::TensorProto& tensor);

}  // namespace gpfq::formats::onnx_reader
