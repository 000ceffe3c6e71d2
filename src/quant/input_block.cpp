// SPDX-License-Identifier: Apache-2.0
// Bounds, G and C of a block: products by sample chunk, added in fixed point.
#include "gpfq/quant/input_block.hpp"

#include <Eigen/Core>

#include <algorithm>
#include <cmath>
#include <mutex>

#include "gpfq/base/error.hpp"
#include "gpfq/base/parallel.hpp"

namespace gpfq::quant {
namespace {

using Matrix = Eigen::MatrixXf;
using ColumnsOf = Eigen::Map<const Matrix, Eigen::Aligned64, Eigen::OuterStride<>>;
constexpr float largest_usable = 1e15F;

/// max|x| of each column, exact whatever the order.
void column_bounds(const float* values, Index stride, Index count, std::vector<double>& bounds) {
  bounds.assign(static_cast<std::size_t>(count), 0.0);
  for (Index t = 0; t < count; ++t) {
    float largest = 0;
    const float* column = values + t * stride;
    for (Index i = 0; i < stride; ++i) largest = std::max(largest, std::abs(column[i]));
    bounds[static_cast<std::size_t>(t)] = largest;
  }
}

std::vector<int> exponents(const std::vector<double>& bounds, double factor) {
  std::vector<int> result;
  for (const double bound : bounds) result.push_back(bound_exponent(bound * factor));
  return result;
}

}  // namespace

float inverse_of_norm(float squared_norm) {
  const float inverse = 1.0F / squared_norm;
  return squared_norm > 0 && std::isfinite(inverse) ? inverse : 0.0F;
}

InputBlock::InputBlock(const PathShape& shape)
    : shape_(shape),
      values_(shape.stride() * shape.block_width * (shape.shared ? 1 : 2)),
      G_(shape.block_width * shape.block_width),
      C_(shape.shared ? 0 : shape.block_width * shape.block_width),
      inverse_norm_(shape.block_width),
      sum_(shape.block_width, shape.block_width) {
  require(shape.samples > 0 && shape.block_width > 0 && shape.sample_chunk > 0, "InputBlock: empty shape");
}

Index InputBlock::bytes(const PathShape& shape) {
  const Index square = shape.block_width * shape.block_width;
  const Index floats = shape.stride() * shape.block_width * (shape.shared ? 1 : 2) + square * (shape.shared ? 1 : 2) +
                       shape.block_width;
  return floats * static_cast<Index>(sizeof(float)) + FixedPointSum::bytes(shape.block_width, shape.block_width);
}

void InputBlock::begin(Index count) {
  require(count > 0 && count <= shape_.block_width, "InputBlock::begin: 1 <= count <= block_width");
  count_ = count;
}

std::optional<std::pair<Index, Index>> InputBlock::find_unusable() const {
  const Index columns = count_ * (shape_.shared ? 1 : 2);
  for (Index t = 0; t < columns; ++t) {
    const float* column = values_.data() + t * shape_.stride();
    bool usable = true;
    for (Index i = 0; i < shape_.stride(); ++i) usable = usable && std::abs(column[i]) <= largest_usable;
    if (usable) continue;
    for (Index chunk = 0; chunk < shape_.chunk_count(); ++chunk)
      for (Index i = 0; i < shape_.padded_rows(chunk); ++i)
        if (!(std::abs(column[shape_.offset(chunk) + i]) <= largest_usable))
          return std::pair{(shape_.first_chunk + chunk) * shape_.sample_chunk + i, t % count_};
  }
  return std::nullopt;
}

void InputBlock::sum_product(const float* right, const std::vector<double>& right_bound, AlignedBuffer<float>& result,
                             int threads, RowReducer& reducer) {
  sum_.start(exponents(quantized_bound_, static_cast<double>(shape_.samples)), exponents(right_bound, 1.0));
  std::mutex adding;
  parallel_for(shape_.chunk_count(), threads, [&](Index chunk) {
    const Index begin = shape_.offset(chunk);
    const Index rows = shape_.padded_rows(chunk);
    const Eigen::OuterStride<> stride(shape_.stride());
    const ColumnsOf left_chunk(quantized() + begin, rows, count_, stride);
    const ColumnsOf right_chunk(right + begin, rows, count_, stride);
    Matrix partial(count_, count_);  // column s holds ⟨Xq_t, X_s⟩ for all t
    partial.noalias() = left_chunk.transpose() * right_chunk;
    partial.transposeInPlace();
    const std::lock_guard lock(adding);
    sum_.add(partial.data(), count_);
  });
  reducer.sum(sum_.raw());
  for (Index t = 0; t < count_; ++t)
    for (Index s = 0; s < count_; ++s) result[t * count_ + s] = static_cast<float>(sum_.value(t, s));
}

void InputBlock::form_products(int threads, RowReducer& reducer) {
  column_bounds(quantized(), shape_.stride(), count_, quantized_bound_);
  reducer.max(quantized_bound_);
  sum_product(quantized(), quantized_bound_, G_, threads, reducer);
  if (!shape_.shared) {
    column_bounds(analog(), shape_.stride(), count_, analog_bound_);
    reducer.max(analog_bound_);
    sum_product(analog(), analog_bound_, C_, threads, reducer);
  }
  for (Index t = 0; t < count_; ++t) inverse_norm_[t] = inverse_of_norm(G_[t * count_ + t]);
}

Index InputBlock::dead_count() const {
  return std::count(inverse_norm_.data(), inverse_norm_.data() + count_, 0.0F);
}

}  // namespace gpfq::quant
