// SPDX-License-Identifier: Apache-2.0
// The alphabet of a neuron: M equispaced levels on [−r, r], and the code of a level.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "gpfq/base/types.hpp"

namespace gpfq::quant {

inline constexpr int min_levels = 2;
inline constexpr int max_levels = 256;

/// Levels of `bits` bits, symmetric: 2^bits − 1, so that zero is a level.
[[nodiscard]] constexpr int levels_of_bits(int bits) { return (1 << bits) - 1; }

/// M levels; the value of code k = 0..M−1 is float32((2k − (M−1))·step), step = float32(r/(M−1)).
/// Odd M holds zero exactly. A radius of zero makes every level zero.
class Alphabet {
 public:
  Alphabet() = default;
  /// @throws Error (fault) unless 2 <= levels <= 256 and the step is finite and >= 0.
  Alphabet(int levels, float step);
  /// @throws Error (input) when the radius is not finite, negative, or too large for float32.
  [[nodiscard]] static Alphabet from_radius(int levels, double radius);

  [[nodiscard]] int levels() const { return levels_; }
  [[nodiscard]] float step() const { return step_; }
  /// Value of a code.
  [[nodiscard]] float value(int code) const { return static_cast<float>(2 * code - (levels_ - 1)) * step_; }
  /// Code of the level nearest to z; a tie goes to the upper one; z beyond the ends goes to the end.
  [[nodiscard]] int nearest(double z) const;

 private:
  int levels_ = 3;
  float step_ = 0;
};

}  // namespace gpfq::quant
