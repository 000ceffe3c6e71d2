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
// Rows of a tile, the neurons of a row contiguous: as columns to Eigen, so that BLAS packs them by whole lines.
using Rows = Eigen::Map<Matrix, Eigen::Aligned64>;
using ConstRows = Eigen::Map<const Matrix, Eigen::Aligned64>;

// Rows of U that are formed at once from both outputs: a tile of 256 neurons then stays in a second-level cache.
constexpr Index difference_rows = 256;

}  // namespace

TilePath::TilePath(const PathShape& shape, Index tile_width, std::vector<Alphabet> alphabets)
    : shape_(shape),
      tile_(shape.inputs, shape.block_width, tile_width, std::move(alphabets)),
      U_(shape.keeps_outputs && !shape.shared ? difference_rows * tile_width : tile_width * shape.stride()),
      analog_(shape.keeps_outputs ? tile_width * shape.stride() : 0),
      quantized_(shape.keeps_outputs && !shape.shared ? tile_width * shape.stride() : 0),
      P_(tile_width * shape.block_width),
      D_(tile_width * shape.block_width * 2),
      partial_(tile_width * shape.block_width),
      sum_(shape.block_width, tile_width) {}

Index TilePath::bytes(const PathShape& shape, Index tile_width) {
  const bool apart = shape.keeps_outputs && !shape.shared;
  const Index rows = shape.stride() * (shape.keeps_outputs ? 2 : 1) + (apart ? difference_rows : 0);
  return Tile::bytes(shape.inputs, shape.block_width, tile_width) + tile_width * (rows + shape.block_width * 4) * 4 +
         FixedPointSum::bytes(shape.block_width, tile_width);
}

/// P = XqᵀU over the rows here, by chunks in fixed point. |P_tj| <= m · max|Xq_t| · max|U|.
void TilePath::project(const InputBlock& block) {
  const Index width = tile_.width();
  std::vector<int> row_exponents;
  for (Index t = 0; t < block.count(); ++t)
    row_exponents.push_back(
        bound_exponent(block.quantized_bound(t) * residual_bound_ * static_cast<double>(shape_.samples)));
  sum_.start(row_exponents, std::vector<int>(static_cast<std::size_t>(width), 0));
  if (tile_.next_input() == 0) return;  // U is zero
  for (Index chunk = 0; chunk < shape_.chunk_count(); ++chunk) {
    project_chunk(block, shape_.offset(chunk), shape_.padded_rows(chunk));
    sum_.add(partial_.data(), width);
  }
}

void TilePath::project_chunk(const InputBlock& block, Index begin, Index rows) {
  const Index width = tile_.width();
  const Eigen::OuterStride<> stride(shape_.stride());
  Rows partial(partial_.data(), width, block.count());
  if (quantized_.size() == 0) {
    partial.noalias() = ConstRows(U_.data() + begin * width, width, rows) *
                        ConstColumns(block.quantized() + begin, rows, block.count(), stride);
    return;
  }
  for (Index first = 0; first < rows; first += difference_rows) {
    const Index at = begin + first;
    const Index count = std::min(difference_rows, rows - first);
    const float* analog = analog_.data() + at * width;
    const float* quantized = quantized_.data() + at * width;
    for (Index i = 0; i < count * width; ++i) U_[i] = analog[i] - quantized[i];
    const ConstRows U(U_.data(), width, count);
    const ConstColumns Xq(block.quantized() + at, count, block.count(), stride);
    if (first == 0)
      partial.noalias() = U * Xq;
    else
      partial.noalias() += U * Xq;
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

/// U += X W − Xq Q, in one product where the outputs are not kept; else V += X W, with U += X (W − Q) or Vq += Xq Q.
void TilePath::update_residual(const InputBlock& block) {
  const Index count = block.count();
  const Index width = tile_.width();
  const Index values = count * width;
  const float* W = tile_.W();
  const float* Q = tile_.Q();
  float* D = D_.data();
  if (shape_.shared) {
    for (Index i = 0; i < values; ++i) D[i] = W[i] - Q[i];
    if (shape_.keeps_outputs) add_product(block.analog(), count, W, analog_.data());
    add_product(block.quantized(), count, D, U_.data());
  } else if (shape_.keeps_outputs) {
    add_product(block.analog(), count, W, analog_.data());
    add_product(block.quantized(), count, Q, quantized_.data());
  } else {
    for (Index i = 0; i < values; ++i) D[i] = -Q[i];
    std::copy_n(W, values, D + values);
    add_product(block.quantized(), 2 * count, D, U_.data());
  }
}

/// rows×n += (columns of inputs) · (depth×n values)
void TilePath::add_product(const float* inputs, Index depth, const float* values, float* rows) {
  const Index width = tile_.width();
  const Eigen::OuterStride<> stride(shape_.stride());
  const ConstRows right(values, width, depth);
  for (Index chunk = 0; chunk < shape_.chunk_count(); ++chunk) {
    const Index begin = shape_.offset(chunk);
    const ConstColumns left(inputs + begin, shape_.padded_rows(chunk), depth, stride);
    Rows(rows + begin * width, width, shape_.padded_rows(chunk)).noalias() += right * left.transpose();
  }
}

void TilePath::widen_residual_bound(const InputBlock& block) {
  const Index width = tile_.width();
  const auto largest = [&](const float* values, Index t) {
    return static_cast<double>(Eigen::Map<const Eigen::ArrayXf>(values + t * width, width).abs().maxCoeff());
  };
  for (Index t = 0; t < block.count(); ++t)
    residual_bound_ += largest(tile_.W(), t) * block.analog_bound(t) + largest(tile_.Q(), t) * block.quantized_bound(t);
}

std::span<float> TilePath::kept(Index array, Index chunk) {
  require(array >= 0 && array < kept_arrays(shape_) && chunk >= 0 && chunk < shape_.chunk_count(),
          "TilePath::kept: no such array or chunk");
  AlignedBuffer<float>& rows = !shape_.keeps_outputs ? U_ : array == 0 ? analog_ : shape_.shared ? U_ : quantized_;
  const Index width = tile_.width();
  return rows.span().subspan(static_cast<std::size_t>(shape_.offset(chunk) * width),
                             static_cast<std::size_t>(shape_.padded_rows(chunk) * width));
}

void TilePath::restore(Index next_input, double residual_bound, std::span<const std::uint8_t> codes,
                       std::span<const std::int32_t> saturated) {
  tile_.restore(next_input, codes, saturated);
  residual_bound_ = residual_bound;
}

TileStatistics TilePath::statistics() const {
  TileStatistics statistics{tile_.saturated(), tile_.zeros(), 0};
  for (Index j = 0; j < neurons(); ++j)
    for (const float u : residual(j)) statistics.residual_squared_norm += static_cast<double>(u) * u;
  return statistics;
}

Index TilePath::rows_of(Index chunk) const {
  return std::min(shape_.sample_chunk, shape_.samples - (shape_.first_chunk + chunk) * shape_.sample_chunk);
}

std::vector<float> TilePath::residual(Index neuron) const {
  require(neuron >= 0 && neuron < neurons(), "TilePath::residual: no such neuron");
  std::vector<float> rows;
  for (Index chunk = 0; chunk < shape_.chunk_count(); ++chunk) {
    const Index width = tile_.width();
    const Index begin = shape_.offset(chunk) * width + neuron;
    for (Index i = 0; i < rows_of(chunk); ++i) {
      const Index at = begin + i * width;
      rows.push_back(quantized_.size() > 0 ? analog_[at] - quantized_[at] : U_[at]);
    }
  }
  return rows;
}

void TilePath::outputs(Index chunk, float* analog, float* quantized) const {
  require(shape_.keeps_outputs, "TilePath::outputs: they are kept");
  for (Index i = 0; i < rows_of(chunk); ++i) {
    const Index at = (shape_.offset(chunk) + i) * tile_.width();
    for (Index j = 0; j < neurons(); ++j) {
      *analog++ = analog_[at + j];
      *quantized++ = shape_.shared ? analog_[at + j] - U_[at + j] : quantized_[at + j];
    }
  }
}

}  // namespace gpfq::quant
