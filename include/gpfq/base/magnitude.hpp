// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "gpfq/base/types.hpp"

namespace gpfq {

/// max|x|, exact whatever the order, not a number where one of them is none: by their bits, of which many are compared at a
/// time. 0 of none.
inline float largest_magnitude(const float* values, Index count) {
  constexpr std::uint32_t magnitude_bits = 0x7FFFFFFF;
  std::uint32_t largest = 0;
  for (Index i = 0; i < count; ++i) largest = std::max(largest, std::bit_cast<std::uint32_t>(values[i]) & magnitude_bits);
  return std::bit_cast<float>(largest);
}

}  // namespace gpfq
