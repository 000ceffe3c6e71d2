// SPDX-License-Identifier: Apache-2.0
// The median by counting against the median by sorting: every radius, hence every code of a
// layer, hangs on it.
#include "gpfq/quant/radius.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "support/errors.hpp"

namespace gpfq::quant {
namespace {

using Weights = std::vector<float>;

double median_by_sorting(const Weights& weights, bool skip_zeros) {
  std::vector<double> magnitudes;
  for (const float weight : weights)
    if (!skip_zeros || weight != 0) magnitudes.push_back(std::abs(static_cast<double>(weight)));
  if (magnitudes.empty()) return 0;
  std::sort(magnitudes.begin(), magnitudes.end());
  const std::size_t half = magnitudes.size() / 2;
  return magnitudes.size() % 2 == 1 ? magnitudes[half] : (magnitudes[half - 1] + magnitudes[half]) / 2;
}

/// As a job does it: every rank counts its weights, counts are added over the ranks, every rank finishes the pass.
double median_on_ranks(const std::vector<Weights>& of_rank, bool skip_zeros) {
  std::vector<MagnitudeSelection> ranks(of_rank.size(), MagnitudeSelection(skip_zeros));
  for (int pass = 0; pass < MagnitudeSelection::pass_count(); ++pass) {
    std::vector<std::int64_t> sum(ranks.front().counts().size());
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
      const std::span<const float> all(of_rank[rank]);
      ranks[rank].add(all.first(all.size() / 3));  // in two pieces, as tiles come
      ranks[rank].add(all.subspan(all.size() / 3));
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += ranks[rank].counts()[i];
    }
    for (MagnitudeSelection& selection : ranks) {
      std::copy(sum.begin(), sum.end(), selection.counts().begin());
      selection.finish_pass();
    }
  }
  for (const MagnitudeSelection& selection : ranks) {
    EXPECT_EQ(selection.median(), ranks.front().median());
    EXPECT_EQ(selection.total(), ranks.front().total());
  }
  return ranks.front().median();
}

void expect_median(const Weights& weights) {
  for (const bool skip_zeros : {false, true}) {
    const double expected = median_by_sorting(weights, skip_zeros);
    for (const std::size_t rank_count : {1U, 2U, 5U}) {
      std::vector<Weights> of_rank(rank_count);
      for (std::size_t i = 0; i < weights.size(); ++i) of_rank[i * i % rank_count].push_back(weights[i]);
      EXPECT_EQ(median_on_ranks(of_rank, skip_zeros), expected)
          << weights.size() << " weights, " << rank_count << " ranks, skip_zeros " << skip_zeros;
    }
  }
}

TEST(MagnitudeSelection, MatchesSortingOnRandomWeights) {
  std::mt19937 generator(11);
  std::normal_distribution<float> normal;
  for (const std::size_t count : {1U, 2U, 3U, 4U, 5U, 100U, 101U, 2000U, 2001U}) {
    Weights weights(count);
    for (float& weight : weights) weight = normal(generator);
    expect_median(weights);
  }
}

TEST(MagnitudeSelection, MatchesSortingOnSpecialWeights) {
  constexpr float denormal = std::numeric_limits<float>::denorm_min();
  expect_median({});
  expect_median({-3.5F});
  expect_median({0.0F});
  expect_median({0.0F, -0.0F, 0.0F});
  expect_median({1, 1, 1, 1});              // ties
  expect_median({-1, 1, -2, 2, 2, -1});     // signs do not count
  expect_median({0, 0, 0, 5, 7});           // the median is 0, of the nonzero it is 6
  expect_median({-0.0F, 0, 4});             // −0 is a zero too
  expect_median({denormal, 3 * denormal});  // the mean 2·denormal
  expect_median({denormal, 2 * denormal});  // the mean 1.5·denormal is no float
  expect_median({1e-40F, -2e-40F, 1e-38F, 1e-45F});
  expect_median({1.0F, std::nextafter(1.0F, 2.0F)});  // middle values in one bin
  expect_median({0x1.fep0F, 0x1p1F});                 // middle values in neighbouring bins
  expect_median({1e-30F, 1e30F});                     // far apart
  expect_median({std::numeric_limits<float>::max(), -std::numeric_limits<float>::max()});
  expect_median({1e-3F, 0, 0, 1e3F, 0, 2e3F});
}

TEST(MagnitudeSelection, CountsWhatItTook) {
  const Weights weights = {0, -0.0F, 1, -2, 3};
  for (const bool skip_zeros : {false, true}) {
    MagnitudeSelection selection(skip_zeros);
    selection.add(weights);
    selection.finish_pass();
    EXPECT_EQ(selection.total(), skip_zeros ? 3 : 5);
  }
}

TEST(MagnitudeSelection, KnowsItsPassesAndCountsThatDisagree) {
  MagnitudeSelection selection;
  const Weights weights = {1, 2, 3};
  selection.add(weights);
  selection.finish_pass();
  EXPECT_TRUE(test::mentions(test::fault([&] { selection.finish_pass(); }), "disagree"));
  selection.add(weights);
  selection.finish_pass();
  EXPECT_EQ(selection.median(), 2.0);
  test::fault([&] { selection.finish_pass(); });
}

TEST(MedianMagnitude, MatchesSortingAndFallsBackOnTheNonzero) {
  std::mt19937 generator(12);
  std::normal_distribution<float> normal;
  for (const std::size_t count : {1U, 2U, 3U, 10U, 11U, 1000U}) {
    Weights weights(count);
    for (float& weight : weights) weight = normal(generator);
    bool fell_back = true;
    EXPECT_EQ(median_magnitude(weights, fell_back), median_by_sorting(weights, false)) << count;
    EXPECT_FALSE(fell_back);
  }
  bool fell_back = false;
  EXPECT_EQ(median_magnitude(Weights{0, 0, -0.0F, 5, -7}, fell_back), 6.0);
  EXPECT_TRUE(fell_back);
  EXPECT_EQ(median_magnitude(Weights{0, 0, 8, -2}, fell_back), 1.0);  // (0 + 2)/2 is above 0
  EXPECT_FALSE(fell_back);
  EXPECT_EQ(median_magnitude(Weights{0, 0, 0, -4}, fell_back), 4.0);
  EXPECT_TRUE(fell_back);
}

TEST(MedianMagnitude, OfZerosIsZero) {
  bool fell_back = false;
  EXPECT_EQ(median_magnitude(Weights{0, -0.0F}, fell_back), 0.0);
  EXPECT_EQ(median_magnitude(Weights{}, fell_back), 0.0);
}

TEST(MaxMagnitude, IgnoresSigns) {
  EXPECT_EQ(max_magnitude(Weights{}), 0.0);
  EXPECT_EQ(max_magnitude(Weights{-0.0F, 0}), 0.0);
  EXPECT_EQ(max_magnitude(Weights{1, -3, 2}), 3.0);
}

}  // namespace
}  // namespace gpfq::quant
