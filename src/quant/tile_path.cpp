// SPDX-License-Identifier: Apache-2.0
// The residual form, block by block. Everything of length m is in the two products; the shapes of
// both are fixed by the layer, so every tile rounds alike wherever it is computed.
#include "gpfq/quant/tile_path.hpp"

#include <Eigen/Core>

#include <algorithm>
#include <cmath>

#include "gpfq/base/error.hpp"

namespace gpfq::quant {
namespace {

using Matrix = Eigen::MatrixXf;
using ConstColumns = Eigen::Map<const Matrix, Eigen::Aligned64, Eigen::OuterStride<>>;
using Columns = Eigen::Map<Matrix, Eigen::Aligned64, Eigen::OuterStride<>>;

}  // namespace

TilePath::TilePath(const PathShape& shape, Index tile_width, std::vector<Alphabet> alphabets)
    : shape_(shape),
      tile_(shape.inputs, shape.block_width, tile_width, std::move(alphabets)),
      U_(tile_width * shape.stride()),
      P_(tile_width * shape.block_width),
      D_(tile_width * shape.block_width * (shape.shared ? 1 : 2)),
      partial_(tile_width * shape.block_width),
      sum_(shape.block_width, tile_width) {}

Index TilePath::bytes(const PathShape& shape, Index tile_width) {
  const Index floats = shape.stride() + shape.block_width * (shape.shared ? 3 : 4);
  return Tile::bytes(shape.inputs, shape.block_width, tile_width) + tile_width * floats * 4 +
         FixedPointSum::bytes(shape.block_width, tile_width);
}

/// P = XqᵀU over the rows here, by chunks in fixed point. |P_tj| <= m · max|Xq_t| · max|U|.
void TilePath::project(const InputBlock& block) {
  const Index count = block.count();
  const Index width = tile_.width();
  std::vector<int> row_exponents;
  for (Index t = 0; t < count; ++t)
    row_exponents.push_back(
        bound_exponent(block.quantized_bound(t) * residual_bound_ * static_cast<double>(shape_.samples)));
  sum_.start(row_exponents, std::vector<int>(static_cast<std::size_t>(width), 0));
  if (tile_.next_input() == 0) return;  // U is zero
  const Eigen::OuterStride<> stride(shape_.stride());
  for (Index chunk = 0; chunk < shape_.chunk_count(); ++chunk) {
    const Index begin = shape_.offset(chunk);
    const Index rows = shape_.padded_rows(chunk);
    const ConstColumns Xq(block.quantized() + begin, rows, count, stride);
    const ConstColumns U(U_.data() + begin, rows, width, stride);
    Eigen::Map<Matrix, Eigen::Aligned64> partial(partial_.data(), width, count);
    partial.noalias() = U.transpose() * Xq;
    sum_.add(partial_.data(), width);
  }
}

void TilePath::quantize(const InputBlock& block) {
  const Index width = tile_.width();
  for (Index t = 0; t < block.count(); ++t)
    for (Index j = 0; j < width; ++j) P_[t * width + j] = static_cast<float>(sum_.value(t, j));
  tile_.quantize_next(block.count(), block.G(), block.C(), block.inverse_norm(), P_.data());
  update_residual(block);
  widen_residual_bound(block);
}

/// U += X W − Xq Q as one product over 2b columns (b where X = Xq).
void TilePath::update_residual(const InputBlock& block) {
  const Index count = block.count();
  const Index width = tile_.width();
  const Index values = count * width;
  const float* W = tile_.W();
  const float* Q = tile_.Q();
  for (Index i = 0; i < values; ++i) D_[i] = shape_.shared ? W[i] - Q[i] : -Q[i];
  if (!shape_.shared) std::copy_n(W, values, D_.data() + values);
  const Index depth = shape_.shared ? count : 2 * count;
  const Eigen::OuterStride<> stride(shape_.stride());
  const Eigen::Map<const Matrix, Eigen::Aligned64> D(D_.data(), width, depth);
  for (Index chunk = 0; chunk < shape_.chunk_count(); ++chunk) {
    const Index begin = shape_.offset(chunk);
    const Index rows = shape_.padded_rows(chunk);
    const ConstColumns inputs(block.quantized() + begin, rows, depth, stride);
    Columns U(U_.data() + begin, rows, width, stride);
    U.noalias() += inputs * D.transpose();
  }
}

void TilePath::widen_residual_bound(const InputBlock& block) {
  const Index width = tile_.width();
  for (Index t = 0; t < block.count(); ++t) {
    double largest_weight = 0;
    double largest_level = 0;
    for (Index j = 0; j < width; ++j) {
      largest_weight = std::max(largest_weight, std::abs(static_cast<double>(tile_.W()[t * width + j])));
      largest_level = std::max(largest_level, std::abs(static_cast<double>(tile_.Q()[t * width + j])));
    }
    residual_bound_ += largest_weight * block.analog_bound(t) + largest_level * block.quantized_bound(t);
  }
}

TileStatistics TilePath::statistics() const {
  TileStatistics statistics{tile_.saturated(), tile_.zeros(), 0};
  for (Index j = 0; j < neurons(); ++j)
    for (const float u : residual(j)) statistics.residual_squared_norm += static_cast<double>(u) * u;
  return statistics;
}

std::vector<float> TilePath::residual(Index neuron) const {
  require(neuron >= 0 && neuron < neurons(), "TilePath::residual: no such neuron");
  std::vector<float> rows;
  for (Index chunk = 0; chunk < shape_.chunk_count(); ++chunk) {
    const Index first = (shape_.first_chunk + chunk) * shape_.sample_chunk;
    const float* begin = U_.data() + neuron * shape_.stride() + shape_.offset(chunk);
    rows.insert(rows.end(), begin, begin + std::min(shape_.sample_chunk, shape_.samples - first));
  }
  return rows;
}

}  // namespace gpfq::quant
