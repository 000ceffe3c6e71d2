// SPDX-License-Identifier: Apache-2.0
// A block of consecutive inputs with what all neurons share of it: bounds and the products G and C.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "gpfq/base/aligned_buffer.hpp"
#include "gpfq/base/shard_plan.hpp"
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
  bool keeps_outputs = false; ///< XW and XqQ are kept for whoever comes next
  bool sums_columns = false;  ///< Σ_i Xq_it and Σ_i X_it are formed beside G and C
  Index first_chunk = 0;      ///< of the rows here
  Index local_chunks = -1;    ///< chunks here; -1: all

  /// Sets of values: Xq, and X where it differs.
  [[nodiscard]] Index networks() const { return shared ? 1 : 2; }
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

/// Adds the entries of columns, chunk by chunk, in 64-bit integers: the same sums whoever has which chunks.
class ColumnSums {
 public:
  /// @param bounds  max|x| of each column over all rows   @param samples  rows of all ranks
  ColumnSums(std::span<const double> bounds, Index samples);
  void add(Index column, const float* values, Index rows);
  /// The sums so far, for addition over ranks.
  [[nodiscard]] std::span<std::int64_t> raw() { return sums_; }
  /// Sums over the rows of all ranks.
  [[nodiscard]] std::vector<double> finish(RowReducer& reducer);

 private:
  std::vector<int> exponents_;
  std::vector<std::int64_t> sums_;
};

/// 1/‖Xq_t‖², or 0 where the direction is dead: a norm that underflows cannot be told from zero in single precision.
[[nodiscard]] float inverse_of_norm(float squared_norm);

/// One block of inputs of both networks. Columns are inputs: entry (i, t) of X is analog()[t·stride + i].
class InputBlock {
 public:
  explicit InputBlock(const PathShape& shape);
  /// Over memory of someone else: value_count() floats on a 64-byte boundary.
  InputBlock(const PathShape& shape, std::span<float> values);

  /// Makes room for `count` <= b inputs; the buffers are then to be filled.
  void begin(Index count);
  /// Xq, count columns; X follows directly, so that both make one matrix of 2·count columns.
  [[nodiscard]] float* quantized() { return values_; }
  [[nodiscard]] float* analog() { return shape_.shared ? values_ : values_ + count_ * shape_.stride(); }
  [[nodiscard]] const float* quantized() const { return values_; }
  [[nodiscard]] const float* analog() const {
    return shape_.shared ? values_ : values_ + count_ * shape_.stride();
  }

  // The filled block is worked on in two steps. Each caller takes some of the chunks that lie here, the reducer
  // joins what the others took, and all end with the same numbers.

  /// Finds the bounds max|Xq_t| and max|X_t|.
  void measure(Range chunks, RowReducer& reducer);
  /// True when all values are finite and small enough for products in single precision (|x| <= 1e15).
  [[nodiscard]] bool is_usable() const;
  /// The first value here that is not, as (sample, input in the block).
  [[nodiscard]] std::optional<std::pair<Index, Index>> find_unusable() const;
  /// Forms the lower triangles of G and C of measured, usable values. Cost: 2.5·m·b² flops (1 where X = Xq).
  void form_products(Range chunks, int threads, RowReducer& reducer);
  /// Both steps, for rows that are all here.
  void form_products(int threads);

  [[nodiscard]] Index count() const { return count_; }
  [[nodiscard]] const PathShape& shape() const { return shape_; }
  [[nodiscard]] const float* G() const { return G_.data(); }  ///< count×count row-major, lower triangle
  [[nodiscard]] const float* C() const { return shape_.shared ? G_.data() : C_.data(); }
  [[nodiscard]] const float* inverse_norm() const { return inverse_norm_.data(); }
  [[nodiscard]] double quantized_bound(Index t) const { return bounds_[static_cast<std::size_t>(t)]; }
  [[nodiscard]] double analog_bound(Index t) const {
    return bounds_[static_cast<std::size_t>(shape_.shared ? t : count_ + t)];
  }
  /// Sums over all rows of the columns of Xq, then of X where it differs, where the shape asks for them.
  [[nodiscard]] std::span<const double> column_sums() const { return column_sums_; }
  /// Inputs of the block whose column of Xq is zero (or whose squared norm is below float32's range).
  [[nodiscard]] Index dead_count() const;

  /// Floats of the values of a full block.
  [[nodiscard]] static Index value_count(const PathShape& shape);
  /// Bytes that an object of this shape holds, values included.
  [[nodiscard]] static Index bytes(const PathShape& shape);

 private:
  void add_products(Range chunks, int threads);
  void sum_columns(Range chunks, RowReducer& reducer);

  PathShape shape_;
  Index count_ = 0;
  AlignedBuffer<float> own_values_;
  float* values_ = nullptr;
  AlignedBuffer<float> G_;
  AlignedBuffer<float> C_;
  AlignedBuffer<float> inverse_norm_;
  FixedPointSum sum_;
  std::vector<double> column_sums_;
  std::vector<double> bounds_;  ///< of the columns of Xq, then of X
};

}  // namespace gpfq::quant
