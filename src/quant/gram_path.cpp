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

constexpr Index float_bytes = sizeof(float);
// A panel's objects, and what aligning its six buffers adds: weighty where kernels are small and problems many.
constexpr Index panel_overhead_bytes = 1024;

// Columns of a rectangle of a product that are formed at once, s and t: wide enough that packing costs little beside it;
// and columns of a triangle of G or L, which is a symmetric product of its own.
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

/// Entries of a lower triangle of panels.
Index triangle_entries(const GramExtent& extent) {
  Index entries = 0;
  for (Index first = 0; first < extent.inputs; first += extent.panel_width)
    entries += (extent.inputs - first) * std::min(extent.panel_width, extent.inputs - first);
  return entries;
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
  require(!extent.shared || !extent.compares, "GramProducts: X = Xq leaves nothing to compare");
  std::vector<Piece> pieces;
  const Index unit = extent.panel_width;
  const auto add_rectangle = [&](Product product, Range left, Range right) {
    for (const Range s : cut(left, widest_left, unit))
      for (const Range t : cut(right, widest_right, unit)) pieces.push_back({product, s, t});
  };
  const std::function<void(Product, Range)> add_triangle = [&](Product product, Range range) {
    const Index widest = is_symmetric(product) ? widest_triangle : 0;
    if (range.size() <= std::max(unit, widest)) return pieces.push_back({product, range, range});
    const Index middle = range.begin + round_up(range.size() / 2, unit);
    add_rectangle(product, {range.begin, middle}, {middle, range.end});
    add_triangle(product, {range.begin, middle});
    add_triangle(product, {middle, range.end});
  };
  const Range all{0, extent.inputs};
  add_triangle(Product::G, all);
  if (extent.shared) return pieces;
  const Product other = other_product(extent);
  if (is_whole(other, extent))
    add_rectangle(other, all, all);
  else
    add_triangle(other, all);
  if (extent.compares) add_triangle(Product::L, all);
  return pieces;
}

Index GramProducts::partial_bytes(const GramExtent& extent) {
  Index most = 0;
  for (const Piece& piece : pieces_of(extent)) most = std::max(most, piece.left.size() * piece.right.size());
  return most * static_cast<Index>(sizeof(float));
}

Index GramProducts::sum_bytes(const GramExtent& extent) {
  const Index square = extent.inputs * extent.inputs;
  const Index triangle = triangle_entries(extent);
  const Index of_other = extent.shared ? 0 : is_whole(other_product(extent), extent) ? square : triangle;
  const Index columns = extent.sums_columns ? (extent.shared ? 1 : 2) * extent.inputs : 0;
  return (triangle + of_other + (extent.compares ? triangle : 0) + columns) * static_cast<Index>(sizeof(std::int64_t));
}

Index GramProducts::number_bytes(const GramExtent& extent) {
  const Index square = extent.inputs * extent.inputs;
  const Index kept = extent.whole ? square : triangle_entries(extent);
  return (kept * (1 + (extent.shared ? 0 : 1) + (extent.compares ? 1 : 0)) + (extent.compares ? square : 0)) * float_bytes;
}

Index GramProducts::turning_bytes(const GramExtent& extent) {
  return extent.inputs * (extent.whole ? extent.inputs : std::min(extent.inputs, extent.panel_width)) * float_bytes;
}

Index GramProducts::bytes(const GramExtent& extent) {
  const Index inputs = extent.inputs;
  const Index panels = ceil_div(inputs, extent.panel_width);
  const Index products = 1 + (extent.shared ? 0 : 1) + (extent.compares ? 2 : 0);
  const Index reordering = extent.whole ? inputs * inputs * float_bytes : 0;  // a copy of one of them
  // Objects and aligned ends.
  const Index beside = (panels * panel_overhead_bytes) * products + inputs * 40 * panels + inputs * 32;
  return std::max(sum_bytes(extent) + turning_bytes(extent), number_bytes(extent) + reordering) + beside;
}

void GramProducts::start(std::span<const double> quantized_bounds, std::span<const double> analog_bounds,
                         Index samples) {
  require(static_cast<Index>(quantized_bounds.size()) == inputs(), "GramProducts: one bound per input");
  G_sums_.clear();
  C_sums_.clear();
  L_sums_.clear();
  std::vector<double> other_bounds(analog_bounds.begin(), analog_bounds.end());  // of X, or of X − Xq
  if (extent_.compares)
    for (std::size_t t = 0; t < other_bounds.size(); ++t) other_bounds[t] += quantized_bounds[t];
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
    const std::span<const double> own = std::span(other_bounds).subspan(at);
    const bool whole = is_whole(other_product(extent_), extent_);
    C_sums_.emplace_back(whole ? inputs() : inputs() - first, width_of(panel));
    C_sums_.back().start(whole ? bound_exponents(quantized_bounds, static_cast<double>(samples)) : rows,
                         bound_exponents(own.first(width), 1.0));
    if (!extent_.compares) continue;
    L_sums_.emplace_back(inputs() - first, width_of(panel));
    L_sums_.back().start(bound_exponents(own, static_cast<double>(samples)), bound_exponents(own.first(width), 1.0));
  }
}

void GramProducts::add_piece(const Piece& piece, const float* s_columns, const float* t_columns, Index rows,
                             Index stride) {
  const Eigen::OuterStride<> outer(stride);
  const ConstColumns left(s_columns + piece.left.begin * stride, rows, piece.left.size(), outer);
  const ConstColumns right(t_columns + piece.right.begin * stride, rows, piece.right.size(), outer);
  Matrix partial(left.cols(), right.cols());
  const bool is_triangle = piece.left.begin == piece.right.begin && !is_whole(piece.product, extent_);
  if (is_triangle && is_symmetric(piece.product)) {
    partial.setZero();
    partial.selfadjointView<Eigen::Upper>().rankUpdate(left.transpose());
  } else if (is_triangle) {
    multiply_panel(left, right, partial);
  } else {
    partial.noalias() = left.transpose() * right;
  }
  for (const Range columns : cut(piece.left, panel_width(), panel_width())) {
    FixedPointSum& sum = sums_of(piece.product)[static_cast<std::size_t>(columns.begin / panel_width())];
    const Index first_row = inputs() - sum.rows();
    const Range rows_below{is_triangle ? columns.begin : piece.right.begin, piece.right.end};
    sum.add(partial.data() + (rows_below.begin - piece.right.begin) * left.cols() + columns.begin - piece.left.begin,
            left.cols(), {rows_below.begin - first_row, rows_below.end - first_row}, {0, columns.size()});
  }
}

void GramProducts::add(const float* Xq, float* X, Index rows, Index stride, int threads) {
  if (columns_) {
    for (Index t = 0; t < inputs(); ++t) {
      columns_->add(t, Xq + t * stride, rows);
      if (!extent_.shared) columns_->add(inputs() + t, X + t * stride, rows);
    }
  }
  if (extent_.compares)
    parallel_for(inputs(), threads, [&](Index t) {
      Eigen::Map<Eigen::VectorXf>(X + t * stride, rows) -= Eigen::Map<const Eigen::VectorXf>(Xq + t * stride, rows);
    });
  parallel_for(static_cast<Index>(pieces_.size()), threads, [&](Index i) {
    const Piece& piece = pieces_[static_cast<std::size_t>(i)];
    add_piece(piece, piece.product == Product::G ? Xq : X, piece.product == Product::L ? X : Xq, rows, stride);
  });
}

std::vector<std::span<std::int64_t>> GramProducts::raw_sums() {
  std::vector<std::span<std::int64_t>> pieces;
  for (std::vector<FixedPointSum>* sums : {&G_sums_, &C_sums_, &L_sums_})
    for (FixedPointSum& sum : *sums) pieces.push_back(sum.raw());
  if (columns_) pieces.push_back(columns_->raw());
  return pieces;
}

/// Sums of all ranks become numbers, panel by panel; a symmetric product's are mirrored where it is kept whole.
void GramProducts::turn(Product product, RowReducer& reducer, Panels& numbers) {
  std::vector<FixedPointSum>& sums = sums_of(product);
  const bool mirrors = extent_.whole && is_symmetric(product);
  numbers.clear();
  if (mirrors)
    for (Index panel = 0; panel < panel_count(); ++panel) numbers.emplace_back(inputs() * width_of(panel));
  for (Index panel = 0; panel < panel_count(); ++panel) {
    FixedPointSum& sum = sums[static_cast<std::size_t>(panel)];
    reducer.sum(sum.raw());
    if (!mirrors) numbers.emplace_back(sum.rows() * sum.columns());
    float* own = numbers[static_cast<std::size_t>(panel)].data();
    const Index first = panel * panel_width();
    if (mirrors) own += first * sum.columns();
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
}

/// G + K, as much of it as of G.
void GramProducts::make_C() {
  C_.clear();
  for (Index panel = 0; panel < panel_count(); ++panel) {
    const AlignedBuffer<float>& of_G = G_[static_cast<std::size_t>(panel)];
    const float* of_K = K(panel) + (extent_.whole ? 0 : panel * panel_width() * width_of(panel));
    AlignedBuffer<float>& own = C_.emplace_back(of_G.size());
    for (Index i = 0; i < own.size(); ++i) own[i] = of_G[i] + of_K[i];
  }
}

void GramProducts::finish(RowReducer& reducer) {
  turn(Product::G, reducer, G_);
  if (extent_.compares) {
    turn(Product::K, reducer, K_);
    turn(Product::L, reducer, L_);
    make_C();
  } else if (!extent_.shared) {
    turn(Product::C, reducer, C_);
  }
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
  if (extent_.compares) {
    reorder(order, K_);
    reorder(order, L_);
  }
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
