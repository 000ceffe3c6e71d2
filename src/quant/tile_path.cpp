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
using AlignedColumns = Eigen::Map<const Matrix, Eigen::Aligned64, Eigen::OuterStride<>>;
// Rows of a tile, the neurons of a row contiguous: as columns to Eigen, so that BLAS packs them by whole lines.
using Rows = Eigen::Map<Matrix, Eigen::Aligned64>;
using ConstRows = Eigen::Map<const Matrix, Eigen::Aligned64>;

// Rows of U that are formed at once from both outputs: a tile of 256 neurons then stays in a second-level cache.
constexpr Index difference_rows = 256;

// What rounding in single precision may do to ⟨Xq_t, u⟩, in units of ‖Xq_t‖·‖u‖.
constexpr float norm_noise = 0x1p-18F;
// Norms of chunks are added in 64-bit integers.
constexpr int norm_bits = 61;

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
      sum_(shape.block_width, tile_width),
      chunk_norms_(shape.chunk_count() * tile_width),
      squared_norm_(tile_width),
      noise_(tile_width) {}

Index TilePath::bytes(const PathShape& shape, Index tile_width) {
  const bool apart = shape.keeps_outputs && !shape.shared;
  const Index rows = shape.stride() * (shape.keeps_outputs ? 2 : 1) + (apart ? difference_rows : 0);
  return Tile::bytes(shape.inputs, shape.block_width, tile_width) + tile_width * (rows + shape.block_width * 4 + 3) * 4 +
         shape.chunk_count() * tile_width * 8 +
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
  if (!is_sweeping_ && tile_.next_input() == 0) return;  // U is zero
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
                        AlignedColumns(block.quantized() + begin, rows, block.count(), stride);
    return;
  }
  for (Index first = 0; first < rows; first += difference_rows) {
    const Index at = begin + first;
    const Index count = std::min(difference_rows, rows - first);
    const float* analog = analog_.data() + at * width;
    const float* quantized = quantized_.data() + at * width;
    for (Index i = 0; i < count * width; ++i) U_[i] = analog[i] - quantized[i];
    const ConstRows U(U_.data(), width, count);
    const AlignedColumns Xq(block.quantized() + at, count, block.count(), stride);
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
  if (is_sweeping_) return refine(block);
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
    const AlignedColumns left(inputs + begin, shape_.padded_rows(chunk), depth, stride);
    Rows(rows + begin * width, width, shape_.padded_rows(chunk)).noalias() += right * left.transpose();
  }
}

/// U −= Xq ΔQ, or Vq += Xq ΔQ where both outputs are kept; nothing where no weight of the tile changed.
void TilePath::refine(const InputBlock& block) {
  const Index values = block.count() * tile_.width();
  const Index changes =
      tile_.refine(next_input_, block.count(), block.G(), block.inverse_norm(), P_.data(), noise_.data());
  next_input_ += block.count();
  if (changes == 0) return;
  changes_ += changes;
  float* D = D_.data();
  const float sign = quantized_.size() > 0 ? 1.0F : -1.0F;
  for (Index i = 0; i < values; ++i) D[i] = sign * tile_.D()[i];
  add_product(block.quantized(), block.count(), D, quantized_.size() > 0 ? quantized_.data() : U_.data());
  for (Index t = 0; t < block.count(); ++t) residual_bound_ += largest(D, t) * block.quantized_bound(t);
}

void TilePath::begin_sweep() {
  require(finished(), "TilePath::begin_sweep: the path is finished");
  is_sweeping_ = true;
  next_input_ = 0;
  changes_ = 0;
  gain_before_ = tile_.gain();
  set_noise();
}

void TilePath::end_sweep() {
  require(is_sweeping_ && next_input_ == shape_.inputs, "TilePath::end_sweep: all blocks of a sweep");
  is_sweeping_ = false;
  sweep_gains_.push_back(tile_.gain() - gain_before_);
}

void TilePath::set_noise() {
  for (Index j = 0; j < neurons(); ++j) noise_[j] = norm_noise * static_cast<float>(std::sqrt(squared_norm_[j]));
}

void TilePath::measure_norms() {
  const Index width = tile_.width();
  for (Index chunk = 0; chunk < shape_.chunk_count(); ++chunk) {
    double* norms = chunk_norms_.data() + chunk * width;
    std::fill_n(norms, width, 0.0);
    for (Index i = 0; i < rows_of(chunk); ++i) {
      const Index at = (shape_.offset(chunk) + i) * width;
      for (Index j = 0; j < width; ++j) {
        const float u = quantized_.size() > 0 ? analog_[at + j] - quantized_[at + j] : U_[at + j];
        norms[j] += static_cast<double>(u) * static_cast<double>(u);
      }
    }
  }
}

/// Chunks are added in fixed point, in units from the largest of them.
void TilePath::join_norms(RowReducer& reducer) {
  const Index width = tile_.width();
  std::vector<double> largest_chunk(static_cast<std::size_t>(width), 0.0);
  for (Index i = 0; i < chunk_norms_.size(); ++i) {
    double& bound = largest_chunk[static_cast<std::size_t>(i % width)];
    bound = std::max(bound, chunk_norms_[i]);
  }
  reducer.max(largest_chunk);
  std::vector<int> exponents;
  for (const double bound : largest_chunk)
    exponents.push_back(bound_exponent(bound * static_cast<double>(shape_.chunk_total())));
  std::vector<std::int64_t> sums(static_cast<std::size_t>(width), 0);
  for (Index i = 0; i < chunk_norms_.size(); ++i)
    sums[static_cast<std::size_t>(i % width)] += static_cast<std::int64_t>(
        std::ldexp(chunk_norms_[i], norm_bits - exponents[static_cast<std::size_t>(i % width)]));
  reducer.sum(sums);
  for (Index j = 0; j < width; ++j)
    squared_norm_[j] = std::ldexp(static_cast<double>(sums[static_cast<std::size_t>(j)]),
                                  exponents[static_cast<std::size_t>(j)] - norm_bits);
}

void TilePath::take(Index neuron, const TilePath& other) {
  require(other.U_.size() == U_.size() && other.analog_.size() == analog_.size(), "TilePath::take: a path of the same shape");
  tile_.take(neuron, other.tile_);
  const auto copy_column = [&](AlignedBuffer<float>& to, const AlignedBuffer<float>& from) {
    for (Index at = neuron; at < to.size(); at += tile_.width()) to[at] = from[at];
  };
  copy_column(U_, other.U_);
  copy_column(analog_, other.analog_);
  copy_column(quantized_, other.quantized_);
  squared_norm_[neuron] = other.squared_norm_[neuron];
  residual_bound_ = std::max(residual_bound_, other.residual_bound_);
}

double TilePath::largest(const float* values, Index t) const {
  return static_cast<double>(Eigen::Map<const Eigen::ArrayXf>(values + t * tile_.width(), tile_.width()).abs().maxCoeff());
}

void TilePath::widen_residual_bound(const InputBlock& block) {
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

PathState TilePath::state() const {
  PathState state;
  state.next_input = is_sweeping_ ? next_input_ : tile_.next_input();
  state.residual_bound = residual_bound_;
  state.saturated.assign(tile_.saturated_counts().begin(), tile_.saturated_counts().end());
  state.is_sweeping = is_sweeping_;
  state.changes = changes_;
  state.squared_norms.assign(squared_norm_.span().begin(), squared_norm_.span().end());
  state.gains.assign(tile_.gains().begin(), tile_.gains().end());
  state.sweep_gains = sweep_gains_;
  state.gain_before = gain_before_;
  return state;
}

void TilePath::restore(const PathState& state, std::span<const std::uint8_t> codes) {
  require(state.squared_norms.size() == squared_norm_.span().size() && state.next_input >= 0 &&
              state.next_input <= shape_.inputs,
          "TilePath::restore: another path's state");
  tile_.restore(state.is_sweeping ? shape_.inputs : state.next_input, codes, state.saturated, state.gains);
  residual_bound_ = state.residual_bound;
  is_sweeping_ = state.is_sweeping;
  next_input_ = state.next_input;
  changes_ = state.changes;
  std::copy(state.squared_norms.begin(), state.squared_norms.end(), squared_norm_.data());
  sweep_gains_ = state.sweep_gains;
  gain_before_ = state.gain_before;
  set_noise();
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
