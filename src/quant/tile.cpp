// SPDX-License-Identifier: Apache-2.0
// A tile's weights go in neuron by neuron and are turned, block by block, into what the kernel reads.
#include "gpfq/quant/tile.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "gpfq/base/error.hpp"
#include "gpfq/base/random.hpp"

namespace gpfq::quant {
namespace {

// Neurons and inputs that are turned at once: their lines stay in the first-level cache, and those of a neuron are read
// or written together.
constexpr Index strip_neurons = alignment_floats;
constexpr Index strip_inputs = 64;

/// Visits neurons × inputs in pieces of that size: visit(first neuron, neurons, first input, inputs).
template <class Visit>
void for_strips(Index neurons, Index inputs, Visit visit) {
  for (Index j0 = 0; j0 < neurons; j0 += strip_neurons)
    for (Index t0 = 0; t0 < inputs; t0 += strip_inputs)
      visit(j0, std::min(strip_neurons, neurons - j0), t0, std::min(strip_inputs, inputs - t0));
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
      saturated_(tile_width),
      gain_(tile_width) {
  require(tile_width > 0 && tile_width % kernel_lanes == 0, "Tile: the width is a multiple of kernel_lanes");
  require(!alphabets_.empty() && neurons() <= tile_width, "Tile: 1 <= neurons <= tile_width");
  for (Index j = 0; j < neurons(); ++j) {
    require(alphabet(j).levels() == alphabets_.front().levels(), "Tile: one level count per tile");
    set_alphabet(j);
  }
}

void Tile::set_alphabet(Index neuron) {
  step_[neuron] = alphabet(neuron).step();
  const float inverse = 0.5F / alphabet(neuron).step();
  inverse_spacing_[neuron] = std::isfinite(inverse) ? inverse : 0.0F;
}

void Tile::set_visit(Visit visit) {
  require(next_input_ == 0, "Tile::set_visit: before the first block");
  require(visit.order.empty() || static_cast<Index>(visit.order.size()) == inputs_, "Tile::set_visit: all inputs");
  visit_ = std::move(visit);
  const bool is_hard = visit_.rounding == RoundingKind::hard;
  if (is_hard || visit_.rounding == RoundingKind::soft) {
    threshold_ = AlignedBuffer<float>(tile_width_);
    for (Index j = 0; j < neurons(); ++j) threshold_[j] = threshold_of(visit_.threshold, alphabet(j).step());
  }
  if (is_hard) {
    shift_ = AlignedBuffer<float>(tile_width_);
    for (Index j = 0; j < neurons(); ++j) shift_[j] = alphabet(j).shift();
  }
  if (visit_.rounding == RoundingKind::stochastic) {
    seed_ = AlignedBuffer<std::uint64_t>(tile_width_);
    for (Index j = 0; j < tile_width_; ++j)
      seed_[j] = random_bits(visit_.seed, static_cast<std::uint64_t>(visit_.first_neuron + j));
  }
}

Index Tile::bytes(Index inputs, Index block_width, Index tile_width) {
  return tile_width * (inputs * 5 + block_width * 9 + 36);
}

BlockOperands Tile::operands(Index count, const float* inverse_norm, float* P) {
  require(next_input_ + count <= inputs_, "Tile: more inputs than the layer has");
  BlockOperands operands;
  operands.width = count;
  operands.neurons = tile_width_;
  operands.inverse_norm = inverse_norm;
  operands.P = P;
  operands.step = step_.data();
  operands.inverse_spacing = inverse_spacing_.data();
  operands.levels = alphabets_.front().levels();
  operands.rounding = visit_.rounding;
  operands.threshold = threshold_.data();
  operands.shift = shift_.data();
  operands.seed = seed_.data();
  operands.first_counter = next_input_;
  operands.Q = Q_.data();
  operands.codes = block_codes_.data();
  operands.saturated = saturated_.data();
  return operands;
}

/// What some inputs have in all neurons, in the order of the path. @param values  neurons × N row-major
/// @param convert  (neuron, value)   @param at  count×n, the n neurons of an input contiguous
template <class Value, class Convert, class Result>
void Tile::gather_inputs(const Value* values, Index first, Index count, Convert convert, Result* at) const {
  std::array<Value, strip_neurons * strip_inputs> piece;
  for_strips(neurons(), count, [&](Index j0, Index rows, Index t0, Index columns) {
    for (Index j = 0; j < rows; ++j) {
      const Value* row = values + (j0 + j) * inputs_;
      Value* copy = piece.data() + j * strip_inputs;
      if (visit_.order.empty())
        std::copy_n(row + first + t0, columns, copy);
      else
        for (Index t = 0; t < columns; ++t) copy[t] = row[input_at(first + t0 + t)];
    }
    for (Index t = 0; t < columns; ++t)
      for (Index j = 0; j < rows; ++j)
        at[(t0 + t) * tile_width_ + j0 + j] = convert(j0 + j, piece[static_cast<std::size_t>(j * strip_inputs + t)]);
  });
}

void Tile::copy_weights(Index first, Index count, float* W) const {
  gather_inputs(weights_.data(), first, count, [](Index, float weight) { return weight; }, W);
}

void Tile::copy_codes(Index first, Index count, std::uint8_t* codes) const {
  gather_inputs(codes_.data(), first, count, [](Index, std::uint8_t code) { return code; }, codes);
}

void Tile::copy_values(Index first, Index count, float* Q) const {
  gather_inputs(codes_.data(), first, count, [&](Index j, std::uint8_t code) { return alphabet(j).value(code); }, Q);
}

void Tile::store_codes(Index first, Index count) {
  std::array<std::uint8_t, strip_neurons * strip_inputs> piece;
  for_strips(neurons(), count, [&](Index j0, Index rows, Index t0, Index columns) {
    for (Index t = 0; t < columns; ++t)
      for (Index j = 0; j < rows; ++j)
        piece[static_cast<std::size_t>(j * strip_inputs + t)] = block_codes_[(t0 + t) * tile_width_ + j0 + j];
    for (Index j = 0; j < rows; ++j) {
      const std::uint8_t* copy = piece.data() + j * strip_inputs;
      std::uint8_t* row = codes_.data() + (j0 + j) * inputs_;
      if (visit_.order.empty())
        std::copy_n(copy, columns, row + first + t0);
      else
        for (Index t = 0; t < columns; ++t) row[input_at(first + t0 + t)] = copy[t];
    }
  });
}

void Tile::quantize_next(Index count, const float* G, const float* C, const float* inverse_norm, float* P) {
  BlockOperands block = operands(count, inverse_norm, P);
  copy_weights(next_input_, count, W_.data());
  block.G = G;
  block.C = C;
  block.W = W_.data();
  quantize_block(block);
  store_codes(next_input_, count);
  next_input_ += count;
}

void Tile::diffuse_next(Index count, const float* T, const float* inverse_norm, float* V) {
  BlockOperands block = operands(count, inverse_norm, V);
  block.G = T;
  block.diffuses = true;
  block.E = W_.data();
  quantize_block(block);
  store_codes(next_input_, count);
  next_input_ += count;
}

Index Tile::refine(Index first, Index count, const float* G, const float* inverse_norm, float* P,
                   const float* noise) {
  require(finished() && first + count <= inputs_, "Tile::refine: a finished tile and inputs that it has");
  require(visit_.rounding == RoundingKind::nearest || visit_.rounding == RoundingKind::stochastic,
          "Tile::refine: not after the sparse path, whose zeros it would undo");
  copy_values(first, count, Q_.data());
  copy_codes(first, count, block_codes_.data());
  RefineOperands block;
  block.width = count;
  block.neurons = tile_width_;
  block.G = G;
  block.inverse_norm = inverse_norm;
  block.P = P;
  block.step = step_.data();
  block.inverse_spacing = inverse_spacing_.data();
  block.noise = noise;
  block.levels = alphabets_.front().levels();
  block.Q = Q_.data();
  block.codes = block_codes_.data();
  block.D = W_.data();
  block.gain = gain_.data();
  const Index changes = refine_block(block);
  if (changes > 0) store_codes(first, count);
  return changes;
}

void Tile::take(Index neuron, const Tile& other) {
  require(other.inputs_ == inputs_ && other.neurons() == neurons(), "Tile::take: a tile of the same neurons");
  alphabets_[static_cast<std::size_t>(neuron)] = other.alphabet(neuron);
  set_alphabet(neuron);
  std::copy_n(other.codes_.data() + neuron * inputs_, inputs_, codes_.data() + neuron * inputs_);
  saturated_[neuron] = other.saturated_[neuron];
}

double Tile::gain() const {
  double sum = 0;
  for (Index j = 0; j < neurons(); ++j) sum += gain_[j];
  return sum;
}

void Tile::restore(Index next_input, std::span<const std::uint8_t> codes, std::span<const std::int32_t> saturated,
                   std::span<const double> gains) {
  require(next_input >= 0 && next_input <= inputs_ && codes.size() == real_values() &&
              saturated.size() == saturated_.span().size() && gains.size() == gain_.span().size(),
          "Tile::restore: another tile's state");
  next_input_ = next_input;
  std::copy(codes.begin(), codes.end(), codes_.data());
  std::copy(saturated.begin(), saturated.end(), saturated_.data());
  std::copy(gains.begin(), gains.end(), gain_.data());
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
