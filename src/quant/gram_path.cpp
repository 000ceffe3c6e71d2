// SPDX-License-Identifier: Apache-2.0
// Gram form: sums of panels in fixed point, then a right-looking recursion by panels.
#include "gpfq/quant/gram_path.hpp"

#include <Eigen/Core>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <utility>

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

// Columns of a rectangle of G or C that are formed at once, s and t: wide enough that packing costs little beside the
// product; and columns of a triangle of G, which is a symmetric product of its own.
constexpr Index widest_left = 512;
constexpr Index widest_right = 1024;
constexpr Index widest_triangle = 256;

/// Cuts a range into pieces of at most `most`, a multiple of `unit` each but for the last.
std::vector<Range> cut(Range range, Index most, Index unit) {
  std::vector<Range> pieces;
  const Index step = std::max(unit, most / unit * unit);
  for (Index at = range.begin; at < range.end; at += step) pieces.push_back({at, std::min(range.end, at + step)});
  return pieces;
}

/// (columns of a panel)ᵀ (the same columns of the other network); of what lies above the diagonal, which nobody reads,
/// the larger part is left out.
void multiply_panel(const ConstColumns& left, const ConstColumns& right, Matrix& partial) {
  const Index half = left.cols() / 2;
  partial.topLeftCorner(half, half).noalias() = left.leftCols(half).transpose() * right.leftCols(half);
  partial.bottomLeftCorner(left.cols() - half, half).setZero();
  partial.rightCols(right.cols() - half).noalias() = left.transpose() * right.rightCols(right.cols() - half);
}

}  // namespace

GramProducts::GramProducts(const GramExtent& extent)
    : extent_(extent), pieces_(pieces_of(extent)), inverse_norm_(extent.inputs) {}

/// The lower triangle falls into small triangles on the diagonal and, halving it again and again, squares below them.
std::vector<GramProducts::Piece> GramProducts::pieces_of(const GramExtent& extent) {
  require(extent.inputs > 0 && extent.panel_width > 0, "GramProducts: empty shape");
  std::vector<Piece> pieces;
  const Index unit = extent.panel_width;
  const auto add_rectangle = [&](bool is_G, Range left, Range right) {
    for (const Range s : cut(left, widest_left, unit))
      for (const Range t : cut(right, widest_right, unit)) pieces.push_back({is_G, s, t});
  };
  const std::function<void(bool, Range)> add_triangle = [&](bool is_G, Range range) {
    if (range.size() <= std::max(unit, is_G ? widest_triangle : 0)) return pieces.push_back({is_G, range, range});
    const Index middle = range.begin + round_up(range.size() / 2, unit);
    add_rectangle(is_G, {range.begin, middle}, {middle, range.end});
    add_triangle(is_G, {range.begin, middle});
    add_triangle(is_G, {middle, range.end});
  };
  const Range all{0, extent.inputs};
  add_triangle(true, all);
  if (extent.shared) return pieces;
  if (extent.whole)
    add_rectangle(false, all, all);
  else
    add_triangle(false, all);
  return pieces;
}

Index GramProducts::partial_bytes(const GramExtent& extent) {
  Index most = 0;
  for (const Piece& piece : pieces_of(extent)) most = std::max(most, piece.left.size() * piece.right.size());
  return most * static_cast<Index>(sizeof(float));
}

Index GramProducts::bytes(const GramExtent& extent) {
  const Index inputs = extent.inputs;
  Index entries = 0;
  for (Index first = 0; first < inputs; first += extent.panel_width)
    entries += (inputs - first) * std::min(extent.panel_width, inputs - first);
  const Index square = inputs * inputs;
  // Sums (8 bytes) and numbers (4 bytes) of G and C side by side while they are turned; objects and aligned ends.
  const Index panels = ceil_div(inputs, extent.panel_width);
  const Index networks = extent.shared ? 1 : 2;
  const Index beside = (panels * panel_overhead_bytes) * networks + inputs * 40 * panels + inputs * 32;
  if (!extent.whole) return entries * 12 * networks + beside;
  const Index turning = entries * 8 + square * 4 + (extent.shared ? 0 : square * 12);
  return std::max(turning, square * 4 * (networks + 1)) + beside;  // reordering makes a copy of one of them
}

void GramProducts::start(std::span<const double> quantized_bounds, std::span<const double> analog_bounds,
                         Index samples) {
  require(static_cast<Index>(quantized_bounds.size()) == inputs(), "GramProducts: one bound per input");
  G_sums_.clear();
  C_sums_.clear();
  if (extent_.sums_columns) {
    std::vector<double> bounds(quantized_bounds.begin(), quantized_bounds.end());
    if (!extent_.shared) bounds.insert(bounds.end(), analog_bounds.begin(), analog_bounds.end());
    columns_.emplace(bounds, samples);
  }
  for (Index panel = 0; panel < panel_count(); ++panel) {
    const Index first = panel * panel_width();
    const auto at = static_cast<std::size_t>(first);
    const auto width = static_cast<std::size_t>(width_of(panel));
    const std::vector<int> rows = bound_exponents(quantized_bounds.subspan(at), static_cast<double>(samples));
    G_sums_.emplace_back(inputs() - first, width_of(panel));
    G_sums_.back().start(rows, bound_exponents(quantized_bounds.subspan(at, width), 1.0));
    if (extent_.shared) continue;
    C_sums_.emplace_back(extent_.whole ? inputs() : inputs() - first, width_of(panel));
    C_sums_.back().start(extent_.whole ? bound_exponents(quantized_bounds, static_cast<double>(samples)) : rows,
                         bound_exponents(analog_bounds.subspan(at, width), 1.0));
  }
}

void GramProducts::add_piece(const Piece& piece, const float* Xq, const float* X, Index rows, Index stride) {
  const Eigen::OuterStride<> outer(stride);
  const ConstColumns left((piece.is_G ? Xq : X) + piece.left.begin * stride, rows, piece.left.size(), outer);
  const ConstColumns right(Xq + piece.right.begin * stride, rows, piece.right.size(), outer);
  Matrix partial(left.cols(), right.cols());
  const bool is_triangle = piece.left.begin == piece.right.begin && (piece.is_G || !extent_.whole);
  if (is_triangle && piece.is_G) {
    partial.setZero();
    partial.selfadjointView<Eigen::Upper>().rankUpdate(left.transpose());
  } else if (is_triangle) {
    multiply_panel(left, right, partial);
  } else {
    partial.noalias() = left.transpose() * right;
  }
  for (const Range columns : cut(piece.left, panel_width(), panel_width())) {
    FixedPointSum& sum = (piece.is_G ? G_sums_ : C_sums_)[static_cast<std::size_t>(columns.begin / panel_width())];
    const Index first_row = inputs() - sum.rows();
    const Range rows_below{is_triangle ? columns.begin : piece.right.begin, piece.right.end};
    sum.add(partial.data() + (rows_below.begin - piece.right.begin) * left.cols() + columns.begin - piece.left.begin,
            left.cols(), {rows_below.begin - first_row, rows_below.end - first_row}, {0, columns.size()});
  }
}

void GramProducts::add(const float* Xq, const float* X, Index rows, Index stride, int threads) {
  parallel_for(static_cast<Index>(pieces_.size()), threads,
               [&](Index i) { add_piece(pieces_[static_cast<std::size_t>(i)], Xq, X, rows, stride); });
  if (!columns_) return;
  for (Index t = 0; t < inputs(); ++t) {
    columns_->add(t, Xq + t * stride, rows);
    if (!extent_.shared) columns_->add(inputs() + t, X + t * stride, rows);
  }
}

std::vector<std::span<std::int64_t>> GramProducts::raw_sums() {
  std::vector<std::span<std::int64_t>> pieces;
  for (std::vector<FixedPointSum>* sums : {&G_sums_, &C_sums_})
    for (FixedPointSum& sum : *sums) pieces.push_back(sum.raw());
  if (columns_) pieces.push_back(columns_->raw());
  return pieces;
}

void GramProducts::finish(RowReducer& reducer) {
  const auto turn = [&](std::vector<FixedPointSum>& sums, Panels& numbers) {
    numbers.clear();
    for (Index panel = 0; extent_.whole && panel < panel_count(); ++panel)
      numbers.emplace_back(inputs() * width_of(panel));
    for (Index panel = 0; panel < panel_count(); ++panel) {
      FixedPointSum& sum = sums[static_cast<std::size_t>(panel)];
      reducer.sum(sum.raw());
      if (!extent_.whole) numbers.emplace_back(sum.rows() * sum.columns());
      float* own = numbers[static_cast<std::size_t>(panel)].data();
      const Index first = panel * panel_width();
      const Index first_row = inputs() - sum.rows();  // 0 for a whole panel of C
      const bool mirrors = extent_.whole && &sums == &G_sums_;
      if (extent_.whole) own += first_row * sum.columns();
      for (Index i = 0; i < sum.rows(); ++i) {
        for (Index s = 0; s < sum.columns(); ++s) {
          if (mirrors && s > i) continue;
          const float value = static_cast<float>(sum.value(i, s));
          own[i * sum.columns() + s] = value;
          if (!mirrors) continue;
          const Index t = first + i;  // entry (first + s, t), in t's panel
          const Index other = t / panel_width();
          numbers[static_cast<std::size_t>(other)][(first + s) * width_of(other) + t - other * panel_width()] = value;
        }
      }
      sum = FixedPointSum(0, 0);
    }
    sums.clear();
  };
  turn(G_sums_, G_);
  if (!extent_.shared) turn(C_sums_, C_);
  for (Index t = 0; t < inputs(); ++t) {
    const Index panel = t / panel_width();
    const Index at = t - panel * panel_width();
    inverse_norm_[t] = inverse_of_norm(G(panel)[at * width_of(panel) + at]);
  }
  if (columns_) column_sums_ = columns_->finish(reducer);
}

std::vector<Index> GramProducts::order_by_norm() {
  require(extent_.whole, "GramProducts::order_by_norm: whole products");
  std::vector<float> norms;
  for (Index t = 0; t < inputs(); ++t) {
    const Index panel = t / panel_width();
    const Index at = t - panel * panel_width();
    norms.push_back(G(panel)[at * width_of(panel) + at]);
  }
  std::vector<Index> order(norms.size());
  std::iota(order.begin(), order.end(), Index{0});
  std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) {
    return norms[static_cast<std::size_t>(a)] > norms[static_cast<std::size_t>(b)];
  });
  reorder(order, G_);
  if (!extent_.shared) reorder(order, C_);
  for (Index t = 0; t < inputs(); ++t)
    inverse_norm_[t] = inverse_of_norm(norms[static_cast<std::size_t>(order[static_cast<std::size_t>(t)])]);
  return order;
}

void GramProducts::reorder(const std::vector<Index>& order, Panels& panels) const {
  Panels ordered;
  for (Index panel = 0; panel < panel_count(); ++panel) {
    const Index width = width_of(panel);
    AlignedBuffer<float>& own = ordered.emplace_back(inputs() * width);
    for (Index s = 0; s < width; ++s) {
      const Index from = order[static_cast<std::size_t>(panel * panel_width() + s)];
      const Index other = from / panel_width();
      const float* column = panels[static_cast<std::size_t>(other)].data() + from - other * panel_width();
      for (Index t = 0; t < inputs(); ++t)
        own[t * width + s] = column[order[static_cast<std::size_t>(t)] * width_of(other)];
    }
  }
  panels = std::move(ordered);
}

Index GramProducts::dead_count() const {
  return std::count(inverse_norm_.data(), inverse_norm_.data() + inputs(), 0.0F);
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
