// SPDX-License-Identifier: Apache-2.0
// The alphabet of a neuron: M levels, equispaced or shifted away from zero, and the code of a level.
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

/// How an argument z becomes a level.
enum class RoundingKind {
  nearest,     ///< the nearest level
  stochastic,  ///< the level above with probability the fractional part of z in spacings, else the one below
  soft,        ///< the level nearest to sign(z)·max(|z| − λ, 0)
  hard         ///< zero where |z| <= λ, else the nearest level other than zero; levels 0 and ±(λ + 2i·step), i = 0, 1, ...
};

/// The one definition of a level: what code k stands for, offset = 2k − (M−1), rounded once to float32.
[[nodiscard]] inline float level_value(float offset, float step, float shift) {
  if (shift == 0) return offset * step;
  return std::fma(offset, step, offset > 0 ? shift : offset < 0 ? -shift : 0.0F);
}

/// λ in float32, for a threshold in steps.
[[nodiscard]] inline float threshold_of(double steps, float step) { return static_cast<float>(steps * step); }

/// M levels; the value of code k = 0..M−1 is float32((2k − (M−1))·step + sign(2k − (M−1))·shift), step = float32(r/(M−1)).
/// Odd M holds zero exactly. A radius of zero makes every level zero. The shift is 0 but for hard thresholds: there it is
/// λ − 2·step, so that the levels beside zero are ±λ.
/// Source: Zhang, Zhou, Saab, "Post-training Quantization for Neural Networks with Provable Guarantees" (the alphabet of
/// hard thresholding).
class Alphabet {
 public:
  Alphabet() = default;
  /// @throws Error (fault) unless 2 <= levels <= 256, the step is finite and >= 0, and a shift other than 0 comes with odd
  /// levels and is >= −2·step.
  Alphabet(int levels, float step, float shift = 0);
  /// @param threshold_steps  λ of hard thresholding in steps; 0: equispaced levels
  /// @throws Error (input) when the radius is not finite, negative, or too large for float32.
  [[nodiscard]] static Alphabet from_radius(int levels, double radius, double threshold_steps = 0);
  /// The same from the step.
  [[nodiscard]] static Alphabet from_step(int levels, float step, double threshold_steps);

  [[nodiscard]] int levels() const { return levels_; }
  [[nodiscard]] float step() const { return step_; }
  [[nodiscard]] float shift() const { return shift_; }
  /// Value of a code.
  [[nodiscard]] float value(int code) const { return level_value(static_cast<float>(2 * code - (levels_ - 1)), step_, shift_); }
  /// Code of the level nearest to z; a tie goes to the upper one; z beyond the ends goes to the end.
  [[nodiscard]] int nearest(double z) const;
  /// Code of an argument by any rounding that is not random. @param lambda  of soft and hard
  [[nodiscard]] int rounded(double z, RoundingKind rounding, double lambda) const;

 private:
  int levels_ = 3;
  float step_ = 0;
  float shift_ = 0;
};

}  // namespace gpfq::quant
