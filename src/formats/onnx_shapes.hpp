// SPDX-License-Identifier: Apache-2.0
// Shapes in ONNX graphs: reshapes whose target is constant or computed from other shapes, with the
// batch dimension as a symbol, so that x.view(x.size(0), -1) reads as what it means; and slices.
#pragma once

#include "formats/onnx_translator.hpp"

namespace gpfq::formats::onnx_reader {

/// The per-sample shape that `target` means for samples of shape `sample`.
/// @param fixed_batch  the exporter's batch size, 0 where it is open
/// @throws Unsupported when the batch dimension would not stay first and whole.
[[nodiscard]] Shape reshaped(std::vector<Extent> target, const Shape& sample, Index fixed_batch, bool allow_zero);

[[nodiscard]] Value convert_shape(const Call& call);
[[nodiscard]] Value convert_constant_of_shape(const Call& call);
/// Of samples: one index, x[:, 0], or neighbouring ones, as a slice.
[[nodiscard]] Value convert_gather(const Call& call);
[[nodiscard]] Value convert_concat(const Call& call);
/// Of samples: ranges, x[:, 1:3], as a slice; strides, x[:, :, ::2, ::2], as a max_pool with a 1×1 kernel, which is
/// exact.
[[nodiscard]] Value convert_slice(const Call& call);
[[nodiscard]] Value convert_flatten(const Call& call);
[[nodiscard]] Value convert_reshape(const Call& call);
[[nodiscard]] Value convert_squeeze(const Call& call);
[[nodiscard]] Value convert_unsqueeze(const Call& call);
[[nodiscard]] Value convert_transpose(const Call& call);

/// Add, Sub, Mul, Div of two integer vectors or scalars; nothing when an input is something else.
[[nodiscard]] std::optional<Integers> integer_arithmetic(const Call& call);

}  // namespace gpfq::formats::onnx_reader
