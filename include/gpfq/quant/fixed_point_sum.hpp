// SPDX-License-Identifier: Apache-2.0
// Sums over sample chunks that do not depend on who adds, or in which order: partial products in
// single precision are added as 64-bit integers.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "gpfq/base/aligned_buffer.hpp"
#include "gpfq/base/shard_plan.hpp"
#include "gpfq/base/types.hpp"

namespace gpfq::quant {

/// Exponent x with magnitude < 2^x; 0 for a magnitude of zero. @param magnitude  finite, >= 0
[[nodiscard]] int bound_exponent(double magnitude);
/// The exponents of bounds that are multiplied by a factor first.
[[nodiscard]] std::vector<int> bound_exponents(std::span<const double> bounds, double factor);

/// Sums stay below 2^61: two bits to spare in 64 for the rounding of partial products.
inline constexpr int sum_bits = 61;

/// A rows × columns sum of float partials in fixed point. Entry (i, j) is kept in units of
/// 2^(x_i + y_j − 61), where the final sum is known to stay below 2^(x_i + y_j): integer addition is
/// exact, so any order and any grouping over ranks give the same sum.
class FixedPointSum {
 public:
  FixedPointSum(Index max_rows, Index max_columns);

  /// Starts at zero. @param row_exponents, column_exponents  x_i and y_j
  void start(std::span<const int> row_exponents, std::span<const int> column_exponents);
  /// Adds a partial: rows × columns, row-major, row i at partial + i·stride. Entries must be finite and within
  /// the bound. Cost: about one conversion per entry.
  void add(const float* partial, Index stride) { add(partial, stride, {0, rows_}, {0, columns_}); }
  /// The same for some rows and columns: `partial` begins with the first of them.
  void add(const float* partial, Index stride, Range rows, Range columns);
  [[nodiscard]] double value(Index row, Index column) const {
    return static_cast<double>(sums_[row * columns_ + column]) * row_units_[row] * column_units_[column];
  }
  /// The raw sums, for addition over ranks.
  [[nodiscard]] std::span<std::int64_t> raw() { return sums_.span().first(static_cast<std::size_t>(rows_ * columns_)); }
  [[nodiscard]] Index rows() const { return rows_; }
  [[nodiscard]] Index columns() const { return columns_; }

  /// Bytes that an object of these extents holds.
  [[nodiscard]] static Index bytes(Index max_rows, Index max_columns);

 private:
  Index rows_ = 0;
  Index columns_ = 0;
  AlignedBuffer<std::int64_t> sums_;
  AlignedBuffer<double> row_scales_;
  AlignedBuffer<double> row_units_;
  AlignedBuffer<double> column_scales_;
  AlignedBuffer<double> column_units_;
};

}  // namespace gpfq::quant
