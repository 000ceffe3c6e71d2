// SPDX-License-Identifier: Apache-2.0
// The exact nearest level: the formula's candidate, compared with its neighbours as stored.
#include "gpfq/quant/alphabet.hpp"

#include "gpfq/base/error.hpp"

namespace gpfq::quant {

Alphabet::Alphabet(int levels, float step, float shift) : levels_(levels), step_(step), shift_(shift) {
  require(levels >= min_levels && levels <= max_levels, "Alphabet: 2 <= levels <= 256");
  require(std::isfinite(step) && step >= 0, "Alphabet: the step is finite and not negative");
  require(shift == 0 || (levels % 2 == 1 && std::isfinite(shift) && shift >= -2 * step),
          "Alphabet: levels that are shifted are odd in number and stay on their side of zero");
}

Alphabet Alphabet::from_radius(int levels, double radius, double threshold_steps) {
  if (!std::isfinite(radius) || radius < 0 || radius > 1e37)
    throw_input("a radius of {} is not usable: expected a finite number from 0 to 1e37", radius);
  return from_step(levels, static_cast<float>(radius / (levels - 1)), threshold_steps);
}

Alphabet Alphabet::from_step(int levels, float step, double threshold_steps) {
  return {levels, step, threshold_steps > 0 ? static_cast<float>((threshold_steps - 2) * step) : 0.0F};
}

int Alphabet::nearest(double z) const {
  const double spacing = 2.0 * step_;
  // With a step of zero all levels coincide: the one in the middle, the upper of two.
  const double unshifted = z - (z < 0 ? -1 : 1) * std::min(static_cast<double>(shift_), std::abs(z));
  const double position = step_ > 0 ? unshifted / spacing + 0.5 * levels_ : 0.5 * levels_;
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

int Alphabet::rounded(double z, RoundingKind rounding, double lambda) const {
  require(rounding != RoundingKind::stochastic, "Alphabet::rounded: not by chance");
  if (rounding == RoundingKind::soft) return nearest(std::copysign(std::max(std::abs(z) - lambda, 0.0), z));
  if (rounding == RoundingKind::hard && std::abs(z) <= lambda) return nearest(0.0);
  return nearest(z);
}

}  // namespace gpfq::quant
