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

/// One number of each of these neurons.
template <Index lanes>
using Lanes = Eigen::Array<float, lanes, 1>;

/// Rows of these neurons by input of the strip, one after the other: in the arrays of all neurons they lie a row apart,
/// which in a wide tile is so far that they push each other out of the first-level cache.
template <Index lanes>
using StripRows = std::array<Lanes<lanes>, static_cast<std::size_t>(kernel_strip)>;

template <Index lanes>
Lanes<lanes> load(const float* values) {
  return Eigen::Map<const Lanes<lanes>>(values);
}

template <Index lanes>
void store(const Lanes<lanes>& values, float* at) {
  Eigen::Map<Lanes<lanes>> lanes_there(at);
  lanes_there = values;
}

/// @param codes  whole numbers below 256
template <Index lanes>
void store_codes(const Lanes<lanes>& codes, std::uint8_t* at) {
  Eigen::Map<Eigen::Array<std::uint8_t, lanes, 1>> lanes_there(at);
  lanes_there = codes.template cast<std::int32_t>().template cast<std::uint8_t>();
}

/// c_t of some neurons: P_t + C_tt w_t + Σ_{s<t} C_ts w_s − Σ_{s<t} G_ts q_s, s ascending from the strip's first input;
/// the two sums apart, so that neither waits for the other's additions.
/// @param C, G  row t from the strip's first input on   @param count  inputs of the strip before t
template <Index lanes>
Lanes<lanes> path_sums(const float* P, const float* C, const float* G, const StripRows<lanes>& W, const StripRows<lanes>& Q,
                       std::size_t count) {
  Lanes<lanes> c = load<lanes>(P);
  Lanes<lanes> arrived = Lanes<lanes>::Zero();
  for (std::size_t s = 0; s < count; ++s) {
    arrived += C[s] * W[s];
    c -= G[s] * Q[s];
  }
  return c + (arrived + C[count] * W[count]);
}

/// c_t of some neurons: P_t − Σ_{s<t} G_ts d_s, s ascending from the strip's first input.
template <Index lanes>
Lanes<lanes> difference_sums(const float* P, const float* G, const StripRows<lanes>& D, std::size_t count) {
  Lanes<lanes> c = load<lanes>(P);
  for (std::size_t s = 0; s < count; ++s) c -= G[s] * D[s];
  return c;
}

/// In [0, 1), by 24 bits.
float uniform(std::uint64_t seed, Index counter) {
  return static_cast<float>(random_bits(seed, static_cast<std::uint64_t>(counter)) >> 40U) * 0x1p-24F;
}

float shrink(float z, float threshold) { return std::copysign(std::max(std::abs(z) - threshold, 0.0F), z); }

/// Where z would lie among levels without a shift: zero up to λ, beyond it a spacing or more from zero.
float unshift(float z, float threshold, float shift) { return std::abs(z) <= threshold ? 0.0F : z - std::copysign(1.0F, z) * shift; }

/// What of some neurons' alphabets their rounding reads.
template <Index lanes>
struct LaneAlphabets {
  Lanes<lanes> step, inverse_spacing;
  Lanes<lanes> threshold = Lanes<lanes>::Zero();
  Lanes<lanes> shift = Lanes<lanes>::Zero();

  LaneAlphabets(const BlockOperands& block, Index first)
      : step(load<lanes>(block.step + first)), inverse_spacing(load<lanes>(block.inverse_spacing + first)) {
    if (block.threshold != nullptr) threshold = load<lanes>(block.threshold + first);
    if (block.shift != nullptr) shift = load<lanes>(block.shift + first);
  }
};

template <Index lanes, RoundingKind rounding>
void quantize_lanes(const BlockOperands& block, Range strip, Index first) {
  const float last = static_cast<float>(block.levels - 1);
  const LaneAlphabets<lanes> alphabets(block, first);
  Lanes<lanes> saturated = Lanes<lanes>::Zero();
  StripRows<lanes> W;
  StripRows<lanes> Q;  // or what is left behind, where that is diffused
  for (Index t = strip.begin; t < strip.end; ++t) {
    const Index row = t * block.neurons + first;
    const auto count = static_cast<std::size_t>(t - strip.begin);
    const float* G = block.G + t * block.width + strip.begin;
    if (!block.diffuses) W[count] = load<lanes>(block.W + row);
    const Lanes<lanes> c =
        block.diffuses ? difference_sums<lanes>(block.P + row, G, Q, count)
                       : path_sums<lanes>(block.P + row, block.C + t * block.width + strip.begin, G, W, Q, count);
    const float inverse_norm = block.inverse_norm[t];
    Lanes<lanes> argument = c * inverse_norm;  // 0 in a dead direction
    Lanes<lanes> half = Lanes<lanes>::Constant(0.5F * static_cast<float>(block.levels));
    for (Index lane = 0; lane < lanes; ++lane) {
      if constexpr (rounding == RoundingKind::soft) argument[lane] = shrink(argument[lane], alphabets.threshold[lane]);
      if constexpr (rounding == RoundingKind::hard)
        argument[lane] = unshift(argument[lane], alphabets.threshold[lane], alphabets.shift[lane]);
      if constexpr (rounding == RoundingKind::stochastic)
        if (inverse_norm > 0) half[lane] = 0.5F * last + uniform(block.seed[first + lane], block.first_counter + t);
    }
    const Lanes<lanes> position = (argument * alphabets.inverse_spacing + half).floor();
    const Lanes<lanes> code = position.max(0.0F).min(last);
    saturated += (code == position).select(Lanes<lanes>::Zero(), Lanes<lanes>::Ones());
    Lanes<lanes> value = 2.0F * code - last;
    for (Index lane = 0; lane < lanes; ++lane)
      value[lane] = level_value(value[lane], alphabets.step[lane], rounding == RoundingKind::hard ? alphabets.shift[lane] : 0.0F);
    Q[count] = value;
    if (block.diffuses) {
      Q[count] = Lanes<lanes>::Zero();
      if (inverse_norm > 0) Q[count] = c - value;
      store<lanes>(Q[count], block.E + row);
    }
    store<lanes>(value, block.Q + row);
    store_codes<lanes>(code, block.codes + row);
  }
  for (Index lane = 0; lane < lanes; ++lane) block.saturated[first + lane] += static_cast<std::int32_t>(saturated[lane]);
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
  const Lanes<lanes> step = load<lanes>(block.step + first);
  const Lanes<lanes> inverse_spacing = load<lanes>(block.inverse_spacing + first);
  const Lanes<lanes> noise = load<lanes>(block.noise + first);
  StripRows<lanes> D;
  Index changes = 0;
  for (Index t = strip.begin; t < strip.end; ++t) {
    const Index row = t * block.neurons + first;
    const auto count = static_cast<std::size_t>(t - strip.begin);
    const Lanes<lanes> c = difference_sums<lanes>(block.P + row, block.G + t * block.width + strip.begin, D, count);
    const Lanes<lanes> old = load<lanes>(block.Q + row);
    std::array<std::uint8_t, lanes> codes;
    std::copy_n(block.codes + row, lanes, codes.begin());
    const float inverse_norm = block.inverse_norm[t];
    const float norm = block.G[t * block.width + t];
    const float root = std::sqrt(norm);
    Lanes<lanes> moved;
    Lanes<lanes> level;
    int changed = 0;
    for (Index lane = 0; lane < lanes; ++lane) {
      const float argument = old[lane] + c[lane] * inverse_norm;
      const float position = std::floor(argument * inverse_spacing[lane] + half);
      const float code = std::min(std::max(position, 0.0F), last);
      const float d = (2.0F * code - last) * step[lane] - old[lane];
      const float size = std::abs(d);
      const float gain = d * (2.0F * c[lane] - d * norm);
      // Levels are compared by their codes: a fused product may tell a level from itself.
      const bool gains = code != static_cast<float>(codes[static_cast<std::size_t>(lane)]) && inverse_norm > 0 &&
                         gain > size * (least_gain * size * norm + noise[lane] * root);
      moved[lane] = gains ? d : 0.0F;
      level[lane] = code;
      changed += gains ? 1 : 0;
    }
    D[count] = moved;
    store<lanes>(moved, block.D + row);
    if (changed == 0) continue;
    changes += changed;
    for (Index lane = 0; lane < lanes; ++lane) {
      const float d = moved[lane];
      if (d == 0) continue;
      block.gain[first + lane] +=
          static_cast<double>(d) * (2.0 * static_cast<double>(c[lane]) - static_cast<double>(d) * norm);
      block.codes[row + lane] = static_cast<std::uint8_t>(static_cast<int>(level[lane]));
      block.Q[row + lane] = (2.0F * level[lane] - last) * step[lane];
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
