// SPDX-License-Identifier: Apache-2.0
// A block of consecutive inputs with what all neurons share of it: bounds and the products G and C.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "gpfq/base/aligned_buffer.hpp"
#include "gpfq/base/types.hpp"
#include "gpfq/quant/fixed_point_sum.hpp"

namespace gpfq::quant {

/// Extents of a layer's path that its numbers depend on: never ranks, threads or memory. The last two
/// say which rows lie here; sums over rows do not depend on them.
struct PathShape {
  Index samples = 0;          ///< m, rows in total
  Index inputs = 0;           ///< N
  Index block_width = 64;     ///< b
  Index sample_chunk = 2048;  ///< rows of one product
  bool shared = false;        ///< X = Xq
  Index first_chunk = 0;      ///< of the rows here
  Index local_chunks = -1;    ///< chunks here; -1: all

  [[nodiscard]] Index chunk_total() const { return ceil_div(samples, sample_chunk); }
  /// Chunks whose rows lie here.
  [[nodiscard]] Index chunk_count() const { return local_chunks < 0 ? chunk_total() : local_chunks; }
  /// Rows of the i-th chunk here, padded to full lines. Padding rows are zero.
  [[nodiscard]] Index padded_rows(Index i) const {
    return round_up(std::min(sample_chunk, samples - (first_chunk + i) * sample_chunk), alignment_floats);
  }
  /// Where the i-th chunk here begins in a column.
  [[nodiscard]] Index offset(Index i) const { return i * round_up(sample_chunk, alignment_floats); }
  /// Floats of a column here: the leading dimension of X, Xq and U.
  [[nodiscard]] Index stride() const {
    return chunk_count() == 0 ? 0 : offset(chunk_count() - 1) + padded_rows(chunk_count() - 1);
  }
};

/// Joins what others hold: the rows of a matrix may be spread over ranks, which all make the same
/// calls in the same order. This one is for rows that are all here.
class RowReducer {
 public:
  RowReducer() = default;
  RowReducer(const RowReducer&) = delete;
  RowReducer& operator=(const RowReducer&) = delete;
  virtual ~RowReducer() = default;
  virtual void sum(std::span<std::int64_t> /*values*/) {}
  virtual void max(std::span<double> /*values*/) {}
};

/// 1/‖Xq_t‖², or 0 where the direction is dead: a norm that underflows cannot be told from zero in single precision.
[[nodiscard]] float inverse_of_norm(float squared_norm);

/// One block of inputs of both networks. Columns are inputs: entry (i, t) of X is analog()[t·stride + i].
class InputBlock {
 public:
  explicit InputBlock(const PathShape& shape);

  /// Makes room for `count` <= b inputs; the buffers are then to be filled.
  void begin(Index count);
  /// Xq, count columns; X follows directly, so that both make one matrix of 2·count columns.
  [[nodiscard]] float* quantized() { return values_.data(); }
  [[nodiscard]] float* analog() { return shape_.shared ? values_.data() : values_.data() + count_ * shape_.stride(); }
  [[nodiscard]] const float* quantized() const { return values_.data(); }
  [[nodiscard]] const float* analog() const {
    return shape_.shared ? values_.data() : values_.data() + count_ * shape_.stride();
  }

  /// First value that is not finite, as (sample, input in the block), or that is too large for products in
  /// single precision (|x| > 1e15).
  [[nodiscard]] std::optional<std::pair<Index, Index>> find_unusable() const;

  /// Computes bounds and products of the filled block over the rows of all ranks.
  /// Cost: 4·m·b² flops (2 where X = Xq).
  void form_products(int threads, RowReducer& reducer);
  void form_products(int threads) {
    RowReducer none;
    form_products(threads, none);
  }

  [[nodiscard]] Index count() const { return count_; }
  [[nodiscard]] const PathShape& shape() const { return shape_; }
  [[nodiscard]] const float* G() const { return G_.data(); }  ///< count×count row-major
  [[nodiscard]] const float* C() const { return shape_.shared ? G_.data() : C_.data(); }
  [[nodiscard]] const float* inverse_norm() const { return inverse_norm_.data(); }
  [[nodiscard]] double quantized_bound(Index t) const { return quantized_bound_[static_cast<std::size_t>(t)]; }
  [[nodiscard]] double analog_bound(Index t) const {
    return shape_.shared ? quantized_bound(t) : analog_bound_[static_cast<std::size_t>(t)];
  }
  /// Inputs of the block whose column of Xq is zero (or whose squared norm is below float32's range).
  [[nodiscard]] Index dead_count() const;

  /// Bytes that an object of this shape holds.
  [[nodiscard]] static Index bytes(const PathShape& shape);

 private:
  void sum_product(const float* right, const std::vector<double>& right_bound, AlignedBuffer<float>& result,
                   int threads, RowReducer& reducer);

  PathShape shape_;
  Index count_ = 0;
  AlignedBuffer<float> values_;
  AlignedBuffer<float> G_;
  AlignedBuffer<float> C_;
  AlignedBuffer<float> inverse_norm_;
  FixedPointSum sum_;
  std::vector<double> quantized_bound_;
  std::vector<double> analog_bound_;
};

}  // namespace gpfq::quant
