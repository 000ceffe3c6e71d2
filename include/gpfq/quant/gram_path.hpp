// SPDX-License-Identifier: Apache-2.0
// The path in Gram form: G = XqᵀXq and C = XqᵀX of all inputs, formed once for all neurons, and the
// recursion on them. Nothing of length m is kept.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "gpfq/base/aligned_buffer.hpp"
#include "gpfq/base/shard_plan.hpp"
#include "gpfq/quant/fixed_point_sum.hpp"
#include "gpfq/quant/input_block.hpp"
#include "gpfq/quant/tile.hpp"

namespace gpfq::quant {

/// Which products are formed and kept.
struct GramExtent {
  Index inputs = 0;           ///< N
  Index panel_width = 0;      ///< b
  bool shared = false;        ///< X = Xq, so that C = G is kept once
  bool whole = false;         ///< both triangles, for whoever comes after the path
  bool sums_columns = false;  ///< Σ_i Xq_it and Σ_i X_it beside them
  bool compares = false;      ///< X ≠ Xq: K = Xqᵀ(X−Xq) and L = (X−Xq)ᵀ(X−Xq) too, for output_norms(); C is G + K then
};

/// Lower triangles of G and C in panels of b columns. Panel p holds the columns s = p·b .. of the rows
/// t = p·b .. N−1; entry (t, s) lies at (t − p·b)·w + (s − p·b), w the panel's width. Whole, it holds the rows
/// t = 0 .. too, at the same places before that. The same of L, where networks are compared; K is always whole then.
class GramProducts {
 public:
  explicit GramProducts(const GramExtent& extent);

  /// Starts the sums. @param quantized_bounds, analog_bounds  max|Xq_t| and max|X_t| over all rows of all ranks
  /// @param samples  rows of all ranks
  void start(std::span<const double> quantized_bounds, std::span<const double> analog_bounds, Index samples);
  /// Adds a chunk of rows. Columns lie `stride` apart (a multiple of 16, `rows` too; padding is zero).
  /// @param X  null where X = Xq; comes back as X − Xq where networks are compared
  /// Cost: rows·N² flops where X = Xq, 2·rows·N² where not (3 where C is whole), 4·rows·N² where networks are compared.
  void add(const float* Xq, float* X, Index rows, Index stride, int threads);
  /// The sums so far, in pieces, the same pieces on all ranks: integers, to be added over ranks and to be kept.
  [[nodiscard]] std::vector<std::span<std::int64_t>> raw_sums();
  /// Sums over the rows of all ranks and turns them into numbers; the sums' memory is given back.
  void finish(RowReducer& reducer);
  /// Puts the inputs, of whole products, in the order of falling ‖Xq_t‖, those of equal norm as they are.
  /// @returns the input that now is t-th.
  std::vector<Index> order_by_norm();

  [[nodiscard]] Index inputs() const { return extent_.inputs; }
  [[nodiscard]] bool is_shared() const { return extent_.shared; }
  [[nodiscard]] bool compares() const { return extent_.compares; }
  [[nodiscard]] Index panel_width() const { return extent_.panel_width; }
  [[nodiscard]] Index panel_count() const { return ceil_div(inputs(), panel_width()); }
  [[nodiscard]] Index width_of(Index panel) const { return std::min(panel_width(), inputs() - panel * panel_width()); }
  [[nodiscard]] const float* G(Index panel) const { return from_diagonal(G_, panel); }
  [[nodiscard]] const float* C(Index panel) const { return from_diagonal(extent_.shared ? G_ : C_, panel); }
  [[nodiscard]] const float* L(Index panel) const { return from_diagonal(L_, panel); }
  [[nodiscard]] const float* K(Index panel) const { return K_[static_cast<std::size_t>(panel)].data(); }
  /// The panel from its row 0 on, of whole products: N×w.
  [[nodiscard]] const float* whole_G(Index panel) const { return G_[static_cast<std::size_t>(panel)].data(); }
  [[nodiscard]] const float* whole_C(Index panel) const { return (extent_.shared ? G_ : C_)[static_cast<std::size_t>(panel)].data(); }
  /// Sums of the columns of Xq, then of X where it differs, in the inputs' own order; empty unless asked for.
  [[nodiscard]] std::span<const double> column_sums() const { return column_sums_; }
  [[nodiscard]] const float* inverse_norm() const { return inverse_norm_.data(); }
  /// Inputs whose column of Xq is zero (or whose squared norm is below float32's range).
  [[nodiscard]] Index dead_count() const;

  /// Bytes that an object of these extents holds at most.
  [[nodiscard]] static Index bytes(const GramExtent& extent);
  /// Bytes of its sums: of raw_sums(), at most.
  [[nodiscard]] static Index sum_bytes(const GramExtent& extent);
  /// Bytes that the first numbers take beside the sums, which go as numbers come.
  [[nodiscard]] static Index turning_bytes(const GramExtent& extent);
  /// Bytes of the numbers.
  [[nodiscard]] static Index number_bytes(const GramExtent& extent);
  /// Bytes of the partial product that each thread of add() works on.
  [[nodiscard]] static Index partial_bytes(const GramExtent& extent);

 private:
  enum class Product : std::uint8_t { G, C, K, L };
  /// Products of some columns of Xq (G), X (C) or X − Xq (K, L), s, with columns of Xq or (L) X − Xq, t: one task of add().
  struct Piece {
    Product product;
    Range left;   ///< s: whole panels
    Range right;  ///< t
  };
  [[nodiscard]] static std::vector<Piece> pieces_of(const GramExtent& extent);
  /// @param s_columns, t_columns  of all inputs
  void add_piece(const Piece& piece, const float* s_columns, const float* t_columns, Index rows, Index stride);
  using Panels = std::vector<AlignedBuffer<float>>;
  [[nodiscard]] const float* from_diagonal(const Panels& panels, Index panel) const {
    return panels[static_cast<std::size_t>(panel)].data() +
           (extent_.whole ? panel * panel_width() * width_of(panel) : 0);
  }
  /// What is summed beside G (and L) where X ≠ Xq.
  [[nodiscard]] static Product other_product(const GramExtent& extent) { return extent.compares ? Product::K : Product::C; }
  [[nodiscard]] static bool is_symmetric(Product product) { return product == Product::G || product == Product::L; }
  [[nodiscard]] static bool is_whole(Product product, const GramExtent& extent) {
    return product == Product::K || (product == Product::C && extent.whole);
  }
  [[nodiscard]] std::vector<FixedPointSum>& sums_of(Product product) {
    return product == Product::G ? G_sums_ : product == Product::L ? L_sums_ : C_sums_;
  }
  void turn(Product product, RowReducer& reducer, Panels& numbers);
  void make_C();
  void reorder(const std::vector<Index>& order, Panels& panels) const;

  GramExtent extent_;
  std::vector<Piece> pieces_;
  std::vector<FixedPointSum> G_sums_;
  std::vector<FixedPointSum> C_sums_;  ///< or of K
  std::vector<FixedPointSum> L_sums_;
  Panels G_;
  Panels C_;
  Panels K_;
  Panels L_;
  AlignedBuffer<float> inverse_norm_;
  std::optional<ColumnSums> columns_;
  std::vector<double> column_sums_;
};

/// Greedy path of a tile in Gram form: for each panel quantize_block on its diagonal block, then
///   P_t += Σ_s C_ts w_s − G_ts q_s  for all later inputs t and the panel's s  (two products).
/// Cost: 2·N²·n flops (half of it where X = Xq).
void quantize_by_gram(const GramProducts& products, Tile& tile);

/// Bytes that quantize_by_gram needs beside the tile.
[[nodiscard]] Index gram_path_bytes(Index inputs, Index panel_width, Index tile_width);

}  // namespace gpfq::quant
