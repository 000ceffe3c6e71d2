// SPDX-License-Identifier: Apache-2.0
// The blocked path of one tile of neurons in residual form: it takes blocks of inputs in order and
// keeps the residual U.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "gpfq/base/aligned_buffer.hpp"
#include "gpfq/quant/input_block.hpp"
#include "gpfq/quant/tile.hpp"

namespace gpfq::quant {

/// What became of one tile's weights.
struct TileStatistics {
  Index saturated = 0;  ///< weights whose argument lay more than half a spacing beyond the last level
  Index zeros = 0;      ///< weights whose level is zero
  double residual_squared_norm = 0;  ///< ‖U‖²_F over the tile's neurons and the rows here
};

/// Blocked greedy path of a tile; the same codes as the reference path up to rounding at near-ties.
///
/// For each block:  P = XqᵀU;  codes by quantize_block;  U += X W − Xq Q  (one product).
/// Cost per block: 6·m·b·n flops (4 where X = Xq). Where the shape says so, the outputs XW and XqQ are kept beside U
/// or instead of it (U = XW − XqQ), for 6·m·b·n flops in either case and the memory of one more U.
class TilePath {
 public:
  /// @param tile_width  neurons of a full tile, a multiple of kernel_lanes
  /// @param alphabets   one per real neuron, of equal level count
  TilePath(const PathShape& shape, Index tile_width, std::vector<Alphabet> alphabets);

  [[nodiscard]] std::span<float> weights() { return tile_.weights(); }
  [[nodiscard]] const Tile& tile() const { return tile_; }
  [[nodiscard]] std::span<const std::uint8_t> codes() const { return tile_.codes(); }
  [[nodiscard]] Index neurons() const { return tile_.neurons(); }

  /// Takes the next block, in three steps; blocks come in order and cover all inputs. project() sums what the
  /// rows here give, sums() is what ranks with other rows must add, quantize() does the rest.
  void project(const InputBlock& block);
  [[nodiscard]] std::span<std::int64_t> sums() { return sum_.raw(); }
  void quantize(const InputBlock& block);
  /// All three, for rows that are all here.
  void advance(const InputBlock& block) {
    project(block);
    quantize(block);
  }

  /// What is to be kept, beside the codes, so that the path can stop between two blocks and go on later: arrays of
  /// rows × tile width, by chunk of rows, and a bound that does not depend on which rows lie here.
  [[nodiscard]] static Index kept_arrays(const PathShape& shape) { return shape.keeps_outputs ? 2 : 1; }
  [[nodiscard]] std::span<float> kept(Index array, Index chunk);
  [[nodiscard]] double residual_bound() const { return residual_bound_; }
  /// Goes on after `next_input` inputs, when kept() has been filled. @param codes, saturated  as Tile::restore()
  void restore(Index next_input, double residual_bound, std::span<const std::uint8_t> codes,
               std::span<const std::int32_t> saturated);

  [[nodiscard]] bool finished() const { return tile_.finished(); }
  /// The residual of one neuron over the rows here, in order.
  [[nodiscard]] std::vector<float> residual(Index neuron) const;
  /// Rows of the i-th chunk here, without padding.
  [[nodiscard]] Index rows_of(Index chunk) const;
  /// Kept outputs of the real neurons for the rows of a chunk: XW and XqQ, rows × neurons() row-major.
  void outputs(Index chunk, float* analog, float* quantized) const;

  [[nodiscard]] TileStatistics statistics() const;

  /// Bytes that an object of these extents holds.
  [[nodiscard]] static Index bytes(const PathShape& shape, Index tile_width);

 private:
  void project_chunk(const InputBlock& block, Index begin, Index rows);
  void update_residual(const InputBlock& block);
  void add_product(const float* inputs, Index depth, const float* values, float* rows);
  void widen_residual_bound(const InputBlock& block);

  PathShape shape_;
  Tile tile_;
  double residual_bound_ = 0;  ///< |U_ij| stays below it: known without looking, hence the same on any grid
  // Rows × n, the neurons of a row contiguous.
  AlignedBuffer<float> U_;          ///< a few rows of it at a time where both outputs are kept
  AlignedBuffer<float> analog_;     ///< V = XW, where kept
  AlignedBuffer<float> quantized_;  ///< Vq = XqQ, where kept and X ≠ Xq
  AlignedBuffer<float> P_;
  AlignedBuffer<float> D_;  ///< 2b×n: −Q above W, or W − Q where X = Xq
  AlignedBuffer<float> partial_;
  FixedPointSum sum_;
};

}  // namespace gpfq::quant
