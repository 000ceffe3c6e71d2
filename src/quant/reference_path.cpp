// SPDX-License-Identifier: Apache-2.0
// The greedy path as it is written down.
#include "gpfq/quant/reference_path.hpp"

#include "gpfq/base/error.hpp"

namespace gpfq::quant {

ReferencePath reference_path(const Eigen::MatrixXd& X, const Eigen::MatrixXd& Xq, const Eigen::VectorXd& w,
                             const Alphabet& alphabet, RoundingKind rounding, double lambda) {
  require(X.rows() == Xq.rows() && X.cols() == Xq.cols() && X.cols() == w.size(), "reference_path: shapes disagree");
  ReferencePath path;
  path.residual = Eigen::VectorXd::Zero(X.rows());
  Eigen::VectorXd& u = path.residual;
  for (Index t = 0; t < w.size(); ++t) {
    u += w[t] * X.col(t);  // arrive with the float weight
    const double norm = Xq.col(t).squaredNorm();
    const double argument = norm == 0 ? 0.0 : Xq.col(t).dot(u) / norm;
    const int code = alphabet.rounded(argument, rounding, lambda);
    u -= static_cast<double>(alphabet.value(code)) * Xq.col(t);  // leave with the quantized one
    path.codes.push_back(code);
    path.arguments.push_back(argument);
  }
  return path;
}

}  // namespace gpfq::quant
