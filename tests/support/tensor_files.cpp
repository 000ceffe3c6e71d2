// SPDX-License-Identifier: Apache-2.0
// Writing of tensors byte by byte.
#include "support/tensor_files.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "gpfq/base/error.hpp"
#include "support/data_files.hpp"

namespace gpfq::test {
namespace {

template <class T>
void append(std::string& bytes, T value) {
  char buffer[sizeof value];
  std::memcpy(buffer, &value, sizeof value);
  bytes.append(buffer, sizeof value);
}

}  // namespace

std::uint16_t float16_bits(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>(bits >> 16U & 0x8000U);
  if (value == 0) return sign;
  const int exponent = std::ilogb(value);
  require(exponent >= -14 && exponent <= 15 && (bits & 0x1FFFU) == 0, "float16_bits: the number is not a float16");
  return static_cast<std::uint16_t>(sign | static_cast<unsigned>(exponent + 15) << 10U | (bits >> 13U & 0x3FFU));
}

std::uint16_t bfloat16_bits(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  require((bits & 0xFFFFU) == 0, "bfloat16_bits: the number is not a bfloat16");
  return static_cast<std::uint16_t>(bits >> 16U);
}

std::string packed(const std::string& type, const std::vector<float>& values) {
  std::string bytes;
  for (const float value : values) {
    if (type == "f2") append(bytes, float16_bits(value));
    if (type == "bf16") append(bytes, bfloat16_bits(value));
    if (type == "f4") append(bytes, value);
    if (type == "f8") append(bytes, static_cast<double>(value));
  }
  return bytes;
}

void write_npy(const std::filesystem::path& file, const std::string& header, const std::string& data) {
  constexpr std::size_t start_bytes = 10;
  constexpr std::size_t alignment = 64;
  std::string padded = header;
  while ((start_bytes + padded.size() + 1) % alignment != 0) padded += ' ';
  padded += '\n';
  std::string bytes("\x93NUMPY\x01\x00", 8);
  append(bytes, static_cast<std::uint16_t>(padded.size()));
  write_text(file, bytes + padded + data);
}

std::string npy_header(const std::string& type, const Shape& shape) {
  return fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({},), }}", type, fmt::join(shape, ", "));
}

void write_safetensors(const std::filesystem::path& file, const std::string& header, const std::string& data) {
  std::string bytes;
  append(bytes, static_cast<std::uint64_t>(header.size()));
  write_text(file, bytes + header + data);
}

void write_safetensors(const std::filesystem::path& file, const std::vector<NamedTensor>& tensors) {
  std::string header = R"({"__metadata__": {"format": "pt"})";
  std::string data;
  for (const NamedTensor& tensor : tensors) {
    const std::string bytes = packed(tensor.type, tensor.values);
    const std::string type = tensor.type == "bf16" ? "BF16" : fmt::format("F{}", 8 * (tensor.type.back() - '0'));
    header += fmt::format(R"(, "{}": {{"dtype": "{}", "shape": [{}], "data_offsets": [{}, {}]}})", tensor.name, type,
                          fmt::join(tensor.shape, ", "), data.size(), data.size() + bytes.size());
    data += bytes;
  }
  write_safetensors(file, header + "}  ", data);
}

}  // namespace gpfq::test
