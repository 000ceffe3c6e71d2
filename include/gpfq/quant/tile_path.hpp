// SPDX-License-Identifier: Apache-2.0
// The blocked path of one tile of neurons in residual form: it takes blocks of inputs in order and
// keeps the residual U.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
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

/// What a path that stops between two blocks must know to go on, beside codes and kept arrays. The same on any grid.
struct PathState {
  Index next_input = 0;  ///< of the path, or of the sweep
  double residual_bound = 0;
  std::vector<std::int32_t> saturated;  ///< by neuron, padded ones included
  bool is_sweeping = false;
  Index changes = 0;                   ///< weights that the sweep has changed
  std::vector<double> squared_norms;   ///< ‖u‖² by neuron, as measured last
  std::vector<double> gains;           ///< what sweeps have taken off it, by neuron
  std::vector<double> sweep_gains;     ///< ... and by finished sweep, of all neurons
  double gain_before = 0;              ///< of all neurons, when the sweep began

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& next_input& residual_bound& saturated& is_sweeping& changes& squared_norms& gains& sweep_gains& gain_before;
  }
};

/// Blocked greedy path of a tile; the same codes as the reference path up to rounding at near-ties.
///
/// For each block:  P = XqᵀU;  codes by quantize_block;  U += X W − Xq Q  (one product).
/// Cost per block: 6·m·b·n flops (4 where X = Xq). Where the shape says so, the outputs XW and XqQ are kept beside U
/// or instead of it (U = XW − XqQ), for 6·m·b·n flops in either case and the memory of one more U. A sweep takes
/// 4·m·b·n per block.
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

  /// What is to be kept, beside codes and state, so that the path can stop between two blocks and go on later: arrays of
  /// rows × tile width, by chunk of rows.
  [[nodiscard]] static Index kept_arrays(const PathShape& shape) { return shape.keeps_outputs ? 2 : 1; }
  [[nodiscard]] std::span<float> kept(Index array, Index chunk);
  [[nodiscard]] PathState state() const;
  /// Goes on from there, when kept() has been filled. @param codes  as codes() was then
  void restore(const PathState& state, std::span<const std::uint8_t> codes);

  [[nodiscard]] bool finished() const { return tile_.finished(); }

  // A finished tile may be swept again over all blocks, with the residual of all inputs at hand: project() and
  // quantize() as before, the latter by refine_block, with U −= Xq ΔQ. Blocks need hold Xq only.

  /// Sums ‖u‖² of each neuron over the rows here; join_norms() then over those of all ranks, which call it in step.
  void measure_norms();
  void join_norms(RowReducer& reducer);
  /// ‖u‖² of a neuron as measured last, the same on any grid.
  [[nodiscard]] double squared_norm(Index neuron) const { return squared_norm_[neuron]; }
  /// Around a sweep, after the norms are known.
  void begin_sweep();
  void end_sweep();
  [[nodiscard]] bool is_sweeping() const { return is_sweeping_; }
  /// Weights that the sweep has changed so far.
  [[nodiscard]] Index changes() const { return changes_; }
  /// What each finished sweep took off ‖U‖²_F.
  [[nodiscard]] const std::vector<double>& sweep_gains() const { return sweep_gains_; }
  /// Neuron j becomes what it is in another path of the same neurons (with another alphabet).
  void take(Index neuron, const TilePath& other);
  void set_visit(Visit visit) { tile_.set_visit(std::move(visit)); }

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
  void refine(const InputBlock& block);
  void set_noise();
  /// max|x| of row t of a block of values.
  [[nodiscard]] double largest(const float* values, Index t) const;

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
  bool is_sweeping_ = false;
  Index next_input_ = 0;  ///< of a sweep
  Index changes_ = 0;
  std::vector<double> sweep_gains_;
  double gain_before_ = 0;
  AlignedBuffer<double> chunk_norms_;   ///< ‖u‖² of each neuron by chunk here
  AlignedBuffer<double> squared_norm_;
  AlignedBuffer<float> noise_;          ///< what rounding may do to an entry of P, in units of ‖Xq_t‖
};

}  // namespace gpfq::quant
