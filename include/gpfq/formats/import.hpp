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
/// float16 and float64 tensors are converted. Alpha and beta of Gemm are folded into weight and bias, an Add of a
/// constant to a product or convolution without a bias becomes its bias.
/// Convolutions keep their weights as [Cout, Cin/groups, kh, kw]; auto_pad becomes explicit pads. Constants that are
/// added or multiplied otherwise become a batch_norm node. A strided slice that begins at the first value,
/// x[:, :, ::2, ::2], becomes a max_pool with a 1×1 kernel, which copies. Transposes in a row become one.
/// Softmax at the end is kept. A batch dimension fixed by the exporter is dropped; integers that a graph computes for
/// its shapes are folded with the batch as a symbol.
/// @throws Error (input) naming the file; unsupported operators are listed all at once with node names.
[[nodiscard]] net::Model import_onnx(const std::filesystem::path& path);

/// Reads a Keras legacy whole-model HDF5 file (Keras 2 and 3), Sequential or functional with one input and one output.
/// Layers keep their Keras names; one that is applied twice is two nodes with the same weights. A SeparableConv2D is
/// two convolutions, "<layer>.depthwise" and "<layer>.pointwise". The graph's input and output lie as in Keras; between
/// them channels_last maps are transposed ("<layer>.transpose") to the [C, H, W] of convolutions where needed.
/// Kernels become [Cout, Cin/groups, kh, kw]; padding "same" becomes explicit pads, the odd value below or right.
/// @throws Error (input) naming the file; unsupported layers are listed all at once.
[[nodiscard]] net::Model import_keras(const std::filesystem::path& path);

/// True when `path` is an HDF5 file with a Keras `model_config` attribute.
[[nodiscard]] bool is_keras_file(const std::filesystem::path& path);

/// True when the build reads ONNX (it is optional at configure time).
[[nodiscard]] bool has_onnx();

}  // namespace gpfq::formats
