// SPDX-License-Identifier: Apache-2.0
// The blocked path against the definition: identical codes where float32 is exact, however the
// layer is cut; on random data every choice is greedy up to a bound derived from rounding.
#include "gpfq/quant/tile_path.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "path_data.hpp"
#include "support/errors.hpp"

namespace gpfq::quant {
namespace {

constexpr Index inputs = 37;
constexpr Index neurons = 21;  // one tile of 32 with 11 padded, or one of 16 and one with 11 padded

std::string name_of(const PathData& data, const Cut& cut) {
  return fmt::format("m {}, {} levels, {}, block {}, chunk {}, tile {}", data.samples(), data.alphabets[0].levels(),
                     data.shared ? "shared" : "apart", cut.block_width, cut.sample_chunk, cut.tile_width);
}

/// Block widths 1, odd, dividing nothing, N and beyond N; one chunk and several, of which the last is shorter.
std::vector<Cut> all_cuts() {
  std::vector<Cut> cuts;
  for (const Index block_width : {Index{1}, Index{5}, Index{16}, inputs, inputs + 13})
    for (const Index sample_chunk : {16, 32, 2048})
      for (const Index tile_width : {16, 32}) cuts.push_back({block_width, sample_chunk, tile_width, 1});
  return cuts;
}

/// What the statistics should say, from the reference: an argument that a longer alphabet would have rounded beyond
/// the last level is saturated, which takes in the upper tie and leaves out the lower one.
TileStatistics expected_statistics(const PathData& data, const std::vector<ReferencePath>& reference) {
  TileStatistics statistics;
  for (std::size_t j = 0; j < reference.size(); ++j) {
    const Alphabet& alphabet = data.alphabets[j];
    const double end = static_cast<double>(alphabet.levels()) * alphabet.step();
    for (std::size_t t = 0; t < reference[j].codes.size(); ++t) {
      const double z = reference[j].arguments[t];
      statistics.saturated += z >= end || z < -end ? 1 : 0;
      statistics.zeros += alphabet.value(reference[j].codes[t]) == 0 ? 1 : 0;
    }
    statistics.residual_squared_norm += reference[j].residual.squaredNorm();
  }
  return statistics;
}

/// Arguments that lie exactly between two levels.
Index count_ties(const PathData& data, const std::vector<ReferencePath>& reference) {
  Index ties = 0;
  for (std::size_t j = 0; j < reference.size(); ++j) {
    const Alphabet& alphabet = data.alphabets[j];
    for (std::size_t t = 0; t < reference[j].codes.size(); ++t) {
      const int code = reference[j].codes[t];
      const double below = (static_cast<double>(alphabet.value(code)) + alphabet.value(std::max(0, code - 1))) / 2;
      ties += code > 0 && reference[j].arguments[t] == below ? 1 : 0;
    }
  }
  return ties;
}

void expect_identical(const PathData& data, const std::vector<ReferencePath>& reference, const Cut& cut) {
  const PathResult result = run_blocked(data, cut);
  const std::string name = name_of(data, cut);
  for (Index j = 0; j < data.neurons(); ++j) {
    const ReferencePath& path = reference[static_cast<std::size_t>(j)];
    for (Index t = 0; t < data.inputs(); ++t)
      ASSERT_EQ(result.codes(t, j), path.codes[static_cast<std::size_t>(t)])
          << name << ", neuron " << j << ", input " << t;
    for (Index i = 0; i < data.samples(); ++i)
      ASSERT_EQ(result.residual(i, j), path.residual[i]) << name << ", neuron " << j << ", sample " << i;
  }
  const TileStatistics expected = expected_statistics(data, reference);
  EXPECT_EQ(result.statistics.saturated, expected.saturated) << name;
  EXPECT_EQ(result.statistics.zeros, expected.zeros) << name;
  EXPECT_EQ(result.statistics.residual_squared_norm, expected.residual_squared_norm) << name;
}

/// Nothing rounds anywhere, so codes, residuals and statistics are those of the definition however the layer is cut.
/// 64 values of a column are nonzero: of 64 samples, which need no padding, or of 75, which are padded to 80.
class ExactData : public ::testing::TestWithParam<std::tuple<int, bool, Index>> {};

TEST_P(ExactData, GivesIdenticalCodesHoweverItIsCut) {
  const auto [levels, shared, samples] = GetParam();
  Index ties = 0;
  Index saturated = 0;
  for (const bool same_step : {true, false}) {
    const PathData data = exact_data(samples, 64, inputs, neurons, levels, shared, same_step, 51);
    const std::vector<ReferencePath> reference = run_reference(data);
    ties += count_ties(data, reference);
    saturated += expected_statistics(data, reference).saturated;
    for (const Cut& cut : all_cuts()) expect_identical(data, reference, cut);
  }
  EXPECT_GE(ties, neurons) << "the data must hold ties";
  EXPECT_GT(saturated, 0) << "the data must reach beyond the last level";
}

INSTANTIATE_TEST_SUITE_P(TilePath, ExactData,
                         ::testing::Combine(::testing::Values(2, 3, 4, 15, 16, 256), ::testing::Bool(),
                                            ::testing::Values(Index{64}, Index{75})));

/// Kept outputs are XW and XqQ, and the path beside them is the same where nothing rounds.
TEST(TilePath, KeptOutputsAreThoseOfBothNetworks) {
  for (const bool shared : {true, false}) {
    for (const Index chunk : {16, 32, 2048}) {
      const PathData data = exact_data(75, 64, inputs, neurons, 15, shared, false, 51);
      const Cut plain{5, chunk, 32, 1, false};
      Cut keeping = plain;
      keeping.keeps_outputs = true;
      const PathResult expected = run_blocked(data, plain);
      const PathResult found = run_blocked(data, keeping);
      EXPECT_EQ(found.codes, expected.codes);
      EXPECT_EQ(found.residual, expected.residual);
      EXPECT_EQ(found.analog, data.X * data.W);
      EXPECT_EQ(found.analog - found.quantized, expected.residual);
    }
  }
}

/// A tile of more rows than its difference is formed of at once.
TEST(TilePath, KeptOutputsOfManyRows) {
  const PathData data = random_data(1300, 20, 9, 15, false, 58);
  const PathResult found = run_blocked(data, {7, 1280, 16, 1, true});
  const PathResult plain = run_blocked(data, {7, 1280, 16, 1, false});
  EXPECT_EQ(found.codes, plain.codes);
  const Eigen::MatrixXf V = data.X * data.W;
  EXPECT_LT((found.analog - V).norm(), 1e-5F * V.norm());
  EXPECT_LT((found.residual - plain.residual).norm(), 1e-5F * V.norm());
}

TEST(TilePath, ThreadsDoNotChangeABit) {
  const PathData data = random_data(300, inputs, neurons, 15, false, 52);
  const PathResult one = run_blocked(data, {5, 16, 16, 1});
  const PathResult three = run_blocked(data, {5, 16, 16, 3});
  EXPECT_EQ(one.codes, three.codes);
  EXPECT_EQ(one.residual, three.residual);
}

/// A neuron's numbers do not depend on its place in the tile nor on how many neurons are real. The bound on the
/// residual, which sets the unit of P, depends on the tile's weights: so the units must be fine enough not to show.
TEST(TilePath, FewerRealNeuronsGiveTheSameCodes) {
  const PathData data = random_data(75, inputs, 16, 15, false, 53);
  const PathResult full = run_blocked(data, {5, 32, 16, 1});
  for (const Index count : {1, 3, 15}) {
    PathData fewer = data;
    fewer.W = data.W.leftCols(count);
    fewer.alphabets.resize(static_cast<std::size_t>(count));
    const PathResult result = run_blocked(fewer, {5, 32, 16, 1});
    EXPECT_EQ(result.codes, full.codes.leftCols(count)) << count;
    EXPECT_EQ(result.residual, full.residual.leftCols(count)) << count;
  }
}

/// First-order rounding bound (Higham, Accuracy and Stability, 3.1): every term Xq_it·X_is·w_s of c_t goes through at
/// most m + 2N + b + N/b + 8 roundings (two products over samples or inputs, the sums of the kernel, one addition to U
/// per block and conversions), so |error of c_t| <= that many times 2⁻²⁴·Σ_i |Xq_it| Σ_{s≤t} (|X_is w_s| + |Xq_is
/// q_s|). The argument is c_t/G_tt, G_tt itself rounded alike; adding M/2 in the kernel costs 2⁻²³·M spacings.
struct Rounding {
  double unit;  ///< count of roundings times 2⁻²⁴

  Rounding(const PathData& data, const Cut& cut)
      : unit(static_cast<double>(data.samples() + 2 * data.inputs() + cut.block_width +
                                 data.inputs() / cut.block_width + 8) *
             0x1p-24) {}
};

/// Walks along a neuron's codes in double and checks each choice: no other level leaves a residual shorter by more
/// than rounding explains. With a = argument and d its error, level q instead of p costs at most ‖Xq_t‖²·2d·|q − p|.
/// Returns the exact residual Xw − Xq q.
Eigen::VectorXd expect_greedy(const PathData& data, const Cut& cut, const PathResult& result, Index j) {
  const Rounding rounding(data, cut);
  const Alphabet& alphabet = data.alphabets[static_cast<std::size_t>(j)];
  Eigen::VectorXd u = Eigen::VectorXd::Zero(data.samples());
  Eigen::VectorXd magnitude = Eigen::VectorXd::Zero(data.samples());
  for (Index t = 0; t < data.inputs(); ++t) {
    const Eigen::VectorXd x = data.X.col(t).cast<double>() * static_cast<double>(data.W(t, j));
    const Eigen::VectorXd Xq = data.Xq.col(t).cast<double>();
    u += x;
    magnitude += x.cwiseAbs();
    const double chosen = alphabet.value(result.codes(t, j));
    const double norm = Xq.squaredNorm();
    const double argument = Xq.dot(u) / norm;
    const double error = rounding.unit * (Xq.cwiseAbs().dot(magnitude) / norm + std::abs(argument)) +
                         0x1p-22 * alphabet.levels() * alphabet.step();
    EXPECT_LT(error, 0.1 * alphabet.step()) << "the bound must be small beside the spacing to mean anything";
    const double length = (u - chosen * Xq).squaredNorm();
    for (int code = 0; code < alphabet.levels(); ++code) {
      const double other = alphabet.value(code);
      EXPECT_LE(length, (u - other * Xq).squaredNorm() * (1 + 1e-12) + norm * 2 * error * std::abs(other - chosen))
          << name_of(data, cut) << ", neuron " << j << ", input " << t << ", code " << code;
    }
    u -= chosen * Xq;
    magnitude += std::abs(chosen) * Xq.cwiseAbs();
  }
  // U_ij itself: at most 2N products and additions over depth and N/b additions of blocks.
  for (Index i = 0; i < data.samples(); ++i)
    EXPECT_NEAR(result.residual(i, j), u[i], rounding.unit * magnitude[i])
        << name_of(data, cut) << ", neuron " << j << ", sample " << i;
  return u;
}

class RandomData : public ::testing::TestWithParam<std::tuple<int, bool>> {};

TEST_P(RandomData, EveryChoiceIsGreedyAndTheResidualIsWhatItSays) {
  const auto [levels, shared] = GetParam();
  const PathData data = random_data(100, inputs, neurons, levels, shared, 54);
  for (const Cut& cut : {Cut{1, 16, 16, 1}, Cut{7, 32, 16, 1}, Cut{inputs, 2048, 32, 1}, Cut{50, 16, 32, 1}}) {
    const PathResult result = run_blocked(data, cut);
    double squared_norm = 0;
    Index zeros = 0;
    for (Index j = 0; j < neurons; ++j) {
      const Eigen::VectorXd u = expect_greedy(data, cut, result, j);
      const Alphabet& alphabet = data.alphabets[static_cast<std::size_t>(j)];
      const Eigen::VectorXd q = values_of(alphabet, result.codes.col(j));
      const Eigen::VectorXd difference =
          data.X.cast<double>() * data.W.col(j).cast<double>() - data.Xq.cast<double>() * q;
      EXPECT_LT((difference - u).norm(), 1e-12 * (1 + difference.norm()));
      squared_norm += result.residual.col(j).cast<double>().squaredNorm();
      zeros += (q.array() == 0).count();
    }
    EXPECT_NEAR(result.statistics.residual_squared_norm, squared_norm, 1e-12 * squared_norm);
    EXPECT_EQ(result.statistics.zeros, zeros);
  }
}

/// Where a code first differs from the reference's, the reference's argument lies within rounding of a boundary. Such
/// near-ties have a probability of about 1e-5 per weight here, so more than two of the neurons would be a defect.
TEST_P(RandomData, DiffersFromTheReferenceOnlyAtNearTies) {
  const auto [levels, shared] = GetParam();
  const PathData data = random_data(200, inputs, neurons, levels, shared, 55);
  const std::vector<ReferencePath> reference = run_reference(data);
  const Eigen::MatrixXd X = data.X.cast<double>();
  const Eigen::MatrixXd Xq = data.Xq.cast<double>();
  for (const Cut& cut : all_cuts()) {
    const PathResult result = run_blocked(data, cut);
    Index differing = 0;
    for (Index j = 0; j < neurons; ++j) {
      const ReferencePath& path = reference[static_cast<std::size_t>(j)];
      const Alphabet& alphabet = data.alphabets[static_cast<std::size_t>(j)];
      Index t = 0;
      while (t < inputs && result.codes(t, j) == path.codes[static_cast<std::size_t>(t)]) ++t;
      if (t == inputs) continue;
      ++differing;
      Eigen::VectorXd magnitude = X.col(t).cwiseAbs() * std::abs(data.W(t, j));
      for (Index s = 0; s < t; ++s)
        magnitude += X.col(s).cwiseAbs() * std::abs(data.W(s, j)) +
                     Xq.col(s).cwiseAbs() * std::abs(alphabet.value(result.codes(s, j)));
      const double z = path.arguments[static_cast<std::size_t>(t)];
      const double error =
          Rounding(data, cut).unit * (Xq.col(t).cwiseAbs().dot(magnitude) / Xq.col(t).squaredNorm() + std::abs(z)) +
          0x1p-22 * levels * alphabet.step();
      const double to_found = std::abs(z - alphabet.value(result.codes(t, j)));
      const double to_nearest = std::abs(z - alphabet.value(path.codes[static_cast<std::size_t>(t)]));
      EXPECT_LE((to_found - to_nearest) / 2, error) << name_of(data, cut) << ", neuron " << j << ", input " << t;
    }
    EXPECT_LE(differing, 2) << name_of(data, cut);
  }
}

INSTANTIATE_TEST_SUITE_P(TilePath, RandomData,
                         ::testing::Combine(::testing::Values(2, 3, 4, 15, 16, 256), ::testing::Bool()));

/// Weights of zero beside others, and a step of zero: such a neuron's codes are the middle, its residual stays 0.
TEST(TilePath, NeuronOfZerosStaysZero) {
  PathData data = exact_data(75, 64, inputs, 3, 3, true, true, 56);
  data.W.col(1).setZero();
  data.alphabets[1] = Alphabet(3, 0.0F);
  const PathResult result = run_blocked(data, {5, 16, 16, 1});
  EXPECT_TRUE((result.codes.col(1).array() == 1).all());
  EXPECT_TRUE((result.residual.col(1).array() == 0).all());
  const std::vector<ReferencePath> reference = run_reference(data);
  for (const Index j : {0, 2})
    for (Index t = 0; t < inputs; ++t)
      EXPECT_EQ(result.codes(t, j), reference[static_cast<std::size_t>(j)].codes[static_cast<std::size_t>(t)]);
}

/// A NaN that an earlier block left in the buffer of a later, shorter one must not reach a product.
TEST(TilePath, OldValuesBehindAShortBlockDoNotLeak) {
  const PathData data = exact_data(75, 64, inputs, neurons, 15, false, true, 57);
  const PathShape shape = path_shape(data, {30, 16, 32, 1});
  TilePath tile(shape, 32, data.alphabets);
  for (Index j = 0; j < neurons; ++j) std::copy_n(data.W.col(j).data(), inputs, tile.weights().data() + j * inputs);
  InputBlock block(shape);
  for (const auto& [first, count] : {std::pair<Index, Index>{0, 30}, {30, 7}}) {
    block.begin(30);
    for (Index t = 0; t < 30; ++t) {
      std::fill_n(block.quantized() + t * shape.stride(), 75, std::nanf(""));
      std::fill_n(block.analog() + t * shape.stride(), 75, std::nanf(""));
    }
    fill_block(data, first, count, block);
    block.form_products(1);
    tile.advance(block);
  }
  const std::vector<ReferencePath> reference = run_reference(data);
  for (Index j = 0; j < neurons; ++j)
    for (Index t = 0; t < inputs; ++t)
      ASSERT_EQ(tile.codes()[static_cast<std::size_t>(j * inputs + t)],
                reference[static_cast<std::size_t>(j)].codes[static_cast<std::size_t>(t)]);
}

TEST(TilePath, ChecksItsArguments) {
  const PathData data = exact_data(64, 64, inputs, neurons, 3, true, true, 58);
  const PathShape shape = path_shape(data, {20, 16, 32, 1});
  test::fault([&] { TilePath tile(shape, 24, data.alphabets); });
  test::fault([&] { TilePath tile(shape, 16, data.alphabets); });
  test::fault([&] { TilePath tile(shape, 16, {}); });
  test::fault([&] { TilePath tile(shape, 16, {Alphabet(3, 1), Alphabet(4, 1)}); });
  TilePath tile(shape, 32, data.alphabets);
  InputBlock block(shape);
  fill_block(data, 0, 20, block);
  block.form_products(1);
  EXPECT_FALSE(tile.finished());
  tile.advance(block);
  EXPECT_FALSE(tile.finished());
  test::fault([&] { tile.advance(block); });  // 40 of 37 inputs
  fill_block(data, 20, 17, block);
  block.form_products(1);
  tile.advance(block);
  EXPECT_TRUE(tile.finished());
  test::fault([&] { (void)tile.residual(neurons); });
  test::fault([&] { (void)tile.residual(-1); });
}

}  // namespace
}  // namespace gpfq::quant
