// SPDX-License-Identifier: Apache-2.0
// Bounds, G and C of a block: products by sample chunk, added in fixed point.
#include "gpfq/quant/input_block.hpp"

#include <Eigen/Core>

#include <algorithm>
#include <cmath>
#include <mutex>

#include "gpfq/base/error.hpp"
#include "gpfq/base/magnitude.hpp"
#include "gpfq/base/parallel.hpp"

namespace gpfq::quant {
namespace {

using Matrix = Eigen::MatrixXf;
using AlignedColumns = Eigen::Map<const Matrix, Eigen::Aligned64, Eigen::OuterStride<>>;
constexpr float largest_usable = 1e15F;

/// max|x|; infinite where one is not a number.
double bound_of(const float* values, Index count) {
  const float largest = largest_magnitude(values, count);
  return std::isnan(largest) ? HUGE_VAL : static_cast<double>(largest);
}

}  // namespace

ColumnSums::ColumnSums(std::span<const double> bounds, Index samples)
    : exponents_(bound_exponents(bounds, static_cast<double>(samples))), sums_(bounds.size(), 0) {}

void ColumnSums::add(Index column, const float* values, Index rows) {
  const double sum = Eigen::Map<const Eigen::ArrayXf>(values, rows).cast<double>().sum();
  const auto at = static_cast<std::size_t>(column);
  sums_[at] += static_cast<std::int64_t>(std::ldexp(sum, sum_bits - exponents_[at]));
}

std::vector<double> ColumnSums::finish(RowReducer& reducer) {
  reducer.sum(sums_);
  std::vector<double> values;
  for (std::size_t at = 0; at < sums_.size(); ++at)
    values.push_back(std::ldexp(static_cast<double>(sums_[at]), exponents_[at] - sum_bits));
  return values;
}

float inverse_of_norm(float squared_norm) {
  const float inverse = 1.0F / squared_norm;
  return squared_norm > 0 && std::isfinite(inverse) ? inverse : 0.0F;
}

InputBlock::InputBlock(const PathShape& shape) : InputBlock(shape, {}) {
  own_values_ = AlignedBuffer<float>(value_count(shape));
  values_ = own_values_.data();
}

InputBlock::InputBlock(const PathShape& shape, std::span<float> values)
    : shape_(shape),
      values_(values.data()),
      G_(shape.block_width * shape.block_width),
      C_(shape.shared ? 0 : shape.block_width * shape.block_width),
      inverse_norm_(shape.block_width),
      sum_(shape.block_width, shape.block_width * shape.networks()) {
  require(shape.samples > 0 && shape.block_width > 0 && shape.sample_chunk > 0, "InputBlock: empty shape");
}

Index InputBlock::value_count(const PathShape& shape) {
  return shape.stride() * shape.block_width * shape.networks();
}

Index InputBlock::bytes(const PathShape& shape) {
  const Index entries = shape.block_width * shape.block_width * shape.networks();
  // Of G and C themselves and of a chunk's part of them.
  return (value_count(shape) + 2 * entries + shape.block_width) * static_cast<Index>(sizeof(float)) +
         FixedPointSum::bytes(shape.block_width, shape.block_width * shape.networks());
}

void InputBlock::begin(Index count) {
  require(count > 0 && count <= shape_.block_width, "InputBlock::begin: 1 <= count <= block_width");
  count_ = count;
}

void InputBlock::measure(Range chunks, RowReducer& reducer) {
  const Index columns = count_ * shape_.networks();
  bounds_.assign(static_cast<std::size_t>(columns), 0.0);
  if (!chunks.empty()) {
    const Index begin = shape_.offset(chunks.begin);
    const Index rows = shape_.offset(chunks.end - 1) + shape_.padded_rows(chunks.end - 1) - begin;
    for (Index t = 0; t < columns; ++t)
      bounds_[static_cast<std::size_t>(t)] = bound_of(values_ + t * shape_.stride() + begin, rows);
  }
  reducer.max(bounds_);
}

bool InputBlock::is_usable() const {
  return std::all_of(bounds_.begin(), bounds_.end(), [](double bound) { return bound <= largest_usable; });
}

std::optional<std::pair<Index, Index>> InputBlock::find_unusable() const {
  for (Index t = 0; t < count_ * shape_.networks(); ++t)
    for (Index chunk = 0; chunk < shape_.chunk_count(); ++chunk)
      for (Index i = 0; i < shape_.padded_rows(chunk); ++i)
        if (!(std::abs(values_[t * shape_.stride() + shape_.offset(chunk) + i]) <= largest_usable))
          return std::pair{(shape_.first_chunk + chunk) * shape_.sample_chunk + i, t % count_};
  return std::nullopt;
}

void InputBlock::form_products(Range chunks, int threads, RowReducer& reducer) {
  const std::span<const double> bounds(bounds_);
  sum_.start(bound_exponents(bounds.first(static_cast<std::size_t>(count_)), static_cast<double>(shape_.samples)),
             bound_exponents(bounds, 1.0));
  add_products(chunks, threads);
  reducer.sum(sum_.raw());
  if (shape_.sums_columns) sum_columns(chunks, reducer);
  for (Index t = 0; t < count_; ++t) {
    for (Index s = 0; s < count_; ++s) {
      G_[t * count_ + s] = static_cast<float>(sum_.value(t, s));
      if (!shape_.shared) C_[t * count_ + s] = static_cast<float>(sum_.value(t, count_ + s));
    }
    inverse_norm_[t] = inverse_of_norm(G_[t * count_ + t]);
  }
}

void InputBlock::sum_columns(Range chunks, RowReducer& reducer) {
  ColumnSums sums(bounds_, shape_.samples);
  for (Index column = 0; column < count_ * shape_.networks(); ++column)
    for (Index chunk = chunks.begin; chunk < chunks.end; ++chunk)
      sums.add(column, values_ + column * shape_.stride() + shape_.offset(chunk), shape_.padded_rows(chunk));
  column_sums_ = sums.finish(reducer);
}

void InputBlock::form_products(int threads) {
  RowReducer none;
  const Range all{0, shape_.chunk_count()};
  measure(all, none);
  form_products(all, threads, none);
}

/// Rows t of G and C side by side: ⟨Xq_t, Xq_s⟩, a symmetric product, then ⟨Xq_t, X_s⟩, of which s <= t is read: rows t
/// of C go in two halves, so that the upper half's products with later inputs are left out.
void InputBlock::add_products(Range chunks, int threads) {
  const Index columns = count_ * shape_.networks();
  const Index half = count_ / 2 / alignment_floats * alignment_floats;
  std::mutex adding;
  parallel_for(chunks.size(), threads, [&](Index i) {
    const Index chunk = chunks.begin + i;
    const Index rows = shape_.padded_rows(chunk);
    const Eigen::OuterStride<> stride(shape_.stride());
    const AlignedColumns Xq(quantized() + shape_.offset(chunk), rows, count_, stride);
    Matrix partial = Matrix::Zero(columns, count_);
    partial.topRows(count_).selfadjointView<Eigen::Upper>().rankUpdate(Xq.transpose());
    if (!shape_.shared) {
      const AlignedColumns X(analog() + shape_.offset(chunk), rows, count_, stride);
      auto C = partial.bottomRows(count_);
      C.topLeftCorner(half, half).noalias() = X.leftCols(half).transpose() * Xq.leftCols(half);
      C.rightCols(count_ - half).noalias() = X.transpose() * Xq.rightCols(count_ - half);
    }
    const std::lock_guard lock(adding);
    sum_.add(partial.data(), columns);
  });
}

Index InputBlock::dead_count() const {
  return std::count(inverse_norm_.data(), inverse_norm_.data() + count_, 0.0F);
}

}  // namespace gpfq::quant
