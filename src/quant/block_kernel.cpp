// SPDX-License-Identifier: Apache-2.0
// The block recursion, by strips of inputs: what earlier strips left behind is a matrix product, and inside a strip some
// neurons go abreast, the sums over s in registers while the rows of W and Q of these neurons stay in the first-level cache.
#include "gpfq/quant/block_kernel.hpp"

#include <Eigen/Core>

#include <algorithm>
#include <array>
#include <cmath>

#include "gpfq/base/error.hpp"
#include "gpfq/base/random.hpp"
#include "gpfq/base/shard_plan.hpp"

namespace gpfq::quant {
namespace {

// Neurons abreast where a tile has enough of them: as many independent sums hide the latency of one another's additions.
constexpr Index wide_lanes = 2 * kernel_lanes;

template <Index lanes>
using Lanes = std::array<float, static_cast<std::size_t>(lanes)>;

/// c_t of some neurons: P_t + C_tt w_t + Σ_{s<t} C_ts w_s − Σ_{s<t} G_ts q_s, s ascending from the strip's first input;
/// the two sums apart, so that neither waits for the other's additions.
template <Index lanes>
Lanes<lanes> path_sums(const BlockOperands& block, Index begin, Index t, Index first) {
  const Index n = block.neurons;
  const float* G = block.G + t * block.width;
  const float* C = block.C + t * block.width;
  const float* P = block.P + t * n + first;
  Lanes<lanes> c;
  Lanes<lanes> arrived;
  for (std::size_t lane = 0; lane < lanes; ++lane) {  // by vectors as the sums are: narrower copies would stall them
    c[lane] = P[lane];
    arrived[lane] = 0;
  }
  for (Index s = begin; s < t; ++s) {
    const float* W = block.W + s * n + first;
    const float* Q = block.Q + s * n + first;
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      arrived[lane] += C[s] * W[lane];
      c[lane] -= G[s] * Q[lane];
    }
  }
  const float* W = block.W + t * n + first;
  for (std::size_t lane = 0; lane < lanes; ++lane) c[lane] += arrived[lane] + C[t] * W[lane];
  return c;
}

/// c_t of some neurons: P_t − Σ_{s<t} G_ts d_s, s ascending from the strip's first input; D as laid out in the operands.
template <Index lanes, class Operands>
Lanes<lanes> difference_sums(const Operands& block, const float* D, Index begin, Index t, Index first) {
  Lanes<lanes> c;
  std::copy_n(block.P + t * block.neurons + first, lanes, c.begin());
  for (Index s = begin; s < t; ++s) {
    const float factor = block.G[t * block.width + s];
    const float* row = D + s * block.neurons + first;
    for (std::size_t lane = 0; lane < lanes; ++lane) c[lane] -= factor * row[lane];
  }
  return c;
}

/// In [0, 1), by 24 bits.
float uniform(std::uint64_t seed, Index counter) {
  return static_cast<float>(random_bits(seed, static_cast<std::uint64_t>(counter)) >> 40U) * 0x1p-24F;
}

float shrink(float z, float threshold) { return std::copysign(std::max(std::abs(z) - threshold, 0.0F), z); }

/// Where z would lie among levels without a shift: zero up to λ, beyond it a spacing or more from zero.
float unshift(float z, float threshold, float shift) { return std::abs(z) <= threshold ? 0.0F : z - std::copysign(1.0F, z) * shift; }

template <Index lanes, RoundingKind rounding>
void quantize_lanes(const BlockOperands& block, Range strip, Index first) {
  const float last = static_cast<float>(block.levels - 1);
  for (Index t = strip.begin; t < strip.end; ++t) {
    const Lanes<lanes> c = block.diffuses ? difference_sums<lanes>(block, block.E, strip.begin, t, first)
                                          : path_sums<lanes>(block, strip.begin, t, first);
    const Index row = t * block.neurons + first;
    const float inverse_norm = block.inverse_norm[t];
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const std::size_t j = static_cast<std::size_t>(first) + lane;
      // A dead direction has inverse_norm 0: its argument is 0.
      float argument = c[lane] * inverse_norm;
      float half = 0.5F * static_cast<float>(block.levels);
      if constexpr (rounding == RoundingKind::soft) argument = shrink(argument, block.threshold[j]);
      if constexpr (rounding == RoundingKind::hard) argument = unshift(argument, block.threshold[j], block.shift[j]);
      if constexpr (rounding == RoundingKind::stochastic)
        if (inverse_norm > 0) half = 0.5F * last + uniform(block.seed[j], block.first_counter + t);
      const float position = std::floor(argument * block.inverse_spacing[j] + half);
      const float code = std::min(std::max(position, 0.0F), last);
      block.saturated[j] += code != position ? 1 : 0;
      const float value = level_value(2.0F * code - last, block.step[j], rounding == RoundingKind::hard ? block.shift[j] : 0.0F);
      block.Q[row + static_cast<Index>(lane)] = value;
      if (block.diffuses) block.E[row + static_cast<Index>(lane)] = inverse_norm > 0 ? c[lane] - value : 0.0F;
      block.codes[row + static_cast<Index>(lane)] = static_cast<std::uint8_t>(static_cast<int>(code));
    }
  }
}

template <RoundingKind rounding>
void quantize_strip(const BlockOperands& block, Range strip) {
  Index first = 0;
  for (; first + wide_lanes <= block.neurons; first += wide_lanes) quantize_lanes<wide_lanes, rounding>(block, strip, first);
  if (first < block.neurons) quantize_lanes<kernel_lanes, rounding>(block, strip, first);
}

// A level is left only for a gain of this share of d²·G_tt: products of single precision keep c_t that well, and a
// smaller gain is worth nothing.
constexpr float least_gain = 0x1p-9F;

template <Index lanes>
Index refine_lanes(const RefineOperands& block, Range strip, Index first) {
  const float half = 0.5F * static_cast<float>(block.levels);
  const float last = static_cast<float>(block.levels - 1);
  Index changes = 0;
  for (Index t = strip.begin; t < strip.end; ++t) {
    const Lanes<lanes> c = difference_sums<lanes>(block, block.D, strip.begin, t, first);
    const Index row = t * block.neurons + first;
    const float inverse_norm = block.inverse_norm[t];
    const float norm = block.G[t * block.width + t];
    const float root = std::sqrt(norm);
    Lanes<lanes> moved;
    Lanes<lanes> codes;
    int changed = 0;
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const std::size_t j = static_cast<std::size_t>(first) + lane;
      const float old = block.Q[row + static_cast<Index>(lane)];
      const float argument = old + c[lane] * inverse_norm;
      const float position = std::floor(argument * block.inverse_spacing[j] + half);
      const float code = std::min(std::max(position, 0.0F), last);
      const float d = (2.0F * code - last) * block.step[j] - old;
      const float size = std::abs(d);
      const float gain = d * (2.0F * c[lane] - d * norm);
      // Levels are compared by their codes: a fused product may tell a level from itself.
      const bool gains = code != static_cast<float>(block.codes[row + static_cast<Index>(lane)]) && inverse_norm > 0 &&
                         gain > size * (least_gain * size * norm + block.noise[j] * root);
      moved[lane] = gains ? d : 0.0F;
      codes[lane] = code;
      changed += gains ? 1 : 0;
    }
    float* D = block.D + row;
    std::copy_n(moved.begin(), lanes, D);
    if (changed == 0) continue;
    changes += changed;
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const Index at = static_cast<Index>(lane);
      if (D[at] == 0) continue;
      const std::size_t j = static_cast<std::size_t>(first) + lane;
      block.gain[j] += static_cast<double>(D[at]) * (2.0 * static_cast<double>(c[lane]) - static_cast<double>(D[at]) * norm);
      const float code = codes[static_cast<std::size_t>(at)];
      block.codes[row + at] = static_cast<std::uint8_t>(static_cast<int>(code));
      block.Q[row + at] = (2.0F * code - last) * block.step[j];
    }
  }
  return changes;
}

/// P of a strip's inputs takes what the inputs before it left behind: P += sign · (rows of A) · (values of n neurons).
void add_earlier(Index width, Index neurons, Range strip, const float* A, float sign, const float* values, float* P) {
  if (strip.begin == 0) return;
  using Matrix = Eigen::MatrixXf;
  const Eigen::Map<const Matrix> V(values, neurons, strip.begin);
  const Eigen::Map<const Matrix, 0, Eigen::OuterStride<>> rows(A + strip.begin * width, strip.begin, strip.size(),
                                                               Eigen::OuterStride<>(width));
  Eigen::Map<Matrix>(P + strip.begin * neurons, neurons, strip.size()).noalias() += sign * V * rows;
}

/// Visits a block's inputs by strips.
template <class Visit>
void for_strips(Index width, Visit visit) {
  for (Index begin = 0; begin < width; begin += kernel_strip) visit(Range{begin, std::min(width, begin + kernel_strip)});
}

}  // namespace

void quantize_block(const BlockOperands& block) {
  require(block.neurons % kernel_lanes == 0, "quantize_block: neurons are a multiple of kernel_lanes");
  for_strips(block.width, [&](Range strip) {
    if (!block.diffuses) add_earlier(block.width, block.neurons, strip, block.C, 1, block.W, block.P);
    add_earlier(block.width, block.neurons, strip, block.G, -1, block.diffuses ? block.E : block.Q, block.P);
    switch (block.rounding) {
      case RoundingKind::nearest: return quantize_strip<RoundingKind::nearest>(block, strip);
      case RoundingKind::soft: return quantize_strip<RoundingKind::soft>(block, strip);
      case RoundingKind::hard: return quantize_strip<RoundingKind::hard>(block, strip);
      case RoundingKind::stochastic: return quantize_strip<RoundingKind::stochastic>(block, strip);
    }
  });
}

Index refine_block(const RefineOperands& block) {
  require(block.neurons % kernel_lanes == 0, "refine_block: neurons are a multiple of kernel_lanes");
  Index changes = 0;
  for_strips(block.width, [&](Range strip) {
    if (changes > 0) add_earlier(block.width, block.neurons, strip, block.G, -1, block.D, block.P);
    Index first = 0;
    for (; first + wide_lanes <= block.neurons; first += wide_lanes) changes += refine_lanes<wide_lanes>(block, strip, first);
    if (first < block.neurons) changes += refine_lanes<kernel_lanes>(block, strip, first);
  });
  return changes;
}

}  // namespace gpfq::quant
