// SPDX-License-Identifier: Apache-2.0
// Gram form: sums of panels in fixed point, then a right-looking recursion by panels.
#include "gpfq/quant/gram_path.hpp"

#include <Eigen/Core>

#include <algorithm>
#include <cmath>

#include "gpfq/base/error.hpp"
#include "gpfq/base/parallel.hpp"

namespace gpfq::quant {
namespace {

using Matrix = Eigen::MatrixXf;
using ConstColumns = Eigen::Map<const Matrix, 0, Eigen::OuterStride<>>;
using ConstPacked = Eigen::Map<const Matrix>;
using Packed = Eigen::Map<Matrix>;

// A panel's objects, and what aligning its six buffers adds: weighty where kernels are small and problems many.
constexpr Index panel_overhead_bytes = 1024;

std::vector<int> exponents(std::span<const double> bounds, double factor) {
  std::vector<int> result;
  for (const double bound : bounds) result.push_back(bound_exponent(bound * factor));
  return result;
}

/// Adds (columns of `left`)ᵀ (columns of `right`) to a panel's sum; `right` begins with the columns of `left`. Of the
/// square above the diagonal, which nobody reads, the larger part is left out.
void add_panel(const ConstColumns& left, const ConstColumns& right, FixedPointSum& sum) {
  const Index half = left.cols() / 2;
  Matrix partial(left.cols(), right.cols());
  partial.topLeftCorner(half, half).noalias() = left.leftCols(half).transpose() * right.leftCols(half);
  partial.bottomLeftCorner(left.cols() - half, half).setZero();
  partial.rightCols(right.cols() - half).noalias() = left.transpose() * right.rightCols(right.cols() - half);
  sum.add(partial.data(), left.cols());
}

}  // namespace

GramProducts::GramProducts(Index inputs, Index panel_width, bool shared)
    : inputs_(inputs), panel_width_(panel_width), shared_(shared), inverse_norm_(inputs) {
  require(inputs > 0 && panel_width > 0, "GramProducts: empty shape");
}

Index GramProducts::bytes(Index inputs, Index panel_width, bool shared) {
  Index entries = 0;
  for (Index first = 0; first < inputs; first += panel_width)
    entries += (inputs - first) * std::min(panel_width, inputs - first);
  // Sums (8 bytes) and numbers (4 bytes) of G and C side by side while they are turned; objects and aligned ends.
  const Index panels = ceil_div(inputs, panel_width);
  return (entries * 12 + panels * panel_overhead_bytes) * (shared ? 1 : 2) + inputs * 40 * panels;
}

void GramProducts::start(std::span<const double> quantized_bounds, std::span<const double> analog_bounds,
                         Index samples) {
  require(static_cast<Index>(quantized_bounds.size()) == inputs_, "GramProducts: one bound per input");
  G_sums_.clear();
  C_sums_.clear();
  for (Index panel = 0; panel < panel_count(); ++panel) {
    const Index first = panel * panel_width_;
    const auto at = static_cast<std::size_t>(first);
    const auto width = static_cast<std::size_t>(width_of(panel));
    const std::vector<int> rows = exponents(quantized_bounds.subspan(at), static_cast<double>(samples));
    G_sums_.emplace_back(inputs_ - first, width_of(panel));
    G_sums_.back().start(rows, exponents(quantized_bounds.subspan(at, width), 1.0));
    if (shared_) continue;
    C_sums_.emplace_back(inputs_ - first, width_of(panel));
    C_sums_.back().start(rows, exponents(analog_bounds.subspan(at, width), 1.0));
  }
}

void GramProducts::add(const float* Xq, const float* X, Index rows, Index stride, int threads) {
  const Index panels = panel_count();
  parallel_for(panels * (shared_ ? 1 : 2), threads, [&](Index piece) {
    const Index panel = piece % panels;
    const bool is_G = piece < panels;
    const Index first = panel * panel_width_;
    const Eigen::OuterStride<> outer(stride);
    const ConstColumns left((is_G ? Xq : X) + first * stride, rows, width_of(panel), outer);
    const ConstColumns right(Xq + first * stride, rows, inputs_ - first, outer);
    add_panel(left, right, (is_G ? G_sums_ : C_sums_)[static_cast<std::size_t>(panel)]);
  });
}

void GramProducts::finish(RowReducer& reducer) {
  const auto turn = [&](std::vector<FixedPointSum>& sums, std::vector<AlignedBuffer<float>>& numbers) {
    numbers.clear();
    for (FixedPointSum& sum : sums) {
      reducer.sum(sum.raw());
      AlignedBuffer<float>& panel = numbers.emplace_back(sum.rows() * sum.columns());
      for (Index t = 0; t < sum.rows(); ++t)
        for (Index s = 0; s < sum.columns(); ++s) panel[t * sum.columns() + s] = static_cast<float>(sum.value(t, s));
      sum = FixedPointSum(0, 0);
    }
    sums.clear();
  };
  turn(G_sums_, G_);
  if (!shared_) turn(C_sums_, C_);
  for (Index t = 0; t < inputs_; ++t) {
    const Index panel = t / panel_width_;
    const Index at = t - panel * panel_width_;
    inverse_norm_[t] = inverse_of_norm(G(panel)[at * width_of(panel) + at]);
  }
}

Index GramProducts::dead_count() const {
  return std::count(inverse_norm_.data(), inverse_norm_.data() + inputs_, 0.0F);
}

void quantize_by_gram(const GramProducts& products, Tile& tile) {
  const Index n = tile.width();
  AlignedBuffer<float> P(products.inputs() * n);  // N×n, the n neurons of an input contiguous
  for (Index panel = 0; panel < products.panel_count(); ++panel) {
    const Index first = panel * products.panel_width();
    const Index width = products.width_of(panel);
    tile.quantize_next(width, products.G(panel), products.C(panel), products.inverse_norm() + first,
                       P.data() + first * n);
    const Index later = products.inputs() - first - width;
    if (later == 0) break;
    const ConstPacked G(products.G(panel) + width * width, width, later);
    const ConstPacked C(products.C(panel) + width * width, width, later);
    const ConstPacked W(tile.W(), n, width);
    const ConstPacked Q(tile.Q(), n, width);
    Packed rest(P.data() + (first + width) * n, n, later);
    if (products.G(panel) == products.C(panel)) {
      const Matrix difference = W - Q;
      rest.noalias() += difference * G;
    } else {
      rest.noalias() += W * C;
      rest.noalias() -= Q * G;
    }
  }
}

Index gram_path_bytes(Index inputs, Index panel_width, Index tile_width) {
  return 4 * tile_width * (inputs + panel_width);
}

}  // namespace gpfq::quant
