// SPDX-License-Identifier: Apache-2.0
// The path in Gram form: G = XqᵀXq and C = XqᵀX of all inputs, formed once for all neurons, and the
// recursion on them. Nothing of length m is kept.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "gpfq/base/aligned_buffer.hpp"
#include "gpfq/quant/fixed_point_sum.hpp"
#include "gpfq/quant/input_block.hpp"
#include "gpfq/quant/tile.hpp"

namespace gpfq::quant {

/// Lower triangles of G and C in panels of b columns. Panel p holds the columns s = p·b .. of the rows
/// t = p·b .. N−1; entry (t, s) lies at (t − p·b)·w + (s − p·b), w the panel's width.
class GramProducts {
 public:
  /// @param inputs  N   @param panel_width  b   @param shared  X = Xq, so that C = G is kept once
  GramProducts(Index inputs, Index panel_width, bool shared);

  /// Starts the sums. @param quantized_bounds, analog_bounds  max|Xq_t| and max|X_t| over all rows of all ranks
  /// @param samples  rows of all ranks
  void start(std::span<const double> quantized_bounds, std::span<const double> analog_bounds, Index samples);
  /// Adds a chunk of rows. Columns lie `stride` apart (a multiple of 16, `rows` too; padding is zero).
  /// Cost: 2·rows·N² flops (half of it where X = Xq).
  void add(const float* Xq, const float* X, Index rows, Index stride, int threads);
  /// Sums over the rows of all ranks and turns them into numbers; the sums' memory is given back.
  void finish(RowReducer& reducer);

  [[nodiscard]] Index inputs() const { return inputs_; }
  [[nodiscard]] Index panel_width() const { return panel_width_; }
  [[nodiscard]] Index panel_count() const { return ceil_div(inputs_, panel_width_); }
  [[nodiscard]] Index width_of(Index panel) const { return std::min(panel_width_, inputs_ - panel * panel_width_); }
  [[nodiscard]] const float* G(Index panel) const { return G_[static_cast<std::size_t>(panel)].data(); }
  [[nodiscard]] const float* C(Index panel) const {
    return shared_ ? G(panel) : C_[static_cast<std::size_t>(panel)].data();
  }
  [[nodiscard]] const float* inverse_norm() const { return inverse_norm_.data(); }
  /// Inputs whose column of Xq is zero (or whose squared norm is below float32's range).
  [[nodiscard]] Index dead_count() const;

  /// Bytes that an object of these extents holds at most.
  [[nodiscard]] static Index bytes(Index inputs, Index panel_width, bool shared);

 private:
  Index inputs_;
  Index panel_width_;
  bool shared_;
  std::vector<FixedPointSum> G_sums_;
  std::vector<FixedPointSum> C_sums_;
  std::vector<AlignedBuffer<float>> G_;
  std::vector<AlignedBuffer<float>> C_;
  AlignedBuffer<float> inverse_norm_;
};

/// Greedy path of a tile in Gram form: for each panel quantize_block on its diagonal block, then
///   P_t += Σ_s C_ts w_s − G_ts q_s  for all later inputs t and the panel's s  (two products).
/// Cost: 2·N²·n flops (half of it where X = Xq).
void quantize_by_gram(const GramProducts& products, Tile& tile);

/// Bytes that quantize_by_gram needs beside the tile.
[[nodiscard]] Index gram_path_bytes(Index inputs, Index panel_width, Index tile_width);

}  // namespace gpfq::quant
