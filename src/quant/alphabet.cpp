// SPDX-License-Identifier: Apache-2.0
// The exact nearest level: the formula's candidate, compared with its neighbours as stored.
#include "gpfq/quant/alphabet.hpp"

#include "gpfq/base/error.hpp"

namespace gpfq::quant {

Alphabet::Alphabet(int levels, float step) : levels_(levels), step_(step) {
  require(levels >= min_levels && levels <= max_levels, "Alphabet: 2 <= levels <= 256");
  require(std::isfinite(step) && step >= 0, "Alphabet: the step is finite and not negative");
}

Alphabet Alphabet::from_radius(int levels, double radius) {
  if (!std::isfinite(radius) || radius < 0 || radius > 1e37)
    throw_input("a radius of {} is not usable: expected a finite number from 0 to 1e37", radius);
  return {levels, static_cast<float>(radius / (levels - 1))};
}

int Alphabet::nearest(double z) const {
  const double spacing = 2.0 * step_;
  // With a step of zero all levels coincide: the one in the middle, the upper of two.
  const double position = step_ > 0 ? z / spacing + 0.5 * levels_ : 0.5 * levels_;
  const int candidate = static_cast<int>(std::floor(std::clamp(position, 0.0, levels_ - 1.0)));
  if (!(step_ > 0)) return candidate;
  // Far beyond the ends the distances to the last two levels round to the same number.
  if (z <= value(0)) return 0;
  if (z >= value(levels_ - 1)) return levels_ - 1;
  int best = std::max(0, candidate - 1);
  for (int code = best + 1; code <= std::min(levels_ - 1, candidate + 1); ++code)
    if (std::abs(z - value(code)) <= std::abs(z - value(best))) best = code;
  return best;
}

}  // namespace gpfq::quant
