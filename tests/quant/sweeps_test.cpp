// SPDX-License-Identifier: Apache-2.0
// What comes after and beside the path: sweeps that never raise a norm, error diffusion, inputs by
// falling norm, stochastic and sparse rounding; each against the same in double or a property that defines it.
#include <gtest/gtest.h>

#include <Eigen/Dense>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <memory>

#include "gpfq/quant/gram_sweeps.hpp"
#include "gpfq/quant/output_norms.hpp"
#include "gpfq/quant/tile_path.hpp"
#include "path_data.hpp"
#include "support/errors.hpp"

namespace gpfq::quant {
namespace {

constexpr Index swept_inputs = 41;
constexpr Index swept_neurons = 13;
constexpr Index swept_tile_width = 16;

Tile make_tile(const PathData& data, Index block_width) {
  Tile tile(data.inputs(), block_width, swept_tile_width, data.alphabets);
  for (Index j = 0; j < data.neurons(); ++j)
    std::copy_n(data.W.col(j).data(), data.inputs(), tile.weights().data() + j * data.inputs());
  return tile;
}

/// The layer with its inputs in another order.
PathData in_order_of(const std::vector<Index>& order, const PathData& data) {
  PathData ordered = data;
  for (Index t = 0; t < data.inputs(); ++t) {
    const Index from = order[static_cast<std::size_t>(t)];
    ordered.X.col(t) = data.X.col(from);
    ordered.Xq.col(t) = data.Xq.col(from);
    ordered.W.row(t) = data.W.row(from);
  }
  return ordered;
}

GramProducts make_products(const PathData& data, Index panel, bool whole, bool compares = false) {
  GramProducts products({data.inputs(), panel, data.shared, whole, true, compares});
  std::vector<double> quantized;
  std::vector<double> analog;
  for (Index t = 0; t < data.inputs(); ++t) {
    quantized.push_back(data.Xq.col(t).cwiseAbs().maxCoeff());
    analog.push_back(data.X.col(t).cwiseAbs().maxCoeff());
  }
  products.start(quantized, analog, data.samples());
  const Index rows = round_up(data.samples(), alignment_floats);
  Eigen::MatrixXf Xq = Eigen::MatrixXf::Zero(rows, data.inputs());
  Eigen::MatrixXf X = Xq;
  Xq.topRows(data.samples()) = data.Xq;
  X.topRows(data.samples()) = data.X;
  const Index half = round_up(rows / 2, alignment_floats);
  products.add(Xq.data(), X.data(), half, rows, 1);
  products.add(Xq.data() + half, X.data() + half, rows - half, rows, 2);
  RowReducer alone;
  products.finish(alone);
  return products;
}

/// Codes of a finished tile, N×n.
Eigen::MatrixXi codes_of(const PathData& data, std::span<const std::uint8_t> codes) {
  Eigen::MatrixXi result(data.inputs(), data.neurons());
  for (Index j = 0; j < data.neurons(); ++j)
    for (Index t = 0; t < data.inputs(); ++t) result(t, j) = codes[static_cast<std::size_t>(j * data.inputs() + t)];
  return result;
}

Eigen::VectorXd residual_of(const PathData& data, const Eigen::MatrixXi& codes, Index j) {
  return data.X.cast<double>() * data.W.col(j).cast<double>() -
         data.Xq.cast<double>() * values_of(data.alphabets[static_cast<std::size_t>(j)], codes.col(j));
}

/// ‖XW − XqQ‖² of each neuron in double.
Eigen::VectorXd norms_of(const PathData& data, const Eigen::MatrixXi& codes) {
  Eigen::VectorXd norms(data.neurons());
  for (Index j = 0; j < data.neurons(); ++j) norms[j] = residual_of(data, codes, j).squaredNorm();
  return norms;
}

/// No weight of another level gives a smaller ‖u‖, but for gains that sweeps leave alone: up to 1/256 of d²‖Xq_t‖².
void expect_locally_best(const PathData& data, const Eigen::MatrixXi& codes) {
  for (Index j = 0; j < data.neurons(); ++j) {
    const Alphabet& alphabet = data.alphabets[static_cast<std::size_t>(j)];
    const Eigen::VectorXd u = residual_of(data, codes, j);
    for (Index t = 0; t < data.inputs(); ++t) {
      const Eigen::VectorXd column = data.Xq.col(t).cast<double>();
      for (int code = 0; code < alphabet.levels(); ++code) {
        const double d = static_cast<double>(alphabet.value(code)) - static_cast<double>(alphabet.value(codes(t, j)));
        const double gain = d * (2 * column.dot(u) - d * column.squaredNorm());
        EXPECT_LE(gain, d * d * column.squaredNorm() / 256) << "neuron " << j << ", input " << t;
      }
    }
  }
}

class Sweeps : public ::testing::TestWithParam<std::tuple<int, bool, bool, bool>> {
 protected:
  /// Blocks narrower or wider than what the kernel keeps in registers, a last one that is partial.
  [[nodiscard]] Index width() const { return std::get<3>(GetParam()) ? kernel_strip + 30 : 7; }
  [[nodiscard]] Index input_count() const { return std::get<3>(GetParam()) ? 2 * kernel_strip + 19 : swept_inputs; }
};

TEST_P(Sweeps, NeverRaiseANormAndEndAtALocalMinimum) {
  const auto [levels, shared, keeps, wide] = GetParam();
  const Index N = input_count();
  const PathData data = random_data(300, input_count(), swept_neurons, levels, shared, 71);
  const PathShape shape = path_shape(data, {width(), 128, swept_tile_width, 1, keeps});
  PathShape quantized_only = shape;
  quantized_only.shared = true;
  TilePath path(shape, swept_tile_width, data.alphabets);
  for (Index j = 0; j < swept_neurons; ++j) std::copy_n(data.W.col(j).data(), N, path.weights().data() + j * N);
  const auto pass = [&](const PathShape& of_blocks, bool is_shared) {
    PathData seen = data;
    seen.shared = is_shared;
    InputBlock block(of_blocks);
    for (Index first = 0; first < N; first += width()) {
      fill_block(seen, first, std::min(width(), N - first), block);
      block.form_products(1);
      path.advance(block);
    }
  };
  pass(shape, shared);
  RowReducer alone;
  Eigen::VectorXd norms = norms_of(data, codes_of(data, path.codes()));
  const double first_norm = norms.sum();
  Index changes = 1;
  int count = 0;
  for (; changes > 0 && count < 200; ++count) {
    const Eigen::MatrixXi before = codes_of(data, path.codes());
    path.measure_norms();
    path.join_norms(alone);
    for (Index j = 0; j < swept_neurons; ++j) EXPECT_NEAR(path.squared_norm(j), norms[j], 1e-4 * norms[j]);
    const double gain_before = path.tile().gain();
    path.begin_sweep();
    pass(quantized_only, true);
    changes = path.changes();
    const Eigen::MatrixXi after = codes_of(data, path.codes());
    EXPECT_EQ(changes, (before.array() != after.array()).count());
    const Eigen::VectorXd found = norms_of(data, after);
    for (Index j = 0; j < swept_neurons; ++j) EXPECT_LE(found[j], norms[j]) << "sweep " << count << ", neuron " << j;
    EXPECT_NEAR(path.tile().gain() - gain_before, norms.sum() - found.sum(), 1e-5 * first_norm);
    norms = found;
  }
  EXPECT_EQ(changes, 0) << "sweeps end";
  EXPECT_GT(count, 2);
  EXPECT_LT(norms.sum(), first_norm);
  expect_locally_best(data, codes_of(data, path.codes()));
  for (Index j = 0; j < swept_neurons; ++j) {
    const Eigen::VectorXd u = residual_of(data, codes_of(data, path.codes()), j);
    const std::vector<float> kept = path.residual(j);
    for (Index i = 0; i < data.samples(); ++i) EXPECT_NEAR(kept[static_cast<std::size_t>(i)], u[i], 2e-5 * data.W.norm());
  }
}

/// After the path, or after error diffusion.
TEST_P(Sweeps, InGramFormToo) {
  const auto [levels, shared, diffuses, wide] = GetParam();
  const PathData data = random_data(300, input_count(), swept_neurons, levels, shared, 72);
  const GramProducts products = make_products(data, width() + 2, true);
  Tile tile = make_tile(data, width() + 2);
  if (diffuses)
    diffuse_by_gram(products, DiffusionFactor(products, 0.01, levels % 2 == 0), tile);
  else
    quantize_by_gram(products, tile);
  Eigen::VectorXd norms = norms_of(data, codes_of(data, tile.codes()));
  GramResidual residual(products, tile);
  for (Index j = 0; j < swept_neurons; ++j) {
    const double constant = (data.X.cast<double>() * data.W.col(j).cast<double>()).squaredNorm();
    EXPECT_NEAR(residual.relative_norm(j) + constant, norms[j], 1e-5 * constant);
  }
  Index changes = 1;
  for (int count = 0; changes > 0 && count < 200; ++count) {
    changes = residual.sweep(tile);
    const Eigen::VectorXd found = norms_of(data, codes_of(data, tile.codes()));
    for (Index j = 0; j < swept_neurons; ++j) EXPECT_LE(found[j], norms[j]) << "sweep " << count << ", neuron " << j;
    norms = found;
  }
  EXPECT_EQ(changes, 0);
  expect_locally_best(data, codes_of(data, tile.codes()));
}

INSTANTIATE_TEST_SUITE_P(Levels, Sweeps,
                         ::testing::Combine(::testing::Values(2, 3, 4, 16, 256), ::testing::Bool(), ::testing::Bool(),
                                            ::testing::Values(false)));
INSTANTIATE_TEST_SUITE_P(ManyStrips, Sweeps,
                         ::testing::Combine(::testing::Values(3, 8), ::testing::Bool(), ::testing::Bool(),
                                            ::testing::Values(true)));

TEST(TilePath, TakesNeuronsOfAnotherPath) {
  for (const bool shared : {true, false}) {
    const PathData data = random_data(200, swept_inputs, swept_neurons, 3, shared, 73);
    PathData other = data;
    for (Alphabet& alphabet : other.alphabets) alphabet = Alphabet(3, 0.6F * alphabet.step());
    const PathShape shape = path_shape(data, {8, 64, swept_tile_width, 1, true});
    std::vector<std::unique_ptr<TilePath>> paths;
    for (const PathData* one : std::initializer_list<const PathData*>{&data, &other}) {
      paths.push_back(std::make_unique<TilePath>(shape, swept_tile_width, one->alphabets));
      for (Index j = 0; j < swept_neurons; ++j)
        std::copy_n(one->W.col(j).data(), swept_inputs, paths.back()->weights().data() + j * swept_inputs);
      InputBlock block(shape);
      for (Index first = 0; first < swept_inputs; first += 8) {
        fill_block(*one, first, std::min<Index>(8, swept_inputs - first), block);
        block.form_products(1);
        paths.back()->advance(block);
      }
    }
    const std::vector<float> expected = paths[1]->residual(4);
    const std::vector<float> untouched = paths[0]->residual(5);
    paths[0]->take(4, *paths[1]);
    EXPECT_EQ(paths[0]->residual(4), expected);
    EXPECT_EQ(paths[0]->residual(5), untouched);
    EXPECT_EQ(paths[0]->tile().alphabet(4).step(), other.alphabets[4].step());
    for (Index t = 0; t < swept_inputs; ++t)
      EXPECT_EQ(paths[0]->codes()[static_cast<std::size_t>(4 * swept_inputs + t)],
                paths[1]->codes()[static_cast<std::size_t>(4 * swept_inputs + t)]);
  }
}

/// The N×N matrix of which panels hold the rows from 0 on, or from their first column on: what is above stays as in `expected`.
Eigen::MatrixXd assembled(const GramProducts& products, bool is_G, bool whole, Eigen::MatrixXd expected) {
  for (Index panel = 0; panel < products.panel_count(); ++panel) {
    const Index first = panel * products.panel_width();
    const Index width = products.width_of(panel);
    const float* values = whole ? (is_G ? products.whole_G(panel) : products.whole_C(panel))
                                : (is_G ? products.G(panel) : products.C(panel));
    for (Index t = whole ? 0 : first; t < products.inputs(); ++t)
      for (Index s = first; s < first + width; ++s)
        if (whole || s <= t) expected(t, s) = values[(t - (whole ? 0 : first)) * width + s - first];
  }
  return expected;
}

/// The larger ones fall into several triangles and into rectangles of more than one size.
TEST(GramProducts, AreThoseOfDenseAlgebra) {
  for (const bool shared : {true, false})
    for (const bool whole : {true, false})
      for (const auto& [count, panel] : {std::pair<Index, Index>{23, 7}, {1300, 128}}) {
        const PathData data = random_data(100, count, 2, 3, shared, 74);
        const GramProducts products = make_products(data, panel, whole);
        const Eigen::MatrixXd G = data.Xq.cast<double>().transpose() * data.Xq.cast<double>();
        const Eigen::MatrixXd C = data.Xq.cast<double>().transpose() * data.X.cast<double>();
        EXPECT_LE((assembled(products, true, whole, G) - G).cwiseAbs().maxCoeff(), 1e-5 * G.maxCoeff()) << count;
        EXPECT_LE((assembled(products, false, whole, C) - C).cwiseAbs().maxCoeff(), 1e-5 * G.maxCoeff()) << count;
        for (Index t = 0; t < count; ++t)
          EXPECT_NEAR(products.column_sums()[static_cast<std::size_t>(t)], data.Xq.col(t).cast<double>().sum(), 1e-3);
      }
}

TEST(GramProducts, OrderByNormIsThePathOfOrderedInputs) {
  for (const bool shared : {true, false}) {
    PathData data = random_data(200, swept_inputs, swept_neurons, 3, shared, 75);
    data.Xq.col(3) = data.Xq.col(30);  // of equal norm
    if (shared) data.X.col(3) = data.X.col(30);
    GramProducts products = make_products(data, 10, true);
    const std::vector<Index> order = products.order_by_norm();
    for (std::size_t t = 1; t < order.size(); ++t)
      EXPECT_GE(data.Xq.col(order[t - 1]).squaredNorm(), data.Xq.col(order[t]).squaredNorm() * (1 - 1e-5F));
    EXPECT_LT(std::find(order.begin(), order.end(), 3), std::find(order.begin(), order.end(), 30));
    const PathData ordered = in_order_of(order, data);
    Tile tile = make_tile(data, 10);
    Visit visit;
    visit.order = order;
    tile.set_visit(visit);
    quantize_by_gram(products, tile);
    Tile expected = make_tile(ordered, 10);
    quantize_by_gram(make_products(ordered, 10, true), expected);
    const Eigen::MatrixXi found = codes_of(data, tile.codes());
    const Eigen::MatrixXi in_order = codes_of(ordered, expected.codes());
    for (Index t = 0; t < swept_inputs; ++t) EXPECT_EQ(found.row(order[static_cast<std::size_t>(t)]), in_order.row(t));
  }
}

/// The same by dense algebra in double: v_s −= e_t (H_t⁻¹)_ts / (H_t⁻¹)_tt, H_t of the inputs from t on.
Eigen::MatrixXi diffuse_in_double(const PathData& data, double damping, bool corrects) {
  const Eigen::MatrixXd Xq = data.Xq.cast<double>();
  Eigen::MatrixXd H = Xq.transpose() * Xq;
  const double lambda = damping * H.diagonal().mean();
  H.diagonal().array() += lambda;
  Eigen::MatrixXd target = data.W.cast<double>();
  if (corrects)
    target = H.ldlt().solve(Xq.transpose() * data.X.cast<double>() * target + lambda * target);
  Eigen::MatrixXi codes(data.inputs(), data.neurons());
  for (Index t = 0; t < data.inputs(); ++t) {
    const Index rest = data.inputs() - t;
    const Eigen::MatrixXd inverse = H.bottomRightCorner(rest, rest).inverse();
    for (Index j = 0; j < data.neurons(); ++j) {
      const Alphabet& alphabet = data.alphabets[static_cast<std::size_t>(j)];
      codes(t, j) = alphabet.nearest(target(t, j));
      const double error = target(t, j) - static_cast<double>(alphabet.value(codes(t, j)));
      target.col(j).tail(rest) -= error / inverse(0, 0) * inverse.col(0);
    }
  }
  return codes;
}

TEST(Diffusion, IsThatOfDenseAlgebra) {
  for (const bool corrects : {false, true}) {
    const PathData data = random_data(300, swept_inputs, swept_neurons, 15, false, 76);
    const GramProducts products = make_products(data, 9, true);
    const DiffusionFactor factor(products, 0.01, corrects);
    EXPECT_EQ(factor.corrects_target(), corrects);
    Tile tile = make_tile(data, 9);
    diffuse_by_gram(products, factor, tile);
    const Eigen::MatrixXi found = codes_of(data, tile.codes());
    const Eigen::MatrixXi expected = diffuse_in_double(data, 0.01, corrects);
    // A near-tie may fall otherwise in single precision, and what follows it in that neuron.
    Index differing = 0;
    for (Index j = 0; j < swept_neurons; ++j) differing += found.col(j) != expected.col(j) ? 1 : 0;
    EXPECT_LE(differing, 1);
  }
}

TEST(Diffusion, OfOrthogonalInputsIsRounding) {
  PathData data = random_data(64, 16, swept_neurons, 15, true, 77);
  data.X = Eigen::MatrixXf::Zero(64, 16);
  for (Index t = 0; t < 15; ++t) data.X(t, t) = 1.0F + static_cast<float>(t);
  data.Xq = data.X;  // the last column is dead
  const GramProducts products = make_products(data, 5, true);
  Tile tile = make_tile(data, 5);
  diffuse_by_gram(products, DiffusionFactor(products, 0.01, true), tile);
  const Eigen::MatrixXi codes = codes_of(data, tile.codes());
  for (Index j = 0; j < swept_neurons; ++j)
    for (Index t = 0; t < 16; ++t)
      EXPECT_EQ(codes(t, j), data.alphabets[static_cast<std::size_t>(j)].nearest(t < 15 ? data.W(t, j) : 0.0));
}

/// A dead input takes the level nearest zero and hands on nothing; another order is that of a layer that lies in it.
TEST(Diffusion, MeetsDeadInputsInAnyOrder) {
  for (const bool corrects : {false, true}) {
    PathData data = random_data(300, swept_inputs, swept_neurons, 15, false, 83);
    data.Xq.col(5).setZero();
    GramProducts products = make_products(data, 9, true);
    const std::vector<Index> order = products.order_by_norm();
    const PathData ordered = in_order_of(order, data);
    Tile tile = make_tile(data, 9);
    Visit visit;
    visit.order = order;
    tile.set_visit(visit);
    diffuse_by_gram(products, DiffusionFactor(products, 0.01, corrects), tile);
    const Eigen::MatrixXi found = codes_of(data, tile.codes());
    Tile in_order = make_tile(ordered, 9);
    const GramProducts of_ordered = make_products(ordered, 9, true);
    diffuse_by_gram(of_ordered, DiffusionFactor(of_ordered, 0.01, corrects), in_order);
    const Eigen::MatrixXi expected = codes_of(ordered, in_order.codes());
    EXPECT_EQ(order.back(), 5);
    for (Index t = 0; t < swept_inputs; ++t) EXPECT_EQ(found.row(order[static_cast<std::size_t>(t)]), expected.row(t));
    EXPECT_TRUE((found.row(5).array() == 7).all());
    // And where it is not the last: whatever it is worth, it changes nothing of the others.
    const GramProducts natural = make_products(data, 9, true);
    const DiffusionFactor factor(natural, 0.01, corrects);
    Tile first = make_tile(data, 9);
    diffuse_by_gram(natural, factor, first);
    const Eigen::MatrixXi codes = codes_of(data, first.codes());
    EXPECT_TRUE((codes.row(5).array() == 7).all());
    const Eigen::MatrixXi by_algebra = diffuse_in_double(data, 0.01, corrects);
    Index differing = 0;
    for (Index j = 0; j < swept_neurons; ++j) {
      Eigen::VectorXi of_neuron = by_algebra.col(j);
      of_neuron[5] = 7;  // H is λ there and apart from the rest: dense algebra rounds the weight
      differing += codes.col(j) != of_neuron ? 1 : 0;
    }
    EXPECT_LE(differing, 1);
  }
}

Tile with_visit(const PathData& data, const Visit& visit) {
  const GramProducts products = make_products(data, 9, false);
  Tile tile = make_tile(data, 9);
  tile.set_visit(visit);
  quantize_by_gram(products, tile);
  return tile;
}

/// The mean over seeds of the first weight's value is the weight: four standard errors of a two-point variable.
TEST(StochasticPath, IsUnbiased) {
  PathData data = random_data(50, 3, swept_neurons, 15, true, 78);
  constexpr int seeds = 1000;
  Eigen::VectorXd sums = Eigen::VectorXd::Zero(swept_neurons);
  for (int seed = 0; seed < seeds; ++seed) {
    Visit visit;
    visit.rounding = RoundingKind::stochastic;
    visit.seed = static_cast<std::uint64_t>(seed);
    const Tile tile = with_visit(data, visit);
    for (Index j = 0; j < swept_neurons; ++j)
      sums[j] += static_cast<double>(data.alphabets[static_cast<std::size_t>(j)].value(tile.codes()[static_cast<std::size_t>(j * 3)]));
  }
  Index within = 0;
  for (Index j = 0; j < swept_neurons; ++j) {
    const Alphabet& alphabet = data.alphabets[static_cast<std::size_t>(j)];
    const double w = data.W(0, j);
    if (std::abs(w) >= static_cast<double>(alphabet.value(alphabet.levels() - 1))) continue;  // clipped
    ++within;
    const double spacing = 2.0 * static_cast<double>(alphabet.step());
    const double position = w / spacing - std::floor(w / spacing);
    const double deviation = spacing * std::sqrt(position * (1 - position));
    EXPECT_NEAR(sums[j] / seeds, w, 4 * deviation / std::sqrt(static_cast<double>(seeds)) + 1e-6) << "neuron " << j;
  }
  EXPECT_GT(within, swept_neurons / 2);
}

TEST(Thresholds, AThresholdOfZeroIsThePathAndALargeOneAllZeros) {
  const PathData data = random_data(100, swept_inputs, swept_neurons, 15, false, 79);
  const Tile plain = with_visit(data, {});
  Index zeros = plain.zeros();
  for (const double threshold : {0.0, 2.0, 6.0, 1e6}) {
    Visit visit;
    visit.rounding = RoundingKind::soft;
    visit.threshold = threshold;
    const Tile tile = with_visit(data, visit);
    if (threshold == 0) {
      EXPECT_TRUE(std::equal(tile.codes().begin(), tile.codes().end(), plain.codes().begin()));
      continue;
    }
    EXPECT_GT(tile.zeros(), zeros) << threshold;
    zeros = tile.zeros();
  }
  EXPECT_EQ(zeros, swept_inputs * swept_neurons);
}

/// The blocked path in residual form.
Eigen::MatrixXi residual_codes(const PathData& data, const Visit& visit) {
  const PathShape shape = path_shape(data, {7, 128, swept_tile_width, 1, false});
  TilePath path(shape, swept_tile_width, data.alphabets);
  path.set_visit(visit);
  for (Index j = 0; j < data.neurons(); ++j)
    std::copy_n(data.W.col(j).data(), data.inputs(), path.weights().data() + j * data.inputs());
  InputBlock block(shape);
  for (Index first = 0; first < data.inputs(); first += 7) {
    fill_block(data, first, std::min<Index>(7, data.inputs() - first), block);
    block.form_products(1);
    path.advance(block);
  }
  return codes_of(data, path.codes());
}

class SparsePath : public ::testing::TestWithParam<std::tuple<RoundingKind, int, bool>> {
 protected:
  /// The same layer with the alphabets that the threshold asks for.
  static PathData with_threshold(PathData data, double steps) {
    if (std::get<0>(GetParam()) == RoundingKind::hard)
      for (Alphabet& alphabet : data.alphabets) alphabet = Alphabet::from_step(alphabet.levels(), alphabet.step(), steps);
    return data;
  }
  static Visit visit_with(double steps) {
    Visit visit;
    visit.rounding = std::get<0>(GetParam());
    visit.threshold = steps;
    return visit;
  }
  /// What a code has to be to its argument, whatever the level: the zeros that λ asks for, and with hard no others.
  static void expect_zeros(const ReferencePath& path, const Alphabet& alphabet, double lambda) {
    const int middle = (alphabet.levels() - 1) / 2;
    for (std::size_t t = 0; t < path.codes.size(); ++t) {
      if (std::abs(path.arguments[t]) <= lambda) {
        EXPECT_EQ(path.codes[t], middle);
      } else if (std::get<0>(GetParam()) == RoundingKind::hard && lambda > 0) {
        EXPECT_EQ(path.codes[t] > middle, path.arguments[t] > 0) << path.arguments[t];
      }
    }
  }
};

TEST_P(SparsePath, IsTheReferenceOnExactData) {
  const auto [rounding, levels, shared] = GetParam();
  for (const double steps : {0.0, 1.0, 2.0, 3.0}) {
    const PathData data = with_threshold(exact_data(96, 16, swept_inputs, swept_neurons, levels, shared, false, 81), steps);
    const Eigen::MatrixXi residual = residual_codes(data, visit_with(steps));
    const Tile gram = with_visit(data, visit_with(steps));
    EXPECT_EQ(codes_of(data, gram.codes()), residual) << steps;
    if (steps == 0) {
      EXPECT_EQ(residual, residual_codes(data, {}));
    }
    for (Index j = 0; j < swept_neurons; ++j) {
      const Alphabet& alphabet = data.alphabets[static_cast<std::size_t>(j)];
      const double lambda = threshold_of(steps, alphabet.step());
      const ReferencePath path = reference_path(data.X.cast<double>(), data.Xq.cast<double>(), data.W.col(j).cast<double>(),
                                                alphabet, rounding, lambda);
      for (Index t = 0; t < swept_inputs; ++t)
        EXPECT_EQ(residual(t, j), path.codes[static_cast<std::size_t>(t)]) << steps << " steps, input " << t << ", neuron " << j;
      expect_zeros(path, alphabet, lambda);
    }
  }
}

TEST_P(SparsePath, IsTheReferenceOnRandomDataButForNearTies) {
  const auto [rounding, levels, shared] = GetParam();
  for (const double steps : {0.7, 2.5}) {
    const PathData data = with_threshold(random_data(300, swept_inputs, swept_neurons, levels, shared, 82), steps);
    const Eigen::MatrixXi found = residual_codes(data, visit_with(steps));
    Index differing = 0;
    Index zeros = 0;
    for (Index j = 0; j < swept_neurons; ++j) {
      const Alphabet& alphabet = data.alphabets[static_cast<std::size_t>(j)];
      const double lambda = threshold_of(steps, alphabet.step());
      const ReferencePath path = reference_path(data.X.cast<double>(), data.Xq.cast<double>(), data.W.col(j).cast<double>(),
                                                alphabet, rounding, lambda);
      expect_zeros(path, alphabet, lambda);
      zeros += std::count(path.codes.begin(), path.codes.end(), (levels - 1) / 2);
      differing += found.col(j) != Eigen::Map<const Eigen::VectorXi>(path.codes.data(), swept_inputs) ? 1 : 0;
    }
    EXPECT_GT(zeros, 0);
    EXPECT_LE(differing, 1) << steps;
  }
}

INSTANTIATE_TEST_SUITE_P(Roundings, SparsePath,
                         ::testing::Combine(::testing::Values(RoundingKind::soft, RoundingKind::hard),
                                            ::testing::Values(3, 7, 15), ::testing::Bool()));

TEST(Thresholds, AreNotSwept) {
  const PathData data = random_data(100, swept_inputs, swept_neurons, 15, true, 84);
  const GramProducts products = make_products(data, 9, true);
  Tile tile = make_tile(data, 9);
  Visit visit;
  visit.rounding = RoundingKind::soft;
  visit.threshold = 2;
  tile.set_visit(visit);
  quantize_by_gram(products, tile);
  GramResidual residual(products, tile);
  test::fault([&] { (void)residual.sweep(tile); });
}

// Panels of which the last is partial, inputs beyond what one product takes, neurons that do not fill the tile, an order.
class OutputNormsOf : public ::testing::TestWithParam<bool> {};

TEST_P(OutputNormsOf, AreThoseOfTheOutputsThemselves) {
  const bool shared = GetParam();
  for (const auto& [inputs, panel, whole, levels] : {std::tuple<Index, Index, bool, int>{swept_inputs, 7, false, 3},
                                                     {swept_inputs, swept_inputs, true, 255},
                                                     {1100, 128, false, 15},
                                                     {1300, 32, true, 4}}) {
    const PathData data = random_data(300, inputs, swept_neurons, levels, shared, 83);
    GramProducts products = make_products(data, panel, whole, !shared);
    Tile tile = make_tile(data, panel);
    const std::vector<Index> order = whole ? products.order_by_norm() : std::vector<Index>();
    tile.set_visit({.order = order});
    quantize_by_gram(products, tile);
    const double difference = norms_of(data, codes_of(data, tile.codes())).sum();
    const double reference = (data.X.cast<double>() * data.W.cast<double>()).squaredNorm();
    const OutputNorms norms = output_norms(products, tile);
    EXPECT_NEAR(norms.difference, difference, 1e-5 * difference) << inputs << " inputs, panels of " << panel;
    EXPECT_NEAR(norms.reference, reference, 1e-6 * reference) << inputs << " inputs, panels of " << panel;
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, OutputNormsOf, ::testing::Bool());

// From networks that are the same to one far from the other, which the path makes up for.
TEST(OutputNorms, AreToldHoweverFarNetworksAreApart) {
  for (const float apart : {0.0F, 1e-6F, 1e-3F, 1.0F, 30.0F}) {
    PathData data = random_data(300, 90, swept_neurons, 255, false, 85);
    const Eigen::MatrixXf noise = data.X - data.Xq;
    data.X = data.Xq + apart * noise;
    const GramProducts products = make_products(data, 32, false, true);
    Tile tile = make_tile(data, 32);
    quantize_by_gram(products, tile);
    const double difference = norms_of(data, codes_of(data, tile.codes())).sum();
    const double reference = (data.X.cast<double>() * data.W.cast<double>()).squaredNorm();
    const OutputNorms norms = output_norms(products, tile);
    EXPECT_NEAR(norms.difference, difference, 1e-4 * difference) << apart;
    EXPECT_NEAR(norms.reference, reference, 1e-6 * reference) << apart;
  }
}

// Small numbers are no reason not to tell; a residual that all but cancels is, and one of nothing.
TEST(OutputNorms, AreNotToldWhereSinglePrecisionDoesNot) {
  const auto norms_of_path = [](const PathData& data) {
    const GramProducts products = make_products(data, 32, false, !data.shared);
    Tile tile = make_tile(data, 32);
    quantize_by_gram(products, tile);
    return std::pair{output_norms(products, tile), norms_of(data, codes_of(data, tile.codes())).sum()};
  };
  PathData data = random_data(300, 90, swept_neurons, 255, true, 89);
  for (const float scale : {1e-12F, 1e12F}) {
    PathData scaled = data;
    scaled.X *= scale;
    scaled.Xq *= scale;
    scaled.W *= scale;
    scaled.alphabets.clear();
    for (const Alphabet& alphabet : data.alphabets) scaled.alphabets.emplace_back(255, alphabet.step() * 254 * scale);
    const auto [norms, difference] = norms_of_path(scaled);
    EXPECT_NEAR(norms.difference, difference, 1e-4 * difference) << scale;
  }
  // One direction, ever shorter: later inputs make up for earlier ones, until next to nothing is left over.
  for (Index t = 1; t < data.inputs(); ++t) data.X.col(t) = 0.9F * data.X.col(t - 1);
  data.Xq = data.X;
  EXPECT_TRUE(std::isnan(norms_of_path(data).first.difference));
  PathData apart = random_data(300, 90, swept_neurons, 255, false, 89);
  apart.Xq = data.Xq;
  apart.X = data.X * 1.001F;  // which the same inputs make up for
  EXPECT_TRUE(std::isnan(norms_of_path(apart).first.difference));
  for (PathData* zero : {&data, &apart}) {
    zero->X.setZero();
    zero->Xq.setZero();
    EXPECT_TRUE(std::isnan(norms_of_path(*zero).first.reference));
  }
}

// In the order of their norms C is still G + K.
TEST(GramProducts, ComparedAreOrderedTogether) {
  const PathData data = exact_data(96, 16, swept_inputs, swept_neurons, 15, false, false, 87);
  GramProducts compared = make_products(data, 9, true, true);
  const std::vector<Index> order = compared.order_by_norm();
  EXPECT_FALSE(std::ranges::is_sorted(order));
  const PathData ordered = in_order_of(order, data);
  const GramProducts expected = make_products(ordered, 9, true, true);
  for (Index panel = 0; panel < expected.panel_count(); ++panel) {
    const auto size = static_cast<std::size_t>(data.inputs() * expected.width_of(panel));
    EXPECT_TRUE(std::ranges::equal(std::span(compared.whole_C(panel), size), std::span(expected.whole_C(panel), size)));
    EXPECT_TRUE(std::ranges::equal(std::span(compared.K(panel), size), std::span(expected.K(panel), size)));
    EXPECT_EQ(compared.L(panel)[0], expected.L(panel)[0]);
  }
}

// Where one network's column is of nothing, the difference is as large as the other's; sums in fixed point must hold it.
TEST(GramProducts, ComparedHoldDifferencesBeyondEitherNetwork) {
  PathData data = random_data(300, swept_inputs, swept_neurons, 15, false, 88);
  data.X.leftCols(10) *= 1e-6F;
  data.X.rightCols(10) = -100 * data.Xq.rightCols(10);
  const GramProducts products = make_products(data, 9, false, true);
  const Eigen::MatrixXd D = data.X.cast<double>() - data.Xq.cast<double>();
  for (Index panel = 0; panel < products.panel_count(); ++panel) {
    const Index first = panel * products.panel_width();
    const Index width = products.width_of(panel);
    for (Index s = 0; s < width; ++s) {
      const double norm = D.col(first + s).squaredNorm();
      EXPECT_NEAR(products.L(panel)[s * width + s], norm, 1e-5 * norm) << first + s;
    }
  }
}

// What is made of X before its difference is.
TEST(GramProducts, ComparedHaveTheColumnsSumsAndTheProductsOfBothNetworks) {
  for (const bool whole : {false, true}) {
    const PathData data = exact_data(96, 16, swept_inputs, swept_neurons, 15, false, false, 86);
    const GramProducts compared = make_products(data, 9, whole, true);
    const GramProducts alone = make_products(data, 9, whole, false);
    ASSERT_EQ(compared.column_sums().size(), alone.column_sums().size());
    EXPECT_TRUE(std::ranges::equal(compared.column_sums(), alone.column_sums()));
    const Eigen::MatrixXd D = data.X.cast<double>() - data.Xq.cast<double>();
    for (Index panel = 0; panel < alone.panel_count(); ++panel) {
      const Index first = panel * alone.panel_width();
      const Index width = alone.width_of(panel);
      for (Index t = 0; t < data.inputs(); ++t)
        for (Index s = 0; s < width; ++s) {
          const double K = data.Xq.col(t).cast<double>().dot(D.col(first + s));
          EXPECT_EQ(compared.K(panel)[t * width + s], static_cast<float>(K));
          if (whole) {
            EXPECT_EQ(compared.whole_C(panel)[t * width + s], alone.whole_C(panel)[t * width + s]);
          }
          if (t < first + s) continue;
          const Index at = (t - first) * width + s;
          EXPECT_EQ(compared.C(panel)[at], alone.C(panel)[at]);
          EXPECT_EQ(compared.G(panel)[at], alone.G(panel)[at]);
          EXPECT_EQ(compared.L(panel)[at], static_cast<float>(D.col(t).dot(D.col(first + s))));
        }
    }
  }
}

}  // namespace
}  // namespace gpfq::quant
