// SPDX-License-Identifier: Apache-2.0
// Conversion of float partials to integers in units agreed on beforehand.
#include "gpfq/quant/fixed_point_sum.hpp"

#include <algorithm>
#include <cmath>

namespace gpfq::quant {

int bound_exponent(double magnitude) {
  require(std::isfinite(magnitude) && magnitude >= 0, "bound_exponent: finite and not negative");
  if (magnitude == 0) return 0;
  int exponent = 0;
  static_cast<void>(std::frexp(magnitude, &exponent));
  return exponent;
}

std::vector<int> bound_exponents(std::span<const double> bounds, double factor) {
  std::vector<int> result;
  for (const double bound : bounds) result.push_back(bound_exponent(bound * factor));
  return result;
}

FixedPointSum::FixedPointSum(Index max_rows, Index max_columns)
    : sums_(max_rows * max_columns),
      row_scales_(max_rows),
      row_units_(max_rows),
      column_scales_(max_columns),
      column_units_(max_columns) {}

Index FixedPointSum::bytes(Index max_rows, Index max_columns) {
  return 8 * (max_rows * max_columns + 2 * (max_rows + max_columns));
}

void FixedPointSum::start(std::span<const int> row_exponents, std::span<const int> column_exponents) {
  rows_ = static_cast<Index>(row_exponents.size());
  columns_ = static_cast<Index>(column_exponents.size());
  require(rows_ * columns_ <= sums_.size() && rows_ <= row_units_.size() && columns_ <= column_units_.size(),
          "FixedPointSum: larger than it was made for");
  for (Index i = 0; i < rows_; ++i) {
    const int exponent = row_exponents[static_cast<std::size_t>(i)];
    row_scales_[i] = std::ldexp(1.0, sum_bits - exponent);
    row_units_[i] = std::ldexp(1.0, exponent - sum_bits);
  }
  for (Index j = 0; j < columns_; ++j) {
    const int exponent = column_exponents[static_cast<std::size_t>(j)];
    column_scales_[j] = std::ldexp(1.0, -exponent);
    column_units_[j] = std::ldexp(1.0, exponent);
  }
  std::fill_n(sums_.data(), rows_ * columns_, std::int64_t{0});
}

void FixedPointSum::add(const float* partial, Index stride, Range rows, Range columns) {
  const double* column_scales = column_scales_.data() + columns.begin;
  const Index count = columns.size();
  for (Index i = rows.begin; i < rows.end; ++i) {
    const double scale = row_scales_[i];
    const float* row = partial + (i - rows.begin) * stride;
    std::int64_t* sums = sums_.data() + i * columns_ + columns.begin;
    for (Index j = 0; j < count; ++j)
      sums[j] += static_cast<std::int64_t>(static_cast<double>(row[j]) * scale * column_scales[j]);
  }
}

}  // namespace gpfq::quant
