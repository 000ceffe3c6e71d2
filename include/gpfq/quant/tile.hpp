// SPDX-License-Identifier: Apache-2.0
// What both forms of the path share: the weights, alphabets and codes of a tile of neurons, and the
// call of the block kernel on the next inputs.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "gpfq/base/aligned_buffer.hpp"
#include "gpfq/quant/alphabet.hpp"
#include "gpfq/quant/block_kernel.hpp"

namespace gpfq::quant {

/// How a tile's arguments are rounded, and in which order its inputs are visited.
struct Visit {
  RoundingKind rounding = RoundingKind::nearest;
  double threshold = 0;            ///< λ in steps of each neuron's alphabet, for soft and hard
  std::uint64_t seed = 0;          ///< of the layer, for stochastic: neuron j's is random_bits(seed, first_neuron + j)
  Index first_neuron = 0;
  std::span<const Index> order;    ///< input visited t-th; empty: as they are. Not copied.
};

/// A tile of neurons on its way through the inputs.
class Tile {
 public:
  /// @param inputs       N
  /// @param block_width  most inputs of one block
  /// @param tile_width   neurons of a full tile, a multiple of kernel_lanes; fewer real neurons are padded
  /// @param alphabets    one per real neuron, of equal level count
  Tile(Index inputs, Index block_width, Index tile_width, std::vector<Alphabet> alphabets);

  /// Before the first block. Codes and weights stay in the inputs' own order.
  void set_visit(Visit visit);

  /// Real neurons × N weights, row-major: to be filled before the first block.
  [[nodiscard]] std::span<float> weights() { return weights_.span().first(real_values()); }
  /// Real neurons × N codes, row-major.
  [[nodiscard]] std::span<const std::uint8_t> codes() const { return codes_.span().first(real_values()); }

  /// Quantizes the next `count` inputs. @param G, C, inverse_norm  as in BlockOperands   @param P  count×n, overwritten
  void quantize_next(Index count, const float* G, const float* C, const float* inverse_norm, float* P);
  /// The same by error diffusion. @param T  count×count, lower triangle, diagonal 1   @param V  count×n, target less
  /// what earlier inputs diffused; overwritten
  void diffuse_next(Index count, const float* T, const float* inverse_norm, float* V);
  /// Visits `count` inputs from `first` on again, as refine_block; the tile is finished, its levels have no shift. P is
  /// overwritten.
  /// @returns changed weights.
  Index refine(Index first, Index count, const float* G, const float* inverse_norm, float* P, const float* noise);
  /// Weights (or quantized values) of some inputs as the blocks have them: count×n, the n neurons of an input contiguous.
  void copy_weights(Index first, Index count, float* W) const;
  void copy_values(Index first, Index count, float* Q) const;
  /// Neuron j becomes what it is in another tile of the same neurons: alphabet and codes.
  void take(Index neuron, const Tile& other);

  /// Weights and quantized values of the block that was done last, count×n, the n neurons of an input contiguous.
  [[nodiscard]] const float* W() const { return W_.data(); }
  [[nodiscard]] const float* Q() const { return Q_.data(); }
  /// What the last diffuse_next() left over (c − q), or what the last refine() changed; count×n.
  [[nodiscard]] const float* D() const { return W_.data(); }
  /// What refine() has taken off ‖U‖²_F so far.
  [[nodiscard]] double gain() const;
  [[nodiscard]] const Alphabet& alphabet(Index neuron) const { return alphabets_[static_cast<std::size_t>(neuron)]; }

  [[nodiscard]] Index neurons() const { return static_cast<Index>(alphabets_.size()); }
  [[nodiscard]] Index width() const { return tile_width_; }
  [[nodiscard]] Index next_input() const { return next_input_; }
  [[nodiscard]] bool finished() const { return next_input_ == inputs_; }
  /// Weights whose argument lay more than half a spacing beyond the last level.
  [[nodiscard]] Index saturated() const;
  /// Weights whose level is zero.
  [[nodiscard]] Index zeros() const;

  /// By neuron, padded ones included: weights of the inputs so far that were saturated, and what refine() took off.
  [[nodiscard]] std::span<const std::int32_t> saturated_counts() const { return saturated_.span(); }
  [[nodiscard]] std::span<const double> gains() const { return gain_.span(); }
  /// Stands after `next_input` inputs again. @param codes, saturated, gains  as codes(), saturated_counts() and gains()
  /// were then
  void restore(Index next_input, std::span<const std::uint8_t> codes, std::span<const std::int32_t> saturated,
               std::span<const double> gains);

  /// Bytes that an object of these extents holds.
  [[nodiscard]] static Index bytes(Index inputs, Index block_width, Index tile_width);

 private:
  [[nodiscard]] BlockOperands operands(Index count, const float* inverse_norm, float* P);
  void set_alphabet(Index neuron);
  [[nodiscard]] Index input_at(Index t) const { return visit_.order.empty() ? t : visit_.order[static_cast<std::size_t>(t)]; }
  template <class Value, class Convert, class Result>
  void gather_inputs(const Value* values, Index first, Index count, Convert convert, Result* at) const;
  void copy_codes(Index first, Index count, std::uint8_t* codes) const;
  void store_codes(Index first, Index count);
  [[nodiscard]] std::size_t real_values() const { return static_cast<std::size_t>(neurons() * inputs_); }

  Index inputs_;
  Index tile_width_;
  std::vector<Alphabet> alphabets_;
  Visit visit_;
  Index next_input_ = 0;
  AlignedBuffer<float> weights_;
  AlignedBuffer<std::uint8_t> codes_;
  AlignedBuffer<float> W_;
  AlignedBuffer<float> Q_;
  AlignedBuffer<std::uint8_t> block_codes_;
  AlignedBuffer<float> step_;
  AlignedBuffer<float> inverse_spacing_;
  AlignedBuffer<std::int32_t> saturated_;
  AlignedBuffer<float> threshold_;     ///< of soft and hard rounding
  AlignedBuffer<float> shift_;         ///< of hard rounding
  AlignedBuffer<std::uint64_t> seed_;  ///< of stochastic rounding
  AlignedBuffer<double> gain_;
};

}  // namespace gpfq::quant
