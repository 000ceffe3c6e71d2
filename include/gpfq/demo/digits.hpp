// SPDX-License-Identifier: Apache-2.0
// Images of the ten digits that the program draws itself, so that the sample needs no download
// and no one else's data.
#pragma once

#include <cstdint>
#include <vector>

#include "gpfq/base/types.hpp"

namespace gpfq::demo {

/// Height and width of an image.
inline constexpr Index digit_side = 28;
inline constexpr Index digit_pixels = digit_side * digit_side;
inline constexpr Index digit_classes = 10;

/// Images and what they show.
struct Digits {
  Index count = 0;
  std::vector<std::uint8_t> images;  ///< count × 28 × 28, row-major, 0 paper .. 255 ink
  std::vector<std::uint8_t> labels;  ///< count, 0..9
};

/// Draws `count` digits the way hands differ: several shapes per digit; slant, size, place, turn,
/// bends, pen width and pressure at random; now and then a stray mark.
///
/// Image i depends on `seed` and i only, and every ten images in order hold each digit once. The
/// arithmetic is +, −, ×, ÷ and √ in double, so the bytes are the same on every machine: fused
/// multiply-adds change the last digits before rounding to bytes, not one byte of 200,000 images.
/// @throws Error (fault) when count is negative.     Cost: about 25 µs an image.
[[nodiscard]] Digits draw_digits(Index count, std::uint64_t seed);

}  // namespace gpfq::demo
