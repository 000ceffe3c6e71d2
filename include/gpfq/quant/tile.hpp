// SPDX-License-Identifier: Apache-2.0
// What both forms of the path share: the weights, alphabets and codes of a tile of neurons, and the
// call of the block kernel on the next inputs.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "gpfq/base/aligned_buffer.hpp"
#include "gpfq/quant/alphabet.hpp"

namespace gpfq::quant {

/// A tile of neurons on its way through the inputs.
class Tile {
 public:
  /// @param inputs       N
  /// @param block_width  most inputs of one block
  /// @param tile_width   neurons of a full tile, a multiple of kernel_lanes; fewer real neurons are padded
  /// @param alphabets    one per real neuron, of equal level count
  Tile(Index inputs, Index block_width, Index tile_width, std::vector<Alphabet> alphabets);

  /// Real neurons × N weights, row-major: to be filled before the first block.
  [[nodiscard]] std::span<float> weights() { return weights_.span().first(real_values()); }
  /// Real neurons × N codes, row-major.
  [[nodiscard]] std::span<const std::uint8_t> codes() const { return codes_.span().first(real_values()); }

  /// Quantizes the next `count` inputs. @param G, C, inverse_norm  as in BlockOperands   @param P  count×n
  void quantize_next(Index count, const float* G, const float* C, const float* inverse_norm, const float* P);

  /// Weights and quantized values of the block that was done last, count×n, the n neurons of an input contiguous.
  [[nodiscard]] const float* W() const { return W_.data(); }
  [[nodiscard]] const float* Q() const { return Q_.data(); }

  [[nodiscard]] Index neurons() const { return static_cast<Index>(alphabets_.size()); }
  [[nodiscard]] Index width() const { return tile_width_; }
  [[nodiscard]] Index next_input() const { return next_input_; }
  [[nodiscard]] bool finished() const { return next_input_ == inputs_; }
  /// Weights whose argument lay more than half a spacing beyond the last level.
  [[nodiscard]] Index saturated() const;
  /// Weights whose level is zero.
  [[nodiscard]] Index zeros() const;

  /// By neuron, padded ones included: weights of the inputs so far that were saturated.
  [[nodiscard]] std::span<const std::int32_t> saturated_counts() const { return saturated_.span(); }
  /// Stands after `next_input` inputs again. @param codes  as codes() was then   @param saturated  as saturated_counts()
  void restore(Index next_input, std::span<const std::uint8_t> codes, std::span<const std::int32_t> saturated);

  /// Bytes that an object of these extents holds.
  [[nodiscard]] static Index bytes(Index inputs, Index block_width, Index tile_width);

 private:
  [[nodiscard]] std::size_t real_values() const { return static_cast<std::size_t>(neurons() * inputs_); }

  Index inputs_;
  Index tile_width_;
  std::vector<Alphabet> alphabets_;
  Index next_input_ = 0;
  AlignedBuffer<float> weights_;
  AlignedBuffer<std::uint8_t> codes_;
  AlignedBuffer<float> W_;
  AlignedBuffer<float> Q_;
  AlignedBuffer<std::uint8_t> block_codes_;
  AlignedBuffer<float> step_;
  AlignedBuffer<float> inverse_spacing_;
  AlignedBuffer<std::int32_t> saturated_;
};

}  // namespace gpfq::quant
