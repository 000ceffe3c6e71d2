// SPDX-License-Identifier: Apache-2.0
// Operators over feature maps [C, H, W] in ONNX graphs: convolutions, pools, padding and means.
#pragma once

#include "formats/onnx_translator.hpp"

namespace gpfq::formats::onnx_reader {

[[nodiscard]] Value convert_conv(const Call& call);
[[nodiscard]] Value convert_max_pool(const Call& call);
[[nodiscard]] Value convert_average_pool(const Call& call);
[[nodiscard]] Value convert_global_average_pool(const Call& call);
[[nodiscard]] Value convert_global_max_pool(const Call& call);
[[nodiscard]] Value convert_pad(const Call& call);
[[nodiscard]] Value convert_reduce_mean(const Call& call);

}  // namespace gpfq::formats::onnx_reader
