// SPDX-License-Identifier: Apache-2.0
// Comparison with the reference path, two neurons at a time.
#include "support/reference_comparison.hpp"

#include <algorithm>
#include <cmath>

#include "gpfq/base/parallel.hpp"
#include "gpfq/quant/reference_path.hpp"

namespace gpfq::test {
namespace {

/// Distance of an argument from the nearest decision boundary, in steps. Levels are odd multiples of the step where
/// their number is even, else even ones; boundaries are the multiples in between.
double boundary_distance(double argument, double step, int levels) {
  const double position = argument / step + (levels % 2 == 0 ? 0 : 1);
  return std::abs(position - 2 * std::round(position / 2));
}

}  // namespace

ReferenceComparison compare_with_reference(const Eigen::MatrixXi& codes, const Eigen::MatrixXd& X,
                                           const Eigen::MatrixXd& Xq, const Eigen::MatrixXd& W,
                                           const std::vector<double>& steps, int levels, Index neuron_stride) {
  constexpr int threads = 2;
  std::vector<ReferenceComparison> parts(static_cast<std::size_t>(ceil_div(codes.rows(), neuron_stride)));
  parallel_for(static_cast<Index>(parts.size()), threads, [&](Index i) {
    ReferenceComparison& part = parts[static_cast<std::size_t>(i)];
    const Index neuron = i * neuron_stride;
    const double step = steps[static_cast<std::size_t>(neuron)];
    const quant::Alphabet alphabet(levels, static_cast<float>(step));
    const quant::ReferencePath path = quant::reference_path(X, Xq, W.row(neuron).transpose(), alphabet);
    for (Index t = 0; t < codes.cols(); ++t) {
      if (path.codes[static_cast<std::size_t>(t)] == codes(neuron, t)) {
        ++part.equal;
      } else if (part.neurons_with_differences == 0) {
        part.neurons_with_differences = 1;
        part.farthest = boundary_distance(path.arguments[static_cast<std::size_t>(t)], step, levels);
      }
    }
    part.weights = codes.cols();
  });
  ReferenceComparison all;
  for (const ReferenceComparison& part : parts) {
    all.weights += part.weights;
    all.equal += part.equal;
    all.neurons_with_differences += part.neurons_with_differences;
    all.farthest = std::max(all.farthest, part.farthest);
  }
  return all;
}

}  // namespace gpfq::test
