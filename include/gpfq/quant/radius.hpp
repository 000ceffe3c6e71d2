// SPDX-License-Identifier: Apache-2.0
// The exact median of |W| over a layer whose weights lie on many ranks, by counting.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "gpfq/base/types.hpp"

namespace gpfq::quant {

/// Exact order statistics of |w| by two counting passes over the bits of float32: bit patterns of
/// non-negative floats sort as the numbers do. Counts of different ranks add.
///
/// Use: for each pass: add all weights (on all ranks), sum counts() over the ranks, finish_pass().
class MagnitudeSelection {
 public:
  /// @param skip_zeros  leaves exact zeros out
  explicit MagnitudeSelection(bool skip_zeros = false);

  [[nodiscard]] static constexpr int pass_count() { return 2; }
  void add(std::span<const float> weights);
  [[nodiscard]] std::span<std::int64_t> counts() { return counts_; }
  void finish_pass();

  /// After both passes: the median; of an even count the mean of the middle two; 0 where nothing was counted.
  [[nodiscard]] double median() const { return median_; }
  /// Weights counted (after the first pass).
  [[nodiscard]] std::int64_t total() const { return total_; }

 private:
  bool skip_zeros_;
  int pass_ = 0;
  std::int64_t total_ = 0;
  std::uint32_t lower_bin_ = 0;  ///< high half of the bits of the two middle values
  std::uint32_t upper_bin_ = 0;
  std::int64_t lower_rank_ = 0;  ///< rank of the middle values within their bins
  std::int64_t upper_rank_ = 0;
  double median_ = 0;
  std::vector<std::int64_t> counts_;
};

/// Median of |w| of one neuron, held whole; the median of the nonzero ones where it is 0 (then `fell_back` is set).
[[nodiscard]] double median_magnitude(std::span<const float> weights, bool& fell_back);

/// max|w|.
[[nodiscard]] double max_magnitude(std::span<const float> weights);

}  // namespace gpfq::quant
