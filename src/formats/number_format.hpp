// SPDX-License-Identifier: Apache-2.0
// Floating-point numbers as files hold them, little-endian, to float32.
#pragma once

#include <cstdint>
#include <cstring>

#include "gpfq/base/types.hpp"

namespace gpfq::formats {

enum class NumberFormat { float16, bfloat16, float32, float64 };

[[nodiscard]] Index bytes_of(NumberFormat format);

/// Converts `count` packed numbers; float64 is rounded, the others are exact.
void to_float32(NumberFormat format, const char* from, Index count, float* out);

/// A number as it lies in memory, at any address.
template <class T>
[[nodiscard]] T load(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

/// IEEE 754 binary16 in the lower 16 bits: 1 sign, 5 exponent (bias 15), 10 fraction bits.
[[nodiscard]] float from_float16(std::uint32_t bits);
/// The upper half of a float32 in the lower 16 bits.
[[nodiscard]] float from_bfloat16(std::uint32_t bits);

}  // namespace gpfq::formats
