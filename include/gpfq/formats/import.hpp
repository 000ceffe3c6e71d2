// SPDX-License-Identifier: Apache-2.0
// Networks from other tools' files, as a graph with readable tensors.
#pragma once

#include <filesystem>

#include "gpfq/net/tensor_source.hpp"

namespace gpfq::formats {

/// Reads an ONNX model (.onnx; external data beside it is followed inside the model's folder).
///
/// Names: a linear layer is named after its weight tensor less a trailing ".weight" where it has
/// that, else after the node less a leading '/'. Weights become [outputs, inputs] float32;
/// float16 and float64 tensors are converted. Alpha and beta of Gemm are folded into weight and bias.
/// Softmax at the end is kept. A batch dimension fixed by the exporter is dropped.
/// @throws Error (input) naming the file; unsupported operators are listed all at once with node names.
[[nodiscard]] net::Model import_onnx(const std::filesystem::path& path);

/// Reads a Keras legacy whole-model HDF5 file (Keras 2 and 3). Layers keep their Keras names.
/// @throws Error (input) naming the file; unsupported layers are listed all at once.
[[nodiscard]] net::Model import_keras(const std::filesystem::path& path);

/// True when `path` is an HDF5 file with a Keras `model_config` attribute.
[[nodiscard]] bool is_keras_file(const std::filesystem::path& path);

/// True when the build reads ONNX (it is optional at configure time).
[[nodiscard]] bool has_onnx();

}  // namespace gpfq::formats
