// SPDX-License-Identifier: Apache-2.0
// Diffusion and sweeps by panels. The factor is made in double precision: H may be close to singular.
#include "gpfq/quant/gram_sweeps.hpp"

#include <Eigen/Cholesky>
#include <Eigen/Core>

#include <algorithm>
#include <cmath>

#include "gpfq/base/error.hpp"

namespace gpfq::quant {
namespace {

using Matrix = Eigen::MatrixXf;
using ConstPacked = Eigen::Map<const Matrix>;
using Packed = Eigen::Map<Matrix>;
using Double = Eigen::MatrixXd;

// What rounding in single precision may do to an entry of C W − G Q, in units of ‖Xq_t‖·‖Xq q‖.
constexpr double product_noise = 0x1p-20;

/// Whole panels as one matrix.
Double gathered(const GramProducts& products, bool is_C) {
  Double all(products.inputs(), products.inputs());
  for (Index panel = 0; panel < products.panel_count(); ++panel) {
    const Index width = products.width_of(panel);
    const ConstPacked rows(is_C ? products.whole_C(panel) : products.whole_G(panel), width, products.inputs());
    all.middleCols(panel * products.panel_width(), width) = rows.transpose().cast<double>();
  }
  return all;
}

}  // namespace

DiffusionFactor DiffusionFactor::empty(const GramProducts& products, bool corrects_target) {
  DiffusionFactor result;
  for (Index panel = 0; panel < products.panel_count(); ++panel) {
    const Index width = products.width_of(panel);
    result.factor_.emplace_back((products.inputs() - panel * products.panel_width()) * width);
    if (corrects_target && !products.is_shared()) result.target_.emplace_back(products.inputs() * width);
  }
  return result;
}

/// With J the reversal, J H J = L Lᵀ gives H = R Rᵀ, R = J L J upper triangular, and H⁻¹ = R⁻ᵀ R⁻¹: U = R⁻¹.
DiffusionFactor::DiffusionFactor(const GramProducts& products, double damping, bool corrects_target)
    : DiffusionFactor(empty(products, corrects_target)) {
  const Index N = products.inputs();
  Double H = gathered(products, false);
  const double mean = H.diagonal().mean();
  const double lambda = damping * (mean > 0 ? mean : 1.0);
  H.diagonal().array() += lambda;
  H.reverseInPlace();
  const Eigen::LLT<Eigen::Ref<Double>> cholesky(H);  // in place
  if (cholesky.info() != Eigen::Success)
    throw_input("the inputs' products are not positive definite with a damping of {:g}: expected a larger "
                "'quantization.damping'",
                damping);
  if (corrects_target && !products.is_shared()) {
    Double M = gathered(products, true);
    M.diagonal().array() += lambda;
    M = M.colwise().reverse().eval();
    cholesky.solveInPlace(M);
    M = M.colwise().reverse().eval();
    for (Index panel = 0; panel < products.panel_count(); ++panel) {
      const Index width = products.width_of(panel);
      Packed(target_[static_cast<std::size_t>(panel)].data(), width, N) =
          M.middleCols(panel * products.panel_width(), width).transpose().cast<float>();
    }
  }
  Double inverse = Double::Identity(N, N);
  H.triangularView<Eigen::Lower>().solveInPlace(inverse);  // L⁻¹, lower
  for (Index panel = 0; panel < products.panel_count(); ++panel) {
    const Index width = products.width_of(panel);
    const Index first = panel * products.panel_width();
    float* values = factor_[static_cast<std::size_t>(panel)].data();
    for (Index s = first; s < N; ++s)      // U_ts / U_tt with U_ts = L⁻¹_(N−1−t, N−1−s), at row s, column t
      for (Index t = first; t < first + width; ++t)
        values[(s - first) * width + t - first] =
            s < t ? 0.0F : static_cast<float>(inverse(N - 1 - t, N - 1 - s) / inverse(N - 1 - t, N - 1 - t));
  }
}

std::vector<std::span<float>> DiffusionFactor::parts() {
  std::vector<std::span<float>> result;
  for (AlignedBuffer<float>& panel : factor_) result.push_back(panel.span());
  for (AlignedBuffer<float>& panel : target_) result.push_back(panel.span());
  return result;
}

Index DiffusionFactor::bytes(Index inputs, Index panel_width, bool has_target) {
  Index entries = has_target ? inputs * inputs : 0;
  for (Index first = 0; first < inputs; first += panel_width)
    entries += (inputs - first) * std::min(panel_width, inputs - first);
  return entries * 4;
}

Index DiffusionFactor::work_bytes(Index inputs, bool has_target) { return inputs * inputs * 8 * (has_target ? 3 : 2); }

void diffuse_by_gram(const GramProducts& products, const DiffusionFactor& factor, Tile& tile) {
  const Index n = tile.width();
  const Index N = products.inputs();
  AlignedBuffer<float> V(N * n);  // N×n, the n neurons of an input contiguous
  AlignedBuffer<float> live(products.panel_width());
  Packed all(V.data(), n, N);
  if (factor.corrects_target()) {
    AlignedBuffer<float> W(n * products.panel_width());
    for (Index panel = 0; panel < products.panel_count(); ++panel) {
      const Index width = products.width_of(panel);
      tile.copy_weights(panel * products.panel_width(), width, W.data());
      all.noalias() += ConstPacked(W.data(), n, width) * ConstPacked(factor.target(panel), width, N);
    }
  } else {
    tile.copy_weights(0, N, V.data());
  }
  for (Index panel = 0; panel < products.panel_count(); ++panel) {
    const Index first = panel * products.panel_width();
    const Index width = products.width_of(panel);
    for (Index t = 0; t < width; ++t) live[t] = products.inverse_norm()[first + t] > 0 ? 1.0F : 0.0F;
    tile.diffuse_next(width, factor.factor(panel), live.data(), V.data() + first * n);
    const Index later = N - first - width;
    if (later == 0) break;
    Packed(V.data() + (first + width) * n, n, later).noalias() -=
        ConstPacked(tile.D(), n, width) * ConstPacked(factor.factor(panel) + width * width, width, later);
  }
}

GramResidual::GramResidual(const GramProducts& products, const Tile& tile)
    : products_(products), P_(products.inputs() * tile.width()), relative_norm_(tile.width()), noise_(tile.width()) {
  const Index n = tile.width();
  const Index N = products.inputs();
  AlignedBuffer<float> GQ(N * n);
  AlignedBuffer<float> values(n * products.panel_width());
  Packed target(P_.data(), n, N);
  Packed reached(GQ.data(), n, N);
  for (Index panel = 0; panel < products.panel_count(); ++panel) {
    const Index width = products.width_of(panel);
    const ConstPacked block(values.data(), n, width);
    tile.copy_weights(panel * products.panel_width(), width, values.data());
    target.noalias() += block * ConstPacked(products.whole_C(panel), width, N);
    tile.copy_values(panel * products.panel_width(), width, values.data());
    reached.noalias() += block * ConstPacked(products.whole_G(panel), width, N);
  }
  // ‖u‖² = ‖Xw‖² − 2 qᵀCw + qᵀGq
  AlignedBuffer<double> reached_norm(n);
  for (Index first = 0; first < N; first += products.panel_width()) {
    const Index width = std::min(products.panel_width(), N - first);
    tile.copy_values(first, width, values.data());
    for (Index t = 0; t < width; ++t)
      for (Index j = 0; j < n; ++j) {
        const double q = values[t * n + j];
        const double of_reached = q * static_cast<double>(GQ[(first + t) * n + j]);
        reached_norm[j] += of_reached;
        relative_norm_[j] += of_reached - 2 * q * static_cast<double>(P_[(first + t) * n + j]);
      }
  }
  for (Index j = 0; j < n; ++j)
    noise_[j] = static_cast<float>(product_noise * std::sqrt(std::max(0.0, reached_norm[j])));
  target -= reached;
}

Index GramResidual::sweep(Tile& tile) {
  const Index n = tile.width();
  const Index N = products_.inputs();
  Index changes = 0;
  AlignedBuffer<float> at_entry(n * products_.panel_width());
  for (Index panel = 0; panel < products_.panel_count(); ++panel) {
    const Index first = panel * products_.panel_width();
    const Index width = products_.width_of(panel);
    std::copy_n(P_.data() + first * n, width * n, at_entry.data());
    const Index changed = tile.refine(first, width, products_.G(panel), products_.inverse_norm() + first,
                                      at_entry.data(), noise_.data());
    if (changed == 0) continue;
    changes += changed;
    Packed(P_.data(), n, N).noalias() -= ConstPacked(tile.D(), n, width) * ConstPacked(products_.whole_G(panel), width, N);
  }
  return changes;
}

Index GramResidual::bytes(Index inputs, Index panel_width, Index tile_width) {
  return tile_width * (8 * inputs + 4 * panel_width + 24);
}

}  // namespace gpfq::quant
