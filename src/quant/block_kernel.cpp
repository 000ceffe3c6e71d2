// SPDX-License-Identifier: Apache-2.0
// The block recursion, some neurons abreast: the sums over s run in registers while the rows of W
// and Q of these neurons stay in the first-level cache.
#include "gpfq/quant/block_kernel.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "gpfq/base/error.hpp"

namespace gpfq::quant {
namespace {

// Neurons abreast where a tile has enough of them: as many independent sums hide the latency of one another's additions.
constexpr Index wide_lanes = 2 * kernel_lanes;

template <Index lanes>
using Lanes = std::array<float, static_cast<std::size_t>(lanes)>;

/// c_t of some neurons: P_t + C_tt w_t + Σ_{s<t} (C_ts w_s − G_ts q_s), s ascending.
template <Index lanes>
Lanes<lanes> path_sums(const BlockOperands& block, Index t, Index first) {
  const Index n = block.neurons;
  const float* G = block.G + t * block.width;
  const float* C = block.C + t * block.width;
  Lanes<lanes> c;
  std::copy_n(block.P + t * n + first, lanes, c.begin());
  for (Index s = 0; s < t; ++s) {
    const float* W = block.W + s * n + first;
    const float* Q = block.Q + s * n + first;
    for (std::size_t lane = 0; lane < lanes; ++lane) c[lane] += C[s] * W[lane] - G[s] * Q[lane];
  }
  const float* W = block.W + t * n + first;
  for (std::size_t lane = 0; lane < lanes; ++lane) c[lane] += C[t] * W[lane];
  return c;
}

template <Index lanes>
void quantize_lanes(const BlockOperands& block, Index first) {
  const float half = 0.5F * static_cast<float>(block.levels);
  const float last = static_cast<float>(block.levels - 1);
  for (Index t = 0; t < block.width; ++t) {
    const Lanes<lanes> c = path_sums<lanes>(block, t, first);
    const Index row = t * block.neurons + first;
    const float inverse_norm = block.inverse_norm[t];
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const std::size_t j = static_cast<std::size_t>(first) + lane;
      // A dead direction has inverse_norm 0: its argument is 0.
      const float position = std::floor(c[lane] * inverse_norm * block.inverse_spacing[j] + half);
      const float code = std::min(std::max(position, 0.0F), last);
      block.saturated[j] += code != position ? 1 : 0;
      block.Q[row + static_cast<Index>(lane)] = (2.0F * code - last) * block.step[j];
      block.codes[row + static_cast<Index>(lane)] = static_cast<std::uint8_t>(static_cast<int>(code));
    }
  }
}

}  // namespace

void quantize_block(const BlockOperands& block) {
  require(block.neurons % kernel_lanes == 0, "quantize_block: neurons are a multiple of kernel_lanes");
  Index first = 0;
  for (; first + wide_lanes <= block.neurons; first += wide_lanes) quantize_lanes<wide_lanes>(block, first);
  if (first < block.neurons) quantize_lanes<kernel_lanes>(block, first);
}

}  // namespace gpfq::quant
