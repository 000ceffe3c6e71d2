// SPDX-License-Identifier: Apache-2.0
// The definition of the greedy path, one column at a time in double precision. The fast forms are
// held to it by tests; nothing here is ever optimized.
#pragma once

#include <Eigen/Core>

#include <vector>

#include "gpfq/quant/alphabet.hpp"

namespace gpfq::quant {

/// One neuron's path: codes, the arguments that were rounded, and the residual Xw − Xq q.
struct ReferencePath {
  std::vector<int> codes;
  std::vector<double> arguments;
  Eigen::VectorXd residual;
};

/// Quantizes one neuron: u_0 = 0 and for t = 1..N
///   q_t = nearest(⟨Xq_t, u_{t−1} + w_t X_t⟩ / ‖Xq_t‖²),   u_t = u_{t−1} + w_t X_t − q_t Xq_t;
/// a column Xq_t of zeros takes the level nearest zero. The sparse paths round by soft or hard instead of to the nearest.
/// Source: Lybrand & Saab, JMLR 22(156), 2021, equation (2) and section 6 (the data of the quantized network).
///
/// @param X   m×N inputs in the float network    @param Xq  m×N inputs in the quantized network
/// @param w   N weights          @param lambda  of soft and hard
/// @throws Error (fault) when shapes disagree.   Cost: 6·m·N flops.
[[nodiscard]] ReferencePath reference_path(const Eigen::MatrixXd& X, const Eigen::MatrixXd& Xq,
                                           const Eigen::VectorXd& w, const Alphabet& alphabet,
                                           RoundingKind rounding = RoundingKind::nearest, double lambda = 0);

}  // namespace gpfq::quant
