// SPDX-License-Identifier: Apache-2.0
// Activation functions against their formulas in long double: small, large and extreme arguments,
// where a careless formula overflows or cancels.
#include "net/activation.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <vector>

#include "small_graphs.hpp"
#include "support/errors.hpp"

namespace gpfq::net {
namespace {

using Real = long double;
using Formula = std::function<Real(Real)>;
constexpr float infinity = std::numeric_limits<float>::infinity();

struct Case {
  Op op;
  std::map<std::string, std::vector<double>> attributes;
  Formula formula;
};

Real logistic(Real x) { return 1 / (1 + std::exp(-x)); }
Real clamped(Real x, Real low, Real high) { return std::min(std::max(x, low), high); }

/// All formulas as Op documents them; defaults are those of ONNX and Keras.
std::vector<Case> all_cases() {
  const Real selu_alpha = 1.6732632423543772848L;
  const Real selu_gamma = 1.0507009873554804934L;
  return {
      {Op::relu, {}, [](Real x) { return std::max<Real>(x, 0); }},
      {Op::leaky_relu, {{"alpha", {0.25}}}, [](Real x) { return x < 0 ? 0.25L * x : x; }},
      {Op::leaky_relu, {}, [](Real x) { return x < 0 ? 0.01L * x : x; }},
      {Op::elu, {{"alpha", {0.5}}}, [](Real x) { return x < 0 ? 0.5L * std::expm1(x) : x; }},
      {Op::elu, {}, [](Real x) { return x < 0 ? std::expm1(x) : x; }},
      {Op::selu, {}, [=](Real x) { return selu_gamma * (x < 0 ? selu_alpha * std::expm1(x) : x); }},
      {Op::selu, {{"alpha", {2.0}}, {"gamma", {0.5}}}, [](Real x) { return 0.5L * (x < 0 ? 2 * std::expm1(x) : x); }},
      {Op::sigmoid, {}, logistic},
      {Op::hard_sigmoid, {}, [](Real x) { return clamped(0.2L * x + 0.5L, 0, 1); }},
      {Op::hard_sigmoid, {{"alpha", {0.5}}, {"beta", {0.25}}}, [](Real x) { return clamped(0.5L * x + 0.25L, 0, 1); }},
      {Op::hard_swish, {}, [](Real x) { return x * clamped(x / 6 + 0.5L, 0, 1); }},
      {Op::swish, {}, [](Real x) { return x * logistic(x); }},
      {Op::gelu, {}, [](Real x) { return x / 2 * std::erfc(-x / std::numbers::sqrt2_v<Real>); }},
      {Op::tanh, {}, [](Real x) { return std::tanh(x); }},
      {Op::softplus, {}, [](Real x) { return std::max<Real>(x, 0) + std::log1p(std::exp(-std::abs(x))); }},
      {Op::softsign, {}, [](Real x) { return x / (1 + std::abs(x)); }},
      {Op::clip, {{"min", {-0.5}}, {"max", {2.0}}}, [](Real x) { return clamped(x, -0.5L, 2); }},
      {Op::clip, {{"min", {0.25}}}, [](Real x) { return std::max<Real>(x, 0.25L); }},
      {Op::clip, {{"max", {6.0}}}, [](Real x) { return std::min<Real>(x, 6); }},
      {Op::clip, {}, [](Real x) { return x; }},
  };
}

float apply(const Case& the_case, float x) {
  Node node = make_node("node", the_case.op, 0, {1});
  node.attributes = the_case.attributes;
  std::vector<float> values = {x};
  apply_elementwise(node, values);
  return values[0];
}

/// A few roundings to float32 of the result (2⁻²² relative) and of terms of order one that cancel (2⁻²⁴ each).
TEST(Activation, MatchesItsFormula) {
  for (const Case& the_case : all_cases()) {
    for (const float x : {-87.0F, -20.0F, -6.0F, -3.0F, -2.5F, -1.0F, -0.5F, -0.1F, -1e-4F, -1e-20F, -0.0F,
                          0.0F,   1e-20F, 1e-4F, 0.1F,  0.5F,  1.0F,  2.5F,  3.0F,  6.0F,   20.0F,   87.0F}) {
      const Real expected = the_case.formula(x);
      const Real found = apply(the_case, x);
      EXPECT_NEAR(found, expected, 0x1p-22L * std::abs(expected) + (std::abs(x) > 1e-3F ? 0x1p-22L : 0x1p-24L))
          << op_name(the_case.op) << "(" << x << ")";
    }
  }
}

/// Where the formula itself is small and smooth around zero, relative accuracy stays: no cancellation.
TEST(Activation, KeepsSmallValues) {
  for (const Op op : {Op::elu, Op::tanh, Op::softsign, Op::selu, Op::swish, Op::gelu}) {
    for (const Case& the_case : all_cases()) {
      if (the_case.op != op) continue;
      for (const float x : {-1e-6F, 1e-6F, -1e-20F, 1e-20F}) {
        const Real expected = the_case.formula(x);
        EXPECT_NEAR(apply(the_case, x), expected, 0x1p-21L * std::abs(expected)) << op_name(op) << "(" << x << ")";
      }
    }
  }
}

/// The largest finite arguments: results are the limits, nothing overflows to NaN.
TEST(Activation, HoldsAtExtremes) {
  for (const Case& the_case : all_cases()) {
    for (const float x : {1e3F, -1e3F, 1e10F, -1e10F, 1e37F, -1e37F}) {
      const Real expected = the_case.formula(x);
      const float found = apply(the_case, x);
      EXPECT_TRUE(std::isfinite(found)) << op_name(the_case.op) << "(" << x << ")";
      EXPECT_NEAR(found, expected, 0x1p-22L * std::abs(expected) + 1e-37L) << op_name(the_case.op) << "(" << x << ")";
    }
  }
}

/// A NaN that came from somewhere must not be hidden by a comparison.
TEST(Activation, NaNComesThrough) {
  for (const Case& the_case : all_cases())
    EXPECT_TRUE(std::isnan(apply(the_case, std::nanf("")))) << op_name(the_case.op);
}

TEST(Activation, BoundedOnesTakeInfinity) {
  const auto value = [](Op op, float x) { return apply({op, {}, {}}, x); };
  EXPECT_EQ(value(Op::sigmoid, infinity), 1.0F);
  EXPECT_EQ(value(Op::sigmoid, -infinity), 0.0F);
  EXPECT_EQ(value(Op::tanh, -infinity), -1.0F);
  EXPECT_EQ(value(Op::relu, -infinity), 0.0F);
  EXPECT_EQ(value(Op::relu, infinity), infinity);
  EXPECT_EQ(value(Op::softplus, -infinity), 0.0F);
  EXPECT_EQ(value(Op::elu, -infinity), -1.0F);
  EXPECT_EQ(value(Op::hard_sigmoid, -infinity), 0.0F);
}

TEST(Activation, WorksOnWholeRowsAndKnowsItsOperators) {
  std::vector<float> values = {-1, 2, -3, 4, 0};
  apply_elementwise(make_node("r", Op::relu, 0, {5}), values);
  EXPECT_EQ(values, (std::vector<float>{0, 2, 0, 4, 0}));
  for (const Op op : {Op::input, Op::dense, Op::batch_norm, Op::softmax, Op::reshape}) {
    test::fault([&] { apply_elementwise(make_node("n", op, 0, {5}), values); });
  }
}

/// Each row alone: exp(x_i) / Σ exp(x_j), to 2⁻²² relative.
TEST(Softmax, MatchesItsFormulaRowByRow) {
  const std::vector<float> values = {1, 2, 3, -1, 0, 0.5F, 80, 80, 80, -5, 60, 3};
  std::vector<float> found = values;
  apply_softmax(found, 3);
  for (std::size_t row = 0; row < values.size(); row += 3) {
    Real sum = 0;
    for (std::size_t i = row; i < row + 3; ++i) sum += std::exp(static_cast<Real>(values[i]));
    for (std::size_t i = row; i < row + 3; ++i) {
      const Real expected = std::exp(static_cast<Real>(values[i])) / sum;
      EXPECT_NEAR(found[i], expected, 0x1p-22L * expected) << "value " << i;
    }
  }
}

TEST(Softmax, HoldsAtExtremes) {
  std::vector<float> values = {1e30F, -1e30F, 0, 1000, 1001, -infinity};
  apply_softmax(values, 3);
  EXPECT_EQ(values[0], 1.0F);
  EXPECT_EQ(values[1], 0.0F);
  EXPECT_EQ(values[2], 0.0F);
  EXPECT_NEAR(values[4], 1 / (1 + std::exp(-1.0)), 1e-6);
  EXPECT_EQ(values[5], 0.0F);
  std::vector<float> one = {7, -300};
  apply_softmax(one, 1);
  EXPECT_EQ(one, (std::vector<float>{1, 1}));
}

TEST(Softmax, NaNSpoilsItsRowOnly) {
  std::vector<float> values = {1, std::nanf(""), 2, 1, 2, 3, std::nanf(""), 0, 0};
  apply_softmax(values, 3);
  for (const std::size_t i : {0U, 1U, 2U, 6U, 7U, 8U}) EXPECT_TRUE(std::isnan(values[i])) << i;
  for (const std::size_t i : {3U, 4U, 5U}) EXPECT_TRUE(std::isfinite(values[i])) << i;
}

}  // namespace
}  // namespace gpfq::net
