// SPDX-License-Identifier: Apache-2.0
// Equal bits whoever adds and in whichever order, and no accuracy lost for it: the promise that
// codes do not depend on the number of ranks rests here.
#include "gpfq/quant/fixed_point_sum.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "support/errors.hpp"

namespace gpfq::quant {
namespace {

constexpr Index rows = 4;
constexpr Index columns = 5;
constexpr Index stride = 7;  // wider than the matrix; what lies between holds NaN

/// Partial products whose entry (i, j) is of the order 2^(row_scale_i + column_scale_j).
struct Partials {
  std::vector<std::vector<float>> parts;
  std::vector<int> row_exponents;
  std::vector<int> column_exponents;
};

Partials make_partials(std::size_t count) {
  // Σ|entry| < 2^(x_i + y_j) with |entry| < 2^(scale_i + scale_j), when x_i carries log2(count).
  const int headroom = static_cast<int>(std::ceil(std::log2(static_cast<double>(count))));
  const std::vector<int> row_scales = {-60, -3, 0, 55};
  const std::vector<int> column_scales = {-50, -1, 0, 7, 45};
  Partials partials;
  for (const int scale : row_scales) partials.row_exponents.push_back(scale + headroom);
  partials.column_exponents = column_scales;
  std::mt19937 generator(5);
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (std::size_t k = 0; k < count; ++k) {
    std::vector<float> part(rows * stride, std::nanf(""));
    for (std::size_t i = 0; i < rows; ++i)
      for (std::size_t j = 0; j < columns; ++j)
        part[i * stride + j] = std::ldexp(uniform(generator), row_scales[i] + column_scales[j]);
    partials.parts.push_back(std::move(part));
  }
  return partials;
}

using Raw = std::vector<std::int64_t>;

Raw raw_sum(const Partials& partials, const std::vector<std::size_t>& order) {
  FixedPointSum sum(rows, columns);
  sum.start(partials.row_exponents, partials.column_exponents);
  for (const std::size_t k : order) sum.add(partials.parts[k].data(), stride);
  return {sum.raw().begin(), sum.raw().end()};
}

TEST(BoundExponent, IsTheSmallestPowerAbove) {
  EXPECT_EQ(bound_exponent(0.0), 0);
  EXPECT_EQ(bound_exponent(0.5), 0);
  EXPECT_EQ(bound_exponent(0.75), 0);
  EXPECT_EQ(bound_exponent(1.0), 1);
  EXPECT_EQ(bound_exponent(7.99), 3);
  EXPECT_EQ(bound_exponent(8.0), 4);
  for (const double magnitude : {5e-324, 1e-300, 3.7e-12, 0.3, 1e15, 1e300}) {
    const int x = bound_exponent(magnitude);
    EXPECT_LT(magnitude, std::ldexp(1.0, x));
    EXPECT_GE(magnitude, std::ldexp(0.5, x));
  }
  test::fault([] { (void)bound_exponent(-1.0); });
  test::fault([] { (void)bound_exponent(HUGE_VAL); });
  test::fault([] { (void)bound_exponent(std::nan("")); });
}

TEST(FixedPointSum, AnyOrderGivesTheSameBits) {
  const Partials partials = make_partials(100);
  std::vector<std::size_t> order(100);
  std::iota(order.begin(), order.end(), std::size_t{0});
  const Raw expected = raw_sum(partials, order);
  EXPECT_TRUE(std::none_of(expected.begin(), expected.end(), [](std::int64_t value) { return value == 0; }));
  std::mt19937 generator(6);
  bool float_sums_differ = false;
  const auto float_sum = [&] {
    float sum = 0;
    for (const std::size_t k : order) sum += partials.parts[k][2 * stride + 2];
    return sum;
  };
  const float first = float_sum();
  for (int trial = 0; trial < 200; ++trial) {
    std::shuffle(order.begin(), order.end(), generator);
    ASSERT_EQ(raw_sum(partials, order), expected) << "permutation " << trial;
    float_sums_differ = float_sums_differ || float_sum() != first;
  }
  EXPECT_TRUE(float_sums_differ) << "the data must be such that order matters in floats";
}

/// Any number of ranks: each adds its share to its own sum, the raw sums are added afterwards.
TEST(FixedPointSum, AnyGroupingGivesTheSameBits) {
  const Partials partials = make_partials(61);
  std::vector<std::size_t> order(61);
  std::iota(order.begin(), order.end(), std::size_t{0});
  const Raw expected = raw_sum(partials, order);
  std::mt19937 generator(7);
  for (std::size_t ranks = 1; ranks <= 61; ++ranks) {
    std::vector<std::vector<std::size_t>> shares(ranks);
    std::shuffle(order.begin(), order.end(), generator);
    for (const std::size_t k : order) shares[generator() % ranks].push_back(k);
    Raw total(rows * columns);
    for (const auto& share : shares) {
      const Raw raw = raw_sum(partials, share);
      for (std::size_t i = 0; i < total.size(); ++i) total[i] += raw[i];
    }
    ASSERT_EQ(total, expected) << ranks << " ranks";
  }
}

/// Each of K conversions loses less than one unit 2^(x_i + y_j − 61); nothing else rounds but the result.
TEST(FixedPointSum, IsAsAccurateAsItsUnit) {
  const std::size_t count = 1000;
  const Partials partials = make_partials(count);
  FixedPointSum sum(rows, columns);
  sum.start(partials.row_exponents, partials.column_exponents);
  for (const auto& part : partials.parts) sum.add(part.data(), stride);
  EXPECT_EQ(sum.rows(), rows);
  EXPECT_EQ(sum.columns(), columns);
  for (Index i = 0; i < rows; ++i) {
    for (Index j = 0; j < columns; ++j) {
      long double expected = 0;
      for (const auto& part : partials.parts) expected += part[static_cast<std::size_t>(i * stride + j)];
      const int exponent =
          partials.row_exponents[static_cast<std::size_t>(i)] + partials.column_exponents[static_cast<std::size_t>(j)];
      const long double bound = count * std::ldexp(1.0L, exponent - 61) + std::abs(expected) * 0x1p-52L;
      EXPECT_LE(std::abs(sum.value(i, j) - expected), bound) << "entry " << i << ", " << j;
    }
  }
}

TEST(FixedPointSum, StartForgetsAndTakesSmallerExtents) {
  FixedPointSum sum(3, 4);
  const std::vector<float> ones(12, 1.0F);
  sum.start(std::vector<int>{4, 4, 4}, std::vector<int>{0, 0, 0, 0});
  sum.add(ones.data(), 4);
  sum.start(std::vector<int>{4, 6}, std::vector<int>{-1, 2, 0});
  EXPECT_EQ(sum.raw().size(), 6U);
  for (Index i = 0; i < 2; ++i)
    for (Index j = 0; j < 3; ++j) EXPECT_EQ(sum.value(i, j), 0.0);
  const std::vector<float> values = {0.5F, -1.25F, 3.0F, 7.0F, 0.0F, -2.0F};
  sum.add(values.data(), 3);
  sum.add(values.data(), 3);
  for (Index i = 0; i < 2; ++i)
    for (Index j = 0; j < 3; ++j) EXPECT_EQ(sum.value(i, j), 2.0 * values[static_cast<std::size_t>(i * 3 + j)]);
}

/// The largest sum that the bound allows fits, with both signs.
TEST(FixedPointSum, HoldsTheBoundItself) {
  FixedPointSum sum(1, 2);
  sum.start(std::vector<int>{3}, std::vector<int>{0, 0});
  const std::vector<float> part = {0x1.fffffep0F, -0x1.fffffep0F};
  for (int k = 0; k < 4; ++k) sum.add(part.data(), 2);  // just below 2^3
  EXPECT_EQ(sum.value(0, 0), 4.0 * part[0]);
  EXPECT_EQ(sum.value(0, 1), 4.0 * part[1]);
}

TEST(FixedPointSum, RefusesMoreThanItWasMadeFor) {
  FixedPointSum sum(2, 3);
  test::fault([&] { sum.start(std::vector<int>(3), std::vector<int>(2)); });
  test::fault([&] { sum.start(std::vector<int>(1), std::vector<int>(4)); });
}

}  // namespace
}  // namespace gpfq::quant
