// SPDX-License-Identifier: Apache-2.0
// Random patches and ridge regression: a network with weights like a trained one's (structure,
// redundancy, unlike sizes) in closed form.
#include "demo/classifier.hpp"

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <utility>

#include "demo/counter_random.hpp"
#include "gpfq/base/error.hpp"

namespace gpfq::demo {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Moments = Eigen::MatrixXd;

constexpr Index hidden1_neurons = 1024;
constexpr Index hidden2_neurons = 512;

// Ridge strengths, relative to a feature's mean variance, and the share of patches in hidden2's
// targets: the best held-out accuracy before and after quantizing to three levels. Weaker ridges
// fit as well in float and lose more, because large weights that cancel do not survive rounding.
constexpr double hidden2_ridge = 0.03;
constexpr double output_ridge = 0.01;
constexpr float hidden2_patch_share = 0.7F;

// Kinds of random draws: each its own stream of numbers.
enum Stream : std::uint64_t { hidden1_patches = 0, hidden2_patches = 1, hidden2_splits = 2 };

/// Pixels as the config's preprocess gives them: samples × 784, 0..1.
Matrix to_inputs(const Digits& digits) {
  using Bytes = Eigen::Matrix<std::uint8_t, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  return Eigen::Map<const Bytes>(digits.images.data(), digits.count, digit_pixels).cast<float>() / 255.0F;
}

/// A square of the image, at least two pixels from its border, where digits are.
struct Patch {
  Index row;
  Index column;
  Index side;
};

Patch draw_patch(CounterRandom& random) {
  constexpr Index border = 2;
  constexpr Index smallest_side = 6;
  constexpr Index largest_side = 12;
  const auto below = [&random](Index count) {
    return static_cast<Index>(random.below(static_cast<std::uint64_t>(count)));
  };
  const Index side = smallest_side + below(largest_side - smallest_side + 1);
  const Index places = digit_side - 2 * border - side + 1;
  const Index row = border + below(places);
  return {row, border + below(places), side};
}

/// Inside the patch the difference of two images, elsewhere 0.
Eigen::RowVectorXf patch_difference(const Patch& patch, const Matrix& inputs, Index one, Index other) {
  Eigen::RowVectorXf weights = Eigen::RowVectorXf::Zero(digit_pixels);
  for (Index row = patch.row; row < patch.row + patch.side; ++row) {
    const Index first = row * digit_side + patch.column;
    weights.segment(first, patch.side) =
        inputs.row(one).segment(first, patch.side) - inputs.row(other).segment(first, patch.side);
  }
  return weights;
}

/// Weights of `neurons` detectors, each telling a patch of one training image from another digit's.
Matrix draw_detectors(Index neurons, const Digits& digits, const Matrix& inputs, std::uint64_t seed, Stream stream) {
  constexpr float least_difference = 1;  // squared; below, both are blank there
  Matrix weight(neurons, digit_pixels);
  for (Index neuron = 0; neuron < neurons; ++neuron) {
    CounterRandom random(seed, stream, static_cast<std::uint64_t>(neuron));
    const Patch patch = draw_patch(random);
    // Every patch has strokes of some images, so tries end; the bound guards against images without any.
    for (int tries = 0;; ++tries) {
      require(tries < 100000, "train_classifier: no two training images differ in a patch");
      const auto one = static_cast<Index>(random.below(static_cast<std::uint64_t>(digits.count)));
      const auto other = static_cast<Index>(random.below(static_cast<std::uint64_t>(digits.count)));
      if (digits.labels[static_cast<std::size_t>(one)] == digits.labels[static_cast<std::size_t>(other)]) continue;
      weight.row(neuron) = patch_difference(patch, inputs, one, other);
      if (weight.row(neuron).squaredNorm() > least_difference) break;
    }
  }
  return weight;
}

/// Per neuron: +1 for five digits drawn at random and −1 for the others (neurons × 10). Five and
/// five, because a neuron for which all digits are alike would learn nothing.
Matrix draw_splits(Index neurons, std::uint64_t seed) {
  Matrix splits(neurons, digit_classes);
  for (Index neuron = 0; neuron < neurons; ++neuron) {
    std::array<float, digit_classes> side{1, 1, 1, 1, 1, -1, -1, -1, -1, -1};
    CounterRandom random(seed, hidden2_splits, static_cast<std::uint64_t>(neuron));
    for (std::size_t i = side.size() - 1; i > 0; --i) std::swap(side[i], side[random.below(i + 1)]);
    splits.row(neuron) = Eigen::Map<const Eigen::RowVectorXf>(side.data(), digit_classes);
  }
  return splits;
}

/// samples × neurons: what each neuron should say to each image's digit.
Matrix targets_of(const Digits& digits, const Matrix& said_to_digit) {
  Matrix targets(digits.count, said_to_digit.rows());
  for (Index i = 0; i < digits.count; ++i)
    targets.row(i) = said_to_digit.col(digits.labels[static_cast<std::size_t>(i)]).transpose();
  return targets;
}

/// Columns to mean 0 and deviation 1. @returns the means and deviations that they had
std::pair<Eigen::RowVectorXf, Eigen::RowVectorXf> standardize(Matrix& values) {
  const Eigen::RowVectorXf mean = values.colwise().mean();
  values.rowwise() -= mean;
  const Eigen::RowVectorXf deviation = (values.colwise().squaredNorm() / static_cast<float>(values.rows())).cwiseSqrt();
  values.array().rowwise() /= deviation.array();
  return {mean, deviation};
}

/// A layer with these weights, scaled and biased so that its outputs are standardized.
/// @param values  out: the outputs after ReLU, what the next layer sees
TrainedLayer hidden_layer(const std::string& name, Matrix weight, const Matrix& inputs, Matrix& values) {
  values.noalias() = inputs * weight.transpose();
  const auto [mean, deviation] = standardize(values);
  values = values.cwiseMax(0.0F);
  weight.array().colwise() /= deviation.transpose().array();
  const Eigen::RowVectorXf bias = -(mean.array() / deviation.array()).matrix();
  return {name,
          weight.rows(),
          weight.cols(),
          {weight.data(), weight.data() + weight.size()},
          {bias.data(), bias.data() + bias.size()}};
}

/// A linear map with an intercept.
struct Regression {
  Matrix weight;            ///< targets × features
  Eigen::RowVectorXf bias;  ///< targets
};

/// argmin Σ ‖W x + b − y‖² + strength · v · ‖W‖², v the features' mean sum of squares about the mean:
/// W = (XᵀX − m μμᵀ + strength · v · I)⁻¹ (XᵀY − m μ ηᵀ), μ and η the means. In double, as cancellation asks.
Regression ridge_regression(const Matrix& features, const Matrix& targets, double strength) {
  constexpr Index slab = 500;  // samples in double at a time: memory
  const Index width = features.cols();
  Moments second = Moments::Zero(width, width);
  Moments cross = Moments::Zero(width, targets.cols());
  Eigen::VectorXd feature_sum = Eigen::VectorXd::Zero(width);
  Eigen::VectorXd target_sum = Eigen::VectorXd::Zero(targets.cols());
  for (Index first = 0; first < features.rows(); first += slab) {
    const Index count = std::min(slab, features.rows() - first);
    const Moments x = features.middleRows(first, count).transpose().cast<double>();
    const Moments y = targets.middleRows(first, count).cast<double>();
    second.selfadjointView<Eigen::Lower>().rankUpdate(x);
    cross.noalias() += x * y;
    feature_sum += x.rowwise().sum();
    target_sum += y.colwise().sum().transpose();
  }
  const auto samples = static_cast<double>(features.rows());
  second.selfadjointView<Eigen::Lower>().rankUpdate(feature_sum, -1 / samples);
  cross.noalias() -= feature_sum * target_sum.transpose() / samples;
  second.diagonal().array() += strength * second.trace() / static_cast<double>(width);
  const Eigen::LLT<Eigen::Ref<Moments>> factor(second);  // in place
  require(factor.info() == Eigen::Success, "train_classifier: the features' moments are not positive definite");
  factor.solveInPlace(cross);
  const Eigen::RowVectorXd bias = (target_sum - cross.transpose() * feature_sum).transpose() / samples;
  return {cross.transpose().cast<float>(), bias.cast<float>()};
}

/// hidden2's targets: the digits' split into fives, and what a patch of the image looks like. The
/// second keeps the neurons different; from the first alone they would all be mixtures of ten.
Matrix hidden2_targets(const Digits& digits, const Matrix& inputs, std::uint64_t seed) {
  Matrix targets = inputs * draw_detectors(hidden2_neurons, digits, inputs, seed, hidden2_patches).transpose();
  standardize(targets);
  targets *= hidden2_patch_share;
  targets += targets_of(digits, draw_splits(hidden2_neurons, seed));
  return targets;
}

}  // namespace

std::vector<TrainedLayer> train_classifier(const Digits& digits, std::uint64_t seed) {
  require(digits.count >= 1000, "train_classifier: at least 1000 images are needed");
  const Matrix inputs = to_inputs(digits);
  std::vector<TrainedLayer> layers;
  Matrix hidden1;
  Matrix hidden2;
  layers.push_back(
      hidden_layer("hidden1", draw_detectors(hidden1_neurons, digits, inputs, seed, hidden1_patches), inputs, hidden1));
  layers.push_back(hidden_layer("hidden2",
                                ridge_regression(hidden1, hidden2_targets(digits, inputs, seed), hidden2_ridge).weight,
                                hidden1, hidden2));
  Matrix one_against_all = Matrix::Constant(digit_classes, digit_classes, -1.0F);
  one_against_all.diagonal().setConstant(1.0F);
  const Regression output = ridge_regression(hidden2, targets_of(digits, one_against_all), output_ridge);
  layers.push_back({"output",
                    output.weight.rows(),
                    output.weight.cols(),
                    {output.weight.data(), output.weight.data() + output.weight.size()},
                    {output.bias.data(), output.bias.data() + output.bias.size()}});
  return layers;
}

}  // namespace gpfq::demo
