// SPDX-License-Identifier: Apache-2.0
// The alphabet against a search over all its values: midpoints, ends and levels that float32
// rounds are where a formula goes wrong.
#include "gpfq/quant/alphabet.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "support/errors.hpp"

namespace gpfq::quant {
namespace {

using test::fault;
using test::input_error;
using test::mentions;

/// The definition: the nearest of all values, the upper of two equally near.
int nearest_by_search(const Alphabet& alphabet, double z) {
  int best = 0;
  for (int code = 1; code < alphabet.levels(); ++code) {
    const long double to_code = std::abs(static_cast<long double>(z) - alphabet.value(code));
    const long double to_best = std::abs(static_cast<long double>(z) - alphabet.value(best));
    if (to_code <= to_best) best = code;
  }
  return best;
}

TEST(Alphabet, LevelsOfSmallAlphabets) {
  const Alphabet ternary = Alphabet::from_radius(3, 1.0);  // step 1/2: −1, 0, 1
  EXPECT_EQ(ternary.step(), 0.5F);
  EXPECT_EQ(ternary.value(0), -1.0F);
  EXPECT_EQ(ternary.value(1), 0.0F);
  EXPECT_EQ(ternary.value(2), 1.0F);
  const Alphabet four = Alphabet::from_radius(4, 3.0);  // step 1: −3, −1, 1, 3
  for (int code = 0; code < 4; ++code) EXPECT_EQ(four.value(code), static_cast<float>(2 * code - 3));
  const Alphabet two = Alphabet::from_radius(2, 0.25);  // step 1/4: −1/4, 1/4
  EXPECT_EQ(two.value(0), -0.25F);
  EXPECT_EQ(two.value(1), 0.25F);
  EXPECT_EQ(levels_of_bits(2), 3);
  EXPECT_EQ(levels_of_bits(4), 15);
  EXPECT_EQ(levels_of_bits(8), 255);
}

TEST(Alphabet, LevelsAreSymmetricRisingAndWithinTheRadius) {
  for (int levels = min_levels; levels <= max_levels; ++levels) {
    for (const double radius : {1.0, 0.1, 1.0 / 3, 1e-20, 1e37}) {
      const Alphabet alphabet = Alphabet::from_radius(levels, radius);
      const int last = levels - 1;
      for (int code = 0; code < last; ++code) {
        ASSERT_LT(alphabet.value(code), alphabet.value(code + 1)) << levels << " levels, code " << code;
        ASSERT_EQ(alphabet.value(code), -alphabet.value(last - code)) << levels << " levels, code " << code;
      }
      // Two roundings to float32 (step, value) leave the last level within 2·2⁻²⁴ of the radius.
      EXPECT_NEAR(alphabet.value(last), radius, radius * 2.0 * 0x1p-24) << levels << " levels";
    }
  }
}

TEST(Alphabet, OddCountsHoldZeroExactly) {
  for (int levels = 3; levels <= 255; levels += 2)
    for (const double radius : {0.1, 1.0 / 3, 7.77e-12, 123.456})
      ASSERT_EQ(Alphabet::from_radius(levels, radius).value((levels - 1) / 2), 0.0F) << levels;
}

/// Dyadic steps make every midpoint exact, so each is a true tie.
TEST(Alphabet, TiesGoUp) {
  for (int levels = min_levels; levels <= max_levels; ++levels) {
    const Alphabet alphabet(levels, 0.125F);
    for (int code = 0; code + 1 < levels; ++code) {
      const double midpoint = (static_cast<double>(alphabet.value(code)) + alphabet.value(code + 1)) / 2;
      ASSERT_EQ(alphabet.nearest(midpoint), code + 1) << levels << " levels, above code " << code;
    }
  }
}

TEST(Alphabet, NearestAgreesWithSearchAlsoWhereLevelsAreRounded) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  constexpr float denormal = 1e-42F;
  for (const float step : {0.125F, 0.1F, 1.0F / 3, 0.017203F, 1e-30F, 1.2e-38F, denormal, 3.3e34F}) {
    for (int levels = min_levels; levels <= max_levels; levels += levels < 40 ? 1 : 27) {  // 256 is the last
      const Alphabet alphabet(levels, step);
      for (int code = 0; code < levels; ++code) {
        const double value = alphabet.value(code);
        std::vector<double> points = {value, value + 0.7 * step, value - 0.7 * step};
        if (code + 1 < levels) {
          const double midpoint = (value + alphabet.value(code + 1)) / 2;
          points.push_back(midpoint);
          // Around zero the next double is nearer than any distance can tell; take a visible step there.
          points.push_back(midpoint == 0 ? 1e-9 * step : std::nextafter(midpoint, infinity));
          points.push_back(midpoint == 0 ? -1e-9 * step : std::nextafter(midpoint, -infinity));
        }
        for (const double z : points)
          ASSERT_EQ(alphabet.nearest(z), nearest_by_search(alphabet, z))
              << levels << " levels, step " << step << ", z " << z;
      }
    }
  }
}

TEST(Alphabet, BeyondTheEndsIsTheEnd) {
  for (const int levels : {2, 3, 4, 15, 16, 256}) {
    for (const float step : {0.5F, 0.1F, 1e-30F}) {
      const Alphabet alphabet(levels, step);
      // 1e30 is far enough that subtracting a level changes nothing: the distances alone cannot tell.
      for (const double z : {1.001 * levels * step, 1e6, 1e30, 1e300, std::numeric_limits<double>::infinity()}) {
        EXPECT_EQ(alphabet.nearest(z), levels - 1) << levels << " levels, z " << z;
        EXPECT_EQ(alphabet.nearest(-z), 0) << levels << " levels, z " << -z;
      }
    }
  }
}

TEST(Alphabet, StepOfZeroTakesTheMiddleTheUpperOfTwo) {
  for (const int levels : {2, 3, 4, 15, 16, 255, 256}) {
    const Alphabet alphabet = Alphabet::from_radius(levels, 0.0);
    for (int code = 0; code < levels; ++code) EXPECT_EQ(alphabet.value(code), 0.0F);
    for (const double z : {0.0, 1.0, -1.0, 1e300, -1e300}) EXPECT_EQ(alphabet.nearest(z), levels / 2) << levels;
  }
}

/// M = 5, step 1/2, λ = 3/4 (1.5 steps): 0, ±3/4, ±(3/4 + 1).
TEST(ShiftedAlphabet, LevelsByHand) {
  const Alphabet alphabet = Alphabet::from_radius(5, 2.0, 1.5);
  EXPECT_EQ(alphabet.step(), 0.5F);
  EXPECT_EQ(alphabet.shift(), -0.25F);
  const std::vector<float> levels = {-1.75F, -0.75F, 0, 0.75F, 1.75F};
  for (int code = 0; code < 5; ++code) EXPECT_EQ(alphabet.value(code), levels[static_cast<std::size_t>(code)]);
  EXPECT_EQ(Alphabet::from_radius(5, 2.0, 0).value(4), 2.0F);  // none: as without
  EXPECT_EQ(Alphabet::from_radius(5, 2.0, 2).value(4), 2.0F);  // λ of a whole spacing: the same levels
  constexpr double lambda = 0.75;
  const auto hard = [&](double z) { return alphabet.rounded(z, RoundingKind::hard, lambda); };
  const auto soft = [&](double z) { return Alphabet(5, 0.5F).rounded(z, RoundingKind::soft, lambda); };
  EXPECT_EQ(hard(0.75), 2);    // up to λ: zero
  EXPECT_EQ(hard(-0.75), 2);
  EXPECT_EQ(hard(0.76), 3);
  EXPECT_EQ(hard(-0.76), 1);
  EXPECT_EQ(hard(1.24), 3);
  EXPECT_EQ(hard(1.25), 4);    // a tie: the upper
  EXPECT_EQ(hard(-1.25), 1);
  EXPECT_EQ(hard(-9), 0);
  EXPECT_EQ(soft(1.24), 2);    // 0.49
  EXPECT_EQ(soft(1.25), 3);    // 0.5, a tie
  EXPECT_EQ(soft(-1.25), 2);
  EXPECT_EQ(soft(-1.26), 1);
  EXPECT_EQ(alphabet.nearest(0.38), 3);  // without a threshold the nearest counts
  EXPECT_EQ(alphabet.nearest(0.37), 2);
}

TEST(ShiftedAlphabet, NearestAgreesWithSearch) {
  for (const float step : {0.125F, 0.1F, 1.0F / 3, 1e-30F})
    for (const int levels : {3, 5, 15, 255})
      for (const double steps : {0.1, 1.0, 1.9, 2.0, 3.3, 40.0}) {
        const Alphabet alphabet = Alphabet::from_step(levels, step, steps);
        for (int code = 0; code < levels; ++code) {
          ASSERT_EQ(alphabet.value(code), -alphabet.value(levels - 1 - code));
          for (const double away : {0.0, 0.2, 0.9, 1.1, -0.3, -0.9, -1.1}) {
            const double z = static_cast<double>(alphabet.value(code)) + away * static_cast<double>(step);
            ASSERT_EQ(alphabet.nearest(z), nearest_by_search(alphabet, z))
                << levels << " levels, step " << step << ", lambda " << steps << " steps, z " << z;
          }
        }
      }
}

TEST(ShiftedAlphabet, RefusesWhatIsNone) {
  fault([] { Alphabet alphabet(4, 1.0F, 0.5F); });
  fault([] { Alphabet alphabet(3, 1.0F, -2.5F); });
  fault([] { Alphabet alphabet(3, 1.0F, std::numeric_limits<float>::infinity()); });
  fault([] { (void)Alphabet(3, 1.0F).rounded(0.5, RoundingKind::stochastic, 0); });
}

TEST(Alphabet, RefusesWhatIsNone) {
  fault([] { Alphabet alphabet(1, 1.0F); });
  fault([] { Alphabet alphabet(257, 1.0F); });
  fault([] { Alphabet alphabet(3, -1.0F); });
  fault([] { Alphabet alphabet(3, std::numeric_limits<float>::infinity()); });
  fault([] { Alphabet alphabet(3, std::numeric_limits<float>::quiet_NaN()); });
  EXPECT_TRUE(mentions(input_error([] { (void)Alphabet::from_radius(3, -0.5); }), "-0.5"));
  EXPECT_TRUE(mentions(input_error([] { (void)Alphabet::from_radius(3, 1e38); }), "radius"));
  input_error([] { (void)Alphabet::from_radius(3, std::numeric_limits<double>::quiet_NaN()); });
  input_error([] { (void)Alphabet::from_radius(3, std::numeric_limits<double>::infinity()); });
}

}  // namespace
}  // namespace gpfq::quant
