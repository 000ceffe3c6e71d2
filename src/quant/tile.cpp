// SPDX-License-Identifier: Apache-2.0
// A tile's weights go in neuron by neuron and are turned, block by block, into what the kernel reads.
#include "gpfq/quant/tile.hpp"

#include <algorithm>
#include <cmath>

#include "gpfq/base/error.hpp"
#include "gpfq/quant/block_kernel.hpp"

namespace gpfq::quant {
namespace {

/// Visits a rows × columns matrix in squares whose lines stay in cache, whichever way it is stored.
template <class Visit>
void for_squares(Index rows, Index columns, Visit visit) {
  constexpr Index side = 16;
  for (Index i0 = 0; i0 < rows; i0 += side)
    for (Index j0 = 0; j0 < columns; j0 += side)
      for (Index i = i0; i < std::min(rows, i0 + side); ++i)
        for (Index j = j0; j < std::min(columns, j0 + side); ++j) visit(i, j);
}

}  // namespace

Tile::Tile(Index inputs, Index block_width, Index tile_width, std::vector<Alphabet> alphabets)
    : inputs_(inputs),
      tile_width_(tile_width),
      alphabets_(std::move(alphabets)),
      weights_(tile_width * inputs),
      codes_(tile_width * inputs),
      W_(tile_width * block_width),
      Q_(tile_width * block_width),
      block_codes_(tile_width * block_width),
      step_(tile_width),
      inverse_spacing_(tile_width),
      saturated_(tile_width) {
  require(tile_width > 0 && tile_width % kernel_lanes == 0, "Tile: the width is a multiple of kernel_lanes");
  require(!alphabets_.empty() && neurons() <= tile_width, "Tile: 1 <= neurons <= tile_width");
  for (Index j = 0; j < neurons(); ++j) {
    const Alphabet& alphabet = alphabets_[static_cast<std::size_t>(j)];
    require(alphabet.levels() == alphabets_.front().levels(), "Tile: one level count per tile");
    step_[j] = alphabet.step();
    const float inverse = 0.5F / alphabet.step();
    inverse_spacing_[j] = std::isfinite(inverse) ? inverse : 0.0F;
  }
}

Index Tile::bytes(Index inputs, Index block_width, Index tile_width) {
  return tile_width * (inputs * 5 + block_width * 9 + 12);
}

void Tile::quantize_next(Index count, const float* G, const float* C, const float* inverse_norm, const float* P) {
  require(next_input_ + count <= inputs_, "Tile: more inputs than the layer has");
  for_squares(neurons(), count, [&](Index j, Index t) { W_[t * tile_width_ + j] = weights_[j * inputs_ + next_input_ + t]; });
  BlockOperands operands;
  operands.width = count;
  operands.neurons = tile_width_;
  operands.G = G;
  operands.C = C;
  operands.inverse_norm = inverse_norm;
  operands.W = W_.data();
  operands.P = P;
  operands.step = step_.data();
  operands.inverse_spacing = inverse_spacing_.data();
  operands.levels = alphabets_.front().levels();
  operands.Q = Q_.data();
  operands.codes = block_codes_.data();
  operands.saturated = saturated_.data();
  quantize_block(operands);
  for_squares(neurons(), count, [&](Index j, Index t) { codes_[j * inputs_ + next_input_ + t] = block_codes_[t * tile_width_ + j]; });
  next_input_ += count;
}

void Tile::restore(Index next_input, std::span<const std::uint8_t> codes, std::span<const std::int32_t> saturated) {
  require(next_input >= 0 && next_input <= inputs_ && codes.size() == real_values() &&
              saturated.size() == saturated_.span().size(),
          "Tile::restore: another tile's state");
  next_input_ = next_input;
  std::copy(codes.begin(), codes.end(), codes_.data());
  std::copy(saturated.begin(), saturated.end(), saturated_.data());
}

Index Tile::saturated() const {
  Index count = 0;
  for (Index j = 0; j < neurons(); ++j) count += saturated_[j];
  return count;
}

Index Tile::zeros() const {
  const int levels = alphabets_.front().levels();
  return levels % 2 == 1 ? std::count(codes().begin(), codes().end(), (levels - 1) / 2) : 0;
}

}  // namespace gpfq::quant
