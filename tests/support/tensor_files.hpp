// SPDX-License-Identifier: Apache-2.0
// Files of tensors as NumPy and safetensors write them, and numbers of 16 bits; headers can be anything.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "gpfq/base/types.hpp"

namespace gpfq::test {

/// The bits of a number that float16 (bfloat16) holds exactly and not as a subnormal.
[[nodiscard]] std::uint16_t float16_bits(float value);
[[nodiscard]] std::uint16_t bfloat16_bits(float value);

/// Values as the bytes of a type: "f2", "f4", "f8", or "bf16".
[[nodiscard]] std::string packed(const std::string& type, const std::vector<float>& values);

/// A .npy file of version 1. @param header  the dictionary; padded and ended as NumPy does
void write_npy(const std::filesystem::path& file, const std::string& header, const std::string& data);
/// "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"
[[nodiscard]] std::string npy_header(const std::string& type, const Shape& shape);

/// A .safetensors file: the length, `header` (JSON), the data.
void write_safetensors(const std::filesystem::path& file, const std::string& header, const std::string& data);
/// One tensor of a file to be written.
struct NamedTensor {
  std::string name;
  std::string type;  ///< as packed() has them
  Shape shape;
  std::vector<float> values;
};
void write_safetensors(const std::filesystem::path& file, const std::vector<NamedTensor>& tensors);

}  // namespace gpfq::test
