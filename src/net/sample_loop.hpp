// SPDX-License-Identifier: Apache-2.0
// Sample by sample work spread over threads; samples are independent, so how they are grouped
// changes nothing.
#pragma once

#include <algorithm>
#include <functional>

#include "gpfq/base/parallel.hpp"

namespace gpfq::net {

/// work(begin, end) over ranges of samples that together are [0, samples); `floats` per sample set how many are a
/// piece.
inline void for_samples(Index samples, Index floats, int threads, const std::function<void(Index, Index)>& work) {
  constexpr Index piece_floats = 64 * 1024;  // some tens of microseconds: well above what handing it out costs
  const Index step = std::max<Index>(1, piece_floats / std::max<Index>(1, floats));
  parallel_for(ceil_div(samples, step), threads,
               [&](Index piece) { work(piece * step, std::min(samples, (piece + 1) * step)); });
}

}  // namespace gpfq::net
