// SPDX-License-Identifier: Apache-2.0
// Counter-based random numbers and subsets.
#include "gpfq/base/random.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "gpfq/base/error.hpp"

namespace gpfq {

std::uint64_t random_bits(std::uint64_t seed, std::uint64_t counter) {
  std::uint64_t z = seed * 0xd1342543de82ef95ULL + (counter + 1) * 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31U);
}

std::vector<Index> random_subset(Index total, Index count, std::uint64_t seed) {
  require(count >= 0 && count <= total, "random_subset: 0 <= count <= total");
  std::vector<std::pair<std::uint64_t, Index>> keys(static_cast<std::size_t>(total));
  for (Index i = 0; i < total; ++i)
    keys[static_cast<std::size_t>(i)] = {random_bits(seed, static_cast<std::uint64_t>(i)), i};
  std::nth_element(keys.begin(), keys.begin() + count, keys.end());
  std::vector<Index> subset;
  for (Index i = 0; i < count; ++i) subset.push_back(keys[static_cast<std::size_t>(i)].second);
  std::sort(subset.begin(), subset.end());
  return subset;
}

}  // namespace gpfq
