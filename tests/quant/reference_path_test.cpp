// SPDX-License-Identifier: Apache-2.0
// The definition itself, on matrices small enough to do by hand: everything faster is held to it,
// so it is held to paper.
#include "gpfq/quant/reference_path.hpp"

#include <gtest/gtest.h>

#include <random>

#include "support/errors.hpp"

namespace gpfq::quant {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;
using Codes = std::vector<int>;

const Alphabet ternary(3, 0.5F);  // −1, 0, 1

VectorXd vector_of(std::initializer_list<double> values) {
  VectorXd result(static_cast<Index>(values.size()));
  std::copy(values.begin(), values.end(), result.begin());
  return result;
}

/// Rows as written.
MatrixXd matrix_of(std::initializer_list<std::initializer_list<double>> rows) {
  MatrixXd result(static_cast<Index>(rows.size()), static_cast<Index>(rows.begin()->size()));
  Index i = 0;
  for (const auto& row : rows) {
    Index j = 0;
    for (const double value : row) result(i, j++) = value;
    ++i;
  }
  return result;
}

void expect_near(const VectorXd& found, const VectorXd& expected, double tolerance = 1e-15) {
  ASSERT_EQ(found.size(), expected.size());
  for (Index i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], tolerance) << "entry " << i;
}

/// Orthogonal inputs share nothing: each weight is rounded alone. 0.3 → 0, −0.8 → −1, u = (0.3, 0.2).
TEST(ReferencePath, OrthogonalInputsRoundEachWeight) {
  const MatrixXd X = MatrixXd::Identity(2, 2);
  const ReferencePath path = reference_path(X, X, vector_of({0.3, -0.8}), ternary);
  EXPECT_EQ(path.codes, (Codes{1, 0}));
  EXPECT_EQ(path.arguments, (std::vector<double>{0.3, -0.8}));
  expect_near(path.residual, vector_of({0.3, 0.2}));
}

/// Equal inputs add up. X₁ = X₂ = (1,1), w = (0.4, 0.4):
///   t=1: 0.4 → 0, u = (0.4, 0.4);   t=2: 0.4 + 0.4 = 0.8 → 1, u = (−0.2, −0.2).  Rounding alone gives 0, 0.
TEST(ReferencePath, CarriesTheErrorForward) {
  const MatrixXd X = MatrixXd::Ones(2, 2);
  const ReferencePath path = reference_path(X, X, vector_of({0.4, 0.4}), ternary);
  EXPECT_EQ(path.codes, (Codes{1, 2}));
  expect_near(path.residual, vector_of({-0.2, -0.2}));
}

/// X differs from Xq:   X₁ = (1,2,0), Xq₁ = (1,1,0);   X₂ = (0,1,1), Xq₂ = (0,1,−1);   w = (1, 1/2).
///   t=1: v = (1,2,0), ⟨Xq₁,v⟩/2 = 3/2, beyond 1 → 1, u = (0,1,0).
///   t=2: v = (0,3/2,1/2), ⟨Xq₂,v⟩/2 = (3/2 − 1/2)/2 = 1/2, a tie → 1 (the upper), u = (0,1/2,3/2).
TEST(ReferencePath, ArrivesWithXAndLeavesWithXq) {
  const MatrixXd X = matrix_of({{1, 0}, {2, 1}, {0, 1}});
  const MatrixXd Xq = matrix_of({{1, 0}, {1, 1}, {0, -1}});
  const ReferencePath path = reference_path(X, Xq, vector_of({1.0, 0.5}), ternary);
  EXPECT_EQ(path.codes, (Codes{2, 2}));
  EXPECT_EQ(path.arguments, (std::vector<double>{1.5, 0.5}));
  expect_near(path.residual, vector_of({0, 0.5, 1.5}));
}

/// A dead direction: Xq₂ = 0 while X₂ = (1,−1). It takes the level nearest zero, its X still enters u.
/// Alphabet −3, −1, 1, 3 (of −1 and 1 the upper), w = (2.5, −2, 1), X₁ = X₃ = Xq₁ = Xq₃ = (1,0):
///   t=1: 2.5 → 3, u = (−1/2, 0);   t=2: dead → 1, u = (−5/2, 2);   t=3: −5/2 + 1 = −3/2 → −1, u = (−1/2, 2).
TEST(ReferencePath, DeadDirectionTakesTheLevelNearestZero) {
  const MatrixXd X = matrix_of({{1, 1, 1}, {0, -1, 0}});
  const MatrixXd Xq = matrix_of({{1, 0, 1}, {0, 0, 0}});
  const ReferencePath path = reference_path(X, Xq, vector_of({2.5, -2, 1}), Alphabet(4, 1.0F));
  EXPECT_EQ(path.codes, (Codes{3, 2, 1}));
  EXPECT_EQ(path.arguments, (std::vector<double>{2.5, 0.0, -1.5}));
  expect_near(path.residual, vector_of({-0.5, 2}));
  EXPECT_EQ(reference_path(X, Xq, vector_of({0, -2, 0}), ternary).codes, (Codes{1, 1, 0}))
      << "after the dead one u = (−2, 2): X₃ gives −2 → −1";
}

/// Five inputs, each overlapping the next: X_t = e_t + e_{t+1}, X₅ = e₅; w = 0.4 throughout. With d_t = w_t − q_t,
/// u_{t−1} meets X_t only in e_t, where it is d_{t−1}; so the argument is d_{t−1}/2 + 0.4 (norm² 2), the last
/// d₄ + 0.4 (norm² 1):
///   0.4 → 0, d = 0.4;   0.6 → 1, d = −0.6;   0.1 → 0, d = 0.4;   0.6 → 1, d = −0.6;   −0.2 → 0, d = 0.4.
/// u = (d₁, d₁+d₂, d₂+d₃, d₃+d₄, d₄+d₅) = (0.4, −0.2, −0.2, −0.2, −0.2).
TEST(ReferencePath, ChainOfFive) {
  MatrixXd X = MatrixXd::Identity(5, 5);
  for (Index t = 0; t + 1 < 5; ++t) X(t + 1, t) = 1;
  const ReferencePath path = reference_path(X, X, VectorXd::Constant(5, 0.4), ternary);
  EXPECT_EQ(path.codes, (Codes{1, 2, 1, 2, 1}));
  expect_near(Eigen::Map<const VectorXd>(path.arguments.data(), 5), vector_of({0.4, 0.6, 0.1, 0.6, -0.2}));
  expect_near(path.residual, vector_of({0.4, -0.2, -0.2, -0.2, -0.2}));
}

TEST(ReferencePath, RefusesShapesThatDisagree) {
  const MatrixXd X = MatrixXd::Ones(3, 2);
  test::fault([&] { (void)reference_path(X, MatrixXd::Ones(2, 2), VectorXd::Ones(2), ternary); });
  test::fault([&] { (void)reference_path(X, MatrixXd::Ones(3, 3), VectorXd::Ones(2), ternary); });
  test::fault([&] { (void)reference_path(X, X, VectorXd::Ones(3), ternary); });
}

/// Greedy means: at no step does another level leave a shorter residual.
TEST(ReferencePath, NoOtherLevelLeavesAShorterResidual) {
  std::mt19937 generator(20210822);
  std::normal_distribution<double> normal;
  for (const int levels : {2, 3, 4, 15, 16}) {
    const MatrixXd X = MatrixXd::NullaryExpr(30, 20, [&] { return normal(generator); });
    const MatrixXd Xq = X + 0.3 * MatrixXd::NullaryExpr(30, 20, [&] { return normal(generator); });
    const VectorXd w = VectorXd::NullaryExpr(20, [&] { return normal(generator); });
    const Alphabet alphabet = Alphabet::from_radius(levels, 1.5);
    const ReferencePath path = reference_path(X, Xq, w, alphabet);
    VectorXd u = VectorXd::Zero(30);
    for (Index t = 0; t < 20; ++t) {
      u += w[t] * X.col(t);
      const auto residual_with = [&](int code) { return (u - alphabet.value(code) * Xq.col(t)).eval(); };
      const int chosen = path.codes[static_cast<std::size_t>(t)];
      const double length = residual_with(chosen).norm();
      for (int code = 0; code < levels; ++code)
        EXPECT_GE(residual_with(code).norm(), length * (1 - 1e-14)) << "step " << t << ", code " << code;
      u = residual_with(chosen);
    }
    expect_near(path.residual, u, 1e-13);  // 40 updates of entries below 10, each rounded to 2^-53 of them
  }
}

}  // namespace
}  // namespace gpfq::quant
