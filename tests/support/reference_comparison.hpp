// SPDX-License-Identifier: Apache-2.0
// Codes of a job held against the definition of the path, weight by weight.
#pragma once

#include <Eigen/Core>
#include <vector>

#include "gpfq/base/types.hpp"

namespace gpfq::test {

/// How codes agree with the reference.
struct ReferenceComparison {
  Index weights = 0;
  Index equal = 0;
  Index neurons_with_differences = 0;
  /// Largest distance, in steps, of the reference's argument from a decision boundary where a neuron first differs.
  /// What follows in that neuron may differ by right: its residual is another one.
  double farthest = 0;

  [[nodiscard]] double equal_fraction() const { return static_cast<double>(equal) / static_cast<double>(weights); }
};

/// Runs quant::reference_path for neurons first, first + stride, ...
/// @param codes, W  neurons × inputs    @param X, Xq  samples × inputs    @param steps  of each neuron
[[nodiscard]] ReferenceComparison compare_with_reference(const Eigen::MatrixXi& codes, const Eigen::MatrixXd& X,
                                                         const Eigen::MatrixXd& Xq, const Eigen::MatrixXd& W,
                                                         const std::vector<double>& steps, int levels,
                                                         Index neuron_stride = 1);

}  // namespace gpfq::test
