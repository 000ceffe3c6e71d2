// SPDX-License-Identifier: Apache-2.0
// Random numbers as functions of a counter: who draws them, and in which order, makes no difference.
#pragma once

#include <cstdint>
#include <vector>

#include "gpfq/base/types.hpp"

namespace gpfq {

/// 64 random bits for (seed, counter): the finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
[[nodiscard]] std::uint64_t random_bits(std::uint64_t seed, std::uint64_t counter);

/// `count` of the indexes 0 .. total−1, ascending: those with the smallest random numbers of `seed`.
/// @param count  0 to total.   Cost: O(total).
[[nodiscard]] std::vector<Index> random_subset(Index total, Index count, std::uint64_t seed);

}  // namespace gpfq
