// SPDX-License-Identifier: Apache-2.0
// The residual form, block by block. Everything of length m is in the two products; the shapes of
// both are fixed by the layer, so every tile rounds alike wherever it is computed.
#include "gpfq/quant/tile_path.hpp"

#include <Eigen/Core>

#include <algorithm>
#include <cmath>

#include "gpfq/base/error.hpp"
#include "gpfq/quant/block_kernel.hpp"

namespace gpfq::quant {
namespace {

using Matrix = Eigen::MatrixXf;
using ConstColumns = Eigen::Map<const Matrix, Eigen::Aligned64, Eigen::OuterStride<>>;
using Columns = Eigen::Map<Matrix, Eigen::Aligned64, Eigen::OuterStride<>>;

}  // namespace

TilePath::TilePath(const PathShape& shape, Index tile_width, std::vector<Alphabet> alphabets)
    : shape_(shape),
      tile_width_(tile_width),
      alphabets_(std::move(alphabets)),
      weights_(tile_width * shape.inputs),
      codes_(tile_width * shape.inputs),
      U_(tile_width * shape.stride()),
      W_(tile_width * shape.block_width),
      P_(tile_width * shape.block_width),
      Q_(tile_width * shape.block_width),
      D_(tile_width * shape.block_width * (shape.shared ? 1 : 2)),
      block_codes_(tile_width * shape.block_width),
      partial_(tile_width * shape.block_width),
      step_(tile_width),
      inverse_spacing_(tile_width),
      saturated_(tile_width),
      sum_(shape.block_width, tile_width) {
  require(tile_width > 0 && tile_width % kernel_lanes == 0, "TilePath: the width is a multiple of kernel_lanes");
  require(!alphabets_.empty() && neurons() <= tile_width, "TilePath: 1 <= neurons <= tile_width");
  for (Index j = 0; j < neurons(); ++j) {
    const Alphabet& alphabet = alphabets_[static_cast<std::size_t>(j)];
    require(alphabet.levels() == alphabets_.front().levels(), "TilePath: one level count per tile");
    step_[j] = alphabet.step();
    const float inverse = 0.5F / alphabet.step();
    inverse_spacing_[j] = std::isfinite(inverse) ? inverse : 0.0F;
  }
}

Index TilePath::bytes(const PathShape& shape, Index tile_width) {
  const Index per_neuron = shape.inputs * 5 + shape.stride() * 4 +
                           shape.block_width * (4 * (shape.shared ? 5 : 6) + 1) + 3 * 4;
  return tile_width * per_neuron + FixedPointSum::bytes(shape.block_width, tile_width);
}

void TilePath::advance(const InputBlock& block) {
  require(next_input_ + block.count() <= shape_.inputs, "TilePath: more inputs than the layer has");
  load_block_weights(block.count());
  project_residual(block);
  BlockOperands operands;
  operands.width = block.count();
  operands.neurons = tile_width_;
  operands.G = block.G();
  operands.C = block.C();
  operands.inverse_norm = block.inverse_norm();
  operands.W = W_.data();
  operands.P = P_.data();
  operands.step = step_.data();
  operands.inverse_spacing = inverse_spacing_.data();
  operands.levels = alphabets_.front().levels();
  operands.Q = Q_.data();
  operands.codes = block_codes_.data();
  operands.saturated = saturated_.data();
  quantize_block(operands);
  update_residual(block);
  store_codes(block.count());
  next_input_ += block.count();
}

void TilePath::load_block_weights(Index count) {
  for (Index t = 0; t < count; ++t)
    for (Index j = 0; j < neurons(); ++j)
      W_[t * tile_width_ + j] = weights_[j * shape_.inputs + next_input_ + t];
}

/// P = XqᵀU, summed over chunks in fixed point. |P_tj| <= m · max|Xq_t| · max|U|.
void TilePath::project_residual(const InputBlock& block) {
  const Index count = block.count();
  if (next_input_ == 0) {
    std::fill_n(P_.data(), count * tile_width_, 0.0F);
    return;
  }
  std::vector<int> row_exponents;
  for (Index t = 0; t < count; ++t)
    row_exponents.push_back(bound_exponent(block.quantized_bound(t) * residual_bound_ * static_cast<double>(shape_.samples)));
  sum_.start(row_exponents, std::vector<int>(static_cast<std::size_t>(tile_width_), 0));
  const Eigen::OuterStride<> stride(shape_.stride());
  for (Index begin = 0; begin < shape_.stride(); begin += shape_.sample_chunk) {
    const Index rows = std::min(shape_.sample_chunk, shape_.stride() - begin);
    const ConstColumns Xq(block.quantized() + begin, rows, count, stride);
    const ConstColumns U(U_.data() + begin, rows, tile_width_, stride);
    Eigen::Map<Matrix, Eigen::Aligned64> partial(partial_.data(), tile_width_, count);
    partial.noalias() = U.transpose() * Xq;
    sum_.add(partial_.data(), tile_width_);
  }
  for (Index t = 0; t < count; ++t)
    for (Index j = 0; j < tile_width_; ++j) P_[t * tile_width_ + j] = static_cast<float>(sum_.value(t, j));
}

/// U += X W − Xq Q as one product over 2b columns (b where X = Xq).
void TilePath::update_residual(const InputBlock& block) {
  const Index count = block.count();
  const Index values = count * tile_width_;
  const Index depth = shape_.shared ? count : 2 * count;
  for (Index i = 0; i < values; ++i) D_[i] = shape_.shared ? W_[i] - Q_[i] : -Q_[i];
  if (!shape_.shared) std::copy_n(W_.data(), values, D_.data() + values);
  const Eigen::OuterStride<> stride(shape_.stride());
  const Eigen::Map<const Matrix, Eigen::Aligned64> D(D_.data(), tile_width_, depth);
  for (Index begin = 0; begin < shape_.stride(); begin += shape_.sample_chunk) {
    const Index rows = std::min(shape_.sample_chunk, shape_.stride() - begin);
    const ConstColumns inputs(block.quantized() + begin, rows, depth, stride);
    Columns U(U_.data() + begin, rows, tile_width_, stride);
    U.noalias() += inputs * D.transpose();
  }
  for (Index t = 0; t < count; ++t) {
    double largest_weight = 0;
    double largest_level = 0;
    for (Index j = 0; j < tile_width_; ++j) {
      largest_weight = std::max(largest_weight, std::abs(static_cast<double>(W_[t * tile_width_ + j])));
      largest_level = std::max(largest_level, std::abs(static_cast<double>(Q_[t * tile_width_ + j])));
    }
    residual_bound_ += largest_weight * block.analog_bound(t) + largest_level * block.quantized_bound(t);
  }
}

void TilePath::store_codes(Index count) {
  for (Index j = 0; j < neurons(); ++j)
    for (Index t = 0; t < count; ++t)
      codes_[j * shape_.inputs + next_input_ + t] = block_codes_[t * tile_width_ + j];
}

std::span<const float> TilePath::residual(Index neuron) const {
  require(neuron >= 0 && neuron < neurons(), "TilePath::residual: no such neuron");
  return {U_.data() + neuron * shape_.stride(), static_cast<std::size_t>(shape_.samples)};
}

TileStatistics TilePath::statistics() const {
  TileStatistics statistics;
  for (Index j = 0; j < neurons(); ++j) {
    statistics.saturated += saturated_[j];
    for (const float u : residual(j)) statistics.residual_squared_norm += static_cast<double>(u) * u;
  }
  const Alphabet& alphabet = alphabets_.front();
  const bool has_zero = alphabet.levels() % 2 == 1;
  if (has_zero) statistics.zeros = std::count(codes().begin(), codes().end(), (alphabet.levels() - 1) / 2);
  return statistics;
}

}  // namespace gpfq::quant
