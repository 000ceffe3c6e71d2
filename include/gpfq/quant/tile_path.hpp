// SPDX-License-Identifier: Apache-2.0
// The blocked path of one tile of neurons in residual form: it takes blocks of inputs in order and
// keeps the residual U.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "gpfq/base/aligned_buffer.hpp"
#include "gpfq/quant/alphabet.hpp"
#include "gpfq/quant/input_block.hpp"

namespace gpfq::quant {

/// What became of one tile's weights.
struct TileStatistics {
  Index saturated = 0;             ///< weights whose argument lay more than half a spacing beyond the last level
  Index zeros = 0;                 ///< weights whose level is zero
  double residual_squared_norm = 0;  ///< ‖U‖²_F over the tile's neurons
};

/// Blocked greedy path of a tile; the same codes as the reference path up to rounding at near-ties.
///
/// For each block:  P = XqᵀU;  codes by quantize_block;  U += X W − Xq Q  (one product).
/// Cost per block: 6·m·b·n flops (4 where X = Xq).
class TilePath {
 public:
  /// @param tile_width  neurons of a full tile, a multiple of kernel_lanes; fewer real neurons are padded
  /// @param alphabets   one per real neuron, of equal level count
  TilePath(const PathShape& shape, Index tile_width, std::vector<Alphabet> alphabets);

  /// Real neurons × N weights, row-major: to be filled before the first block.
  [[nodiscard]] std::span<float> weights() { return weights_.span().first(real_values()); }
  /// Real neurons × N codes, row-major.
  [[nodiscard]] std::span<const std::uint8_t> codes() const { return codes_.span().first(real_values()); }

  /// Takes the next block; blocks come in order and cover all inputs.
  void advance(const InputBlock& block);

  [[nodiscard]] bool finished() const { return next_input_ == shape_.inputs; }
  [[nodiscard]] Index neurons() const { return static_cast<Index>(alphabets_.size()); }
  /// The residual of one neuron, m values.
  [[nodiscard]] std::span<const float> residual(Index neuron) const;
  [[nodiscard]] TileStatistics statistics() const;

  /// Bytes that an object of these extents holds.
  [[nodiscard]] static Index bytes(const PathShape& shape, Index tile_width);

 private:
  [[nodiscard]] std::size_t real_values() const { return static_cast<std::size_t>(neurons() * shape_.inputs); }
  void load_block_weights(Index count);
  void project_residual(const InputBlock& block);
  void update_residual(const InputBlock& block);
  void store_codes(Index count);

  PathShape shape_;
  Index tile_width_;
  std::vector<Alphabet> alphabets_;
  Index next_input_ = 0;
  double residual_bound_ = 0;  ///< |U_ij| stays below it: known without looking, hence the same on any grid
  AlignedBuffer<float> weights_;
  AlignedBuffer<std::uint8_t> codes_;
  AlignedBuffer<float> U_;
  AlignedBuffer<float> W_;  ///< b×n of the block
  AlignedBuffer<float> P_;
  AlignedBuffer<float> Q_;
  AlignedBuffer<float> D_;  ///< 2b×n: −Q above W, or W − Q where X = Xq
  AlignedBuffer<std::uint8_t> block_codes_;
  AlignedBuffer<float> partial_;
  AlignedBuffer<float> step_;
  AlignedBuffer<float> inverse_spacing_;
  AlignedBuffer<std::int32_t> saturated_;
  FixedPointSum sum_;
};

}  // namespace gpfq::quant
