// SPDX-License-Identifier: Apache-2.0
// Selection by counting: the high 16 bits first, then the low 16 bits of the two bins that matter.
#include "gpfq/quant/radius.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <tuple>
#include <utility>

#include "gpfq/base/error.hpp"

namespace gpfq::quant {
namespace {

constexpr std::size_t bin_count = 65536;

std::uint32_t magnitude_bits(float weight) { return std::bit_cast<std::uint32_t>(weight) & 0x7fffffffU; }

/// The bin that holds the element of this rank, and its rank inside the bin.
std::pair<std::uint32_t, std::int64_t> locate(std::span<const std::int64_t> counts, std::int64_t rank) {
  for (std::size_t bin = 0; bin < counts.size(); ++bin) {
    if (rank < counts[bin]) return {static_cast<std::uint32_t>(bin), rank};
    rank -= counts[bin];
  }
  throw_fault("MagnitudeSelection: the counts of the two passes disagree");
}

double magnitude_of(std::uint32_t high, std::uint32_t low) { return std::bit_cast<float>(high << 16U | low); }

}  // namespace

MagnitudeSelection::MagnitudeSelection(bool skip_zeros) : skip_zeros_(skip_zeros), counts_(bin_count) {}

void MagnitudeSelection::add(std::span<const float> weights) {
  for (const float weight : weights) {
    const std::uint32_t bits = magnitude_bits(weight);
    if (skip_zeros_ && bits == 0) continue;
    const std::uint32_t high = bits >> 16U;
    if (pass_ == 0) {
      ++counts_[high];
      continue;
    }
    if (high == lower_bin_) ++counts_[bits & 0xffffU];
    if (high == upper_bin_) ++counts_[bin_count + (bits & 0xffffU)];
  }
}

void MagnitudeSelection::finish_pass() {
  require(pass_ < pass_count(), "MagnitudeSelection: both passes are done");
  const std::span<const std::int64_t> counts(counts_);
  if (pass_ == 0) {
    total_ = 0;
    for (const std::int64_t count : counts) total_ += count;
    if (total_ > 0) {
      std::tie(lower_bin_, lower_rank_) = locate(counts, (total_ - 1) / 2);
      std::tie(upper_bin_, upper_rank_) = locate(counts, total_ / 2);
    }
    counts_.assign(2 * bin_count, 0);
  } else if (total_ > 0) {
    const double lower = magnitude_of(lower_bin_, locate(counts.first(bin_count), lower_rank_).first);
    const double upper = magnitude_of(upper_bin_, locate(counts.subspan(bin_count), upper_rank_).first);
    median_ = (lower + upper) / 2;
  }
  ++pass_;
}

double median_magnitude(std::span<const float> weights, bool& fell_back) {
  double median = 0;
  for (const bool skip_zeros : {false, true}) {
    std::vector<float> magnitudes;
    for (const float weight : weights)
      if (!skip_zeros || weight != 0) magnitudes.push_back(std::abs(weight));
    fell_back = skip_zeros;
    if (magnitudes.empty()) return 0;
    const auto middle = magnitudes.begin() + static_cast<Index>(magnitudes.size() / 2);
    std::nth_element(magnitudes.begin(), middle, magnitudes.end());
    median = *middle;
    if (magnitudes.size() % 2 == 0) median = (median + *std::max_element(magnitudes.begin(), middle)) / 2;
    if (median > 0) return median;
  }
  return median;
}

double max_magnitude(std::span<const float> weights) {
  float largest = 0;
  for (const float weight : weights) largest = std::max(largest, std::abs(weight));
  return largest;
}

}  // namespace gpfq::quant
