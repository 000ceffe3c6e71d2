// SPDX-License-Identifier: Apache-2.0
// Conversion of packed numbers; the hardware's conversions would do, but not on every processor.
#include "formats/number_format.hpp"

#include <bit>
#include <cmath>
#include <cstring>

namespace gpfq::formats {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers in files are little-endian and read as they are");
}  // namespace

Index bytes_of(NumberFormat format) {
  switch (format) {
    case NumberFormat::float64:
      return 8;
    case NumberFormat::float32:
      return 4;
    default:
      return 2;
  }
}

void to_float32(NumberFormat format, const char* from, Index count, float* out) {
  switch (format) {
    case NumberFormat::float32:
      std::memcpy(out, from, static_cast<std::size_t>(count) * sizeof(float));
      return;
    case NumberFormat::float64:
      for (Index i = 0; i < count; ++i) out[i] = static_cast<float>(load<double>(from + 8 * i));
      return;
    case NumberFormat::float16:
      for (Index i = 0; i < count; ++i) out[i] = from_float16(load<std::uint16_t>(from + 2 * i));
      return;
    case NumberFormat::bfloat16:
      for (Index i = 0; i < count; ++i) out[i] = from_bfloat16(load<std::uint16_t>(from + 2 * i));
      return;
  }
}

float from_bfloat16(std::uint32_t bits) { return std::bit_cast<float>(bits << 16U); }

float from_float16(std::uint32_t bits) {
  const std::uint32_t sign = (bits & 0x8000U) << 16U;
  const std::uint32_t exponent = (bits >> 10U) & 0x1FU;
  const std::uint32_t fraction = bits & 0x3FFU;
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(fraction), -24);
    return sign == 0 ? magnitude : -magnitude;
  }
  const std::uint32_t wide_exponent = exponent == 31 ? 255 : exponent + (127 - 15);
  return std::bit_cast<float>(sign | (wide_exponent << 23U) | (fraction << 13U));
}

}  // namespace gpfq::formats
