// SPDX-License-Identifier: Apache-2.0
// The recursion inside a block against the same written as a plain double loop, and against a
// block small enough to do by hand.
#include "gpfq/quant/block_kernel.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <utility>
#include <vector>

#include "gpfq/base/aligned_buffer.hpp"
#include "gpfq/quant/alphabet.hpp"
#include "support/errors.hpp"

namespace gpfq::quant {
namespace {

/// Owned operands of a block; all but the inputs of the kernel start with values it must overwrite.
struct Block {
  Index width;
  Index neurons;
  int levels;
  AlignedBuffer<float> G, C, inverse_norm, W, P, Q, E, step, inverse_spacing;
  AlignedBuffer<std::uint8_t> codes;
  AlignedBuffer<std::int32_t> saturated;
  RoundingKind rounding = RoundingKind::nearest;
  AlignedBuffer<float> threshold, shift;
  AlignedBuffer<std::uint64_t> seed;

  Block(Index b, Index n, int level_count)
      : width(b),
        neurons(n),
        levels(level_count),
        G(b * b),
        C(b * b),
        inverse_norm(b),
        W(b * n),
        P(b * n),
        Q(b * n),
        E(b * n),
        step(n),
        inverse_spacing(n),
        codes(b * n),
        saturated(n),
        threshold(n),
        shift(n),
        seed(n) {
    // The upper triangles are never read: whatever stands there must not reach a sum.
    for (Index t = 0; t < b; ++t)
      for (Index s = t + 1; s < b; ++s) G[t * b + s] = C[t * b + s] = std::nanf("");
    std::fill_n(Q.data(), Q.size(), std::nanf(""));
    std::fill_n(codes.data(), codes.size(), std::uint8_t{255});
  }

  void set_alphabet(Index neuron, float value) {
    step[neuron] = value;
    inverse_spacing[neuron] = value > 0 ? 0.5F / value : 0.0F;
  }
  void set_norms() {
    for (Index t = 0; t < width; ++t) inverse_norm[t] = G[t * width + t] > 0 ? 1.0F / G[t * width + t] : 0.0F;
  }

  void run(bool diffuses = false) {
    AlignedBuffer<float> overwritten(P.size());
    std::copy_n(P.data(), P.size(), overwritten.data());
    BlockOperands operands;
    operands.width = width;
    operands.neurons = neurons;
    operands.G = G.data();
    operands.C = C.data();
    operands.inverse_norm = inverse_norm.data();
    operands.W = W.data();
    operands.P = overwritten.data();
    operands.diffuses = diffuses;
    operands.E = E.data();
    operands.step = step.data();
    operands.inverse_spacing = inverse_spacing.data();
    operands.levels = levels;
    operands.rounding = rounding;
    operands.threshold = threshold.data();
    operands.shift = shift.data();
    operands.seed = seed.data();
    operands.Q = Q.data();
    operands.codes = codes.data();
    operands.saturated = saturated.data();
    quantize_block(operands);
  }
};

/// c_t / G_tt of one neuron from the codes found so far, in double; 0 for a dead direction.
double argument(const Block& block, Index t, Index j) {
  if (block.inverse_norm[t] == 0) return 0;
  double c = block.P[t * block.neurons + j];
  for (Index s = 0; s <= t; ++s)
    c += static_cast<double>(block.C[t * block.width + s]) * block.W[s * block.neurons + j];
  for (Index s = 0; s < t; ++s) c -= static_cast<double>(block.G[t * block.width + s]) * block.Q[s * block.neurons + j];
  return c / block.G[t * block.width + t];
}

/// Sum of magnitudes behind c_t / G_tt: what rounding errors are relative to.
double argument_scale(const Block& block, Index t, Index j) {
  double sum = std::abs(block.P[t * block.neurons + j]);
  for (Index s = 0; s <= t; ++s)
    sum += std::abs(block.C[t * block.width + s]) * std::abs(block.W[s * block.neurons + j]);
  for (Index s = 0; s < t; ++s)
    sum += std::abs(block.G[t * block.width + s]) * std::abs(block.Q[s * block.neurons + j]);
  return sum / block.G[t * block.width + t];
}

/// b = 2, one neuron, ternary −1, 0, 1:  G = (2 ·; 1 4), C = (2 ·; 3 4), w = (3/4, −1/2), P = (1, 2).
///   c₁ = 1 + 2·3/4 = 5/2, /2 = 5/4 → 1;   c₂ = 2 + 3·3/4 − 4/2 − 1·1 = 5/4, /4 = 5/16 → 0.
TEST(BlockKernel, BlockOfTwoByHand) {
  Block block(2, kernel_lanes, 3);
  block.G[0] = 2;
  block.G[2] = 1;
  block.G[3] = 4;
  block.C[0] = 2;
  block.C[2] = 3;
  block.C[3] = 4;
  block.set_norms();
  block.set_alphabet(0, 0.5F);
  block.W[0] = 0.75F;
  block.W[kernel_lanes] = -0.5F;
  block.P[0] = 1;
  block.P[kernel_lanes] = 2;
  block.run();
  EXPECT_EQ(block.codes[0], 2);
  EXPECT_EQ(block.Q[0], 1.0F);
  EXPECT_EQ(block.codes[kernel_lanes], 1);
  EXPECT_EQ(block.Q[kernel_lanes], 0.0F);
  EXPECT_EQ(block.saturated[0], 0);
}

Block random_block(Index width, Index neurons, int levels, std::mt19937& generator) {
  std::normal_distribution<float> normal;
  Block block(width, neurons, levels);
  for (Index t = 0; t < width; ++t) {
    for (Index s = 0; s <= t; ++s) {
      block.G[t * width + s] = normal(generator) * (s == t ? 0 : 2) + (s == t ? 11.0F : 0.0F);
      block.C[t * width + s] = block.G[t * width + s] + normal(generator);
    }
  }
  if (width > 3)
    for (Index s = 0; s <= 3; ++s) block.G[3 * width + s] = 0;  // a dead direction; C of it need not be zero
  block.set_norms();
  for (Index j = 0; j < neurons; ++j) block.set_alphabet(j, (0.2F + 0.05F * static_cast<float>(j % 5)) * 3 / levels);
  for (Index i = 0; i < width * neurons; ++i) {
    block.W[i] = normal(generator);
    block.P[i] = 3 * normal(generator);
  }
  return block;
}

/// Each sum has at most 2b + 1 terms, each product and addition rounds once, three more for the scaling: the argument
/// is known to (2b + 5)·2⁻²⁴ of the sum of magnitudes, and adding M/2 costs 2⁻²³·M spacings.
TEST(BlockKernel, AgreesWithAPlainLoopInDouble) {
  std::mt19937 generator(31);
  Index saturated = 0;
  for (const int levels : {2, 3, 4, 15, 16, 256}) {
    for (const Index width : {Index{1}, Index{5}, Index{33}, 2 * kernel_strip + 9, 4 * kernel_strip}) {
      Block block = random_block(width, 3 * kernel_lanes, levels, generator);
      block.run();
      for (Index j = 0; j < block.neurons; ++j) {
        const Alphabet alphabet(levels, block.step[j]);
        const double spacing = 2.0 * block.step[j];
        int beyond = 0;
        for (Index t = 0; t < width; ++t) {
          const Index at = t * block.neurons + j;
          const int code = block.codes[at];
          ASSERT_LT(code, levels);
          ASSERT_EQ(block.Q[at], alphabet.value(code));
          const double z = argument(block, t, j);
          const double tolerance = (block.inverse_norm[t] == 0
                                        ? 0
                                        : static_cast<double>(2 * width + 5) * 0x1p-24 * argument_scale(block, t, j)) +
                                   0x1p-23 * levels * spacing;
          const double chosen = std::abs(z - alphabet.value(code));
          const double nearest = std::abs(z - alphabet.value(alphabet.nearest(z)));
          EXPECT_LE(chosen, nearest + 2 * tolerance) << levels << " levels, width " << width << ", input " << t;
          beyond += std::abs(z) > levels * block.step[j] ? 1 : 0;
        }
        EXPECT_EQ(block.saturated[j], beyond);
        saturated += beyond;
      }
    }
  }
  EXPECT_GT(saturated, 0) << "the data must reach beyond the last level";
}

/// Over several strips, by neurons that go abreast in both widths: the code of an argument that is clear of every edge, the
/// one or the other of the two levels beside it where they are drawn.
TEST(BlockKernel, OtherRoundingsAgreeWithTheAlphabets) {
  std::mt19937 generator(33);
  const Index width = 2 * kernel_strip + 9;
  constexpr int levels = 15;
  for (const RoundingKind rounding : {RoundingKind::soft, RoundingKind::hard, RoundingKind::stochastic}) {
    Block block = random_block(width, 3 * kernel_lanes, levels, generator);
    block.rounding = rounding;
    for (Index j = 0; j < block.neurons; ++j) {
      block.threshold[j] = 1.25F * block.step[j];
      block.shift[j] = rounding == RoundingKind::hard ? block.threshold[j] - 2 * block.step[j] : 0;
      block.seed[j] = static_cast<std::uint64_t>(j) + 1;
    }
    block.run();
    Index clear = 0;
    Index above = 0;
    for (Index j = 0; j < block.neurons; ++j) {
      const Alphabet alphabet(levels, block.step[j], block.shift[j]);
      for (Index t = 0; t < width; ++t) {
        const Index at = t * block.neurons + j;
        ASSERT_EQ(block.Q[at], alphabet.value(block.codes[at]));
        if (block.inverse_norm[t] == 0) continue;
        const double z = argument(block, t, j);
        const double tolerance = static_cast<double>(2 * width + 9) * 0x1p-23 * (argument_scale(block, t, j) + block.step[j]);
        if (rounding == RoundingKind::stochastic) {
          const int below = alphabet.nearest(z - block.step[j] - tolerance);
          const int top = alphabet.nearest(z + block.step[j] + tolerance);
          ASSERT_GE(block.codes[at], below) << "input " << t << ", neuron " << j;
          ASSERT_LE(block.codes[at], top) << "input " << t << ", neuron " << j;
          above += block.codes[at] != alphabet.nearest(z) ? 1 : 0;
        } else {
          const int code = alphabet.rounded(z - tolerance, rounding, block.threshold[j]);
          if (alphabet.rounded(z + tolerance, rounding, block.threshold[j]) != code) continue;
          ++clear;
          ASSERT_EQ(block.codes[at], code) << "input " << t << ", neuron " << j;
        }
      }
    }
    if (rounding == RoundingKind::stochastic)
      EXPECT_GT(above, width) << "some are drawn otherwise than rounded";
    else
      EXPECT_GT(clear, width * block.neurons * 9 / 10);
  }
}

/// c_t = P_t − Σ_{s<t} G_ts d_s in double, and the sum of magnitudes.
std::pair<double, double> difference_sum(const Block& block, const AlignedBuffer<float>& D, Index t, Index j) {
  double c = block.P[t * block.neurons + j];
  double scale = std::abs(c);
  for (Index s = 0; s < t; ++s) {
    const double term = static_cast<double>(block.G[t * block.width + s]) * D[s * block.neurons + j];
    c -= term;
    scale += std::abs(term);
  }
  return {c, scale};
}

TEST(BlockKernel, ErrorDiffusionGoesOnThroughAllStrips) {
  std::mt19937 generator(32);
  const Index width = 2 * kernel_strip + 9;
  Block block = random_block(width, 3 * kernel_lanes, 7, generator);
  for (Index t = 0; t < width; ++t)
    for (Index s = 0; s <= t; ++s) block.G[t * width + s] = s == t ? 1.0F : 0.01F * block.G[t * width + s];
  block.set_norms();
  block.run(true);
  for (Index j = 0; j < block.neurons; ++j) {
    const Alphabet alphabet(7, block.step[j]);
    for (Index t = 0; t < width; ++t) {
      const Index at = t * block.neurons + j;
      const auto [c, scale] = difference_sum(block, block.E, t, j);
      const double tolerance = static_cast<double>(2 * width + 20) * 0x1p-24 * scale;
      EXPECT_NEAR(block.E[at] + block.Q[at], c, tolerance) << "input " << t;
      EXPECT_LE(std::abs(c - block.Q[at]), std::abs(c - alphabet.value(alphabet.nearest(c))) + 2 * tolerance) << "input " << t;
    }
  }
}

TEST(BlockKernel, RefiningGoesOnThroughAllStrips) {
  std::mt19937 generator(33);
  const Index width = 2 * kernel_strip + 9;
  Block block = random_block(width, 3 * kernel_lanes, 7, generator);
  block.run();
  AlignedBuffer<float> old(block.Q.size());
  std::copy_n(block.Q.data(), old.size(), old.data());
  AlignedBuffer<float> P(block.P.size());
  std::copy_n(block.P.data(), P.size(), P.data());
  AlignedBuffer<float> D(P.size());
  AlignedBuffer<float> noise(block.neurons);
  AlignedBuffer<double> gain(block.neurons);
  RefineOperands operands;
  operands.width = width;
  operands.neurons = block.neurons;
  operands.G = block.G.data();
  operands.inverse_norm = block.inverse_norm.data();
  operands.P = P.data();
  operands.step = block.step.data();
  operands.inverse_spacing = block.inverse_spacing.data();
  operands.noise = noise.data();
  operands.levels = 7;
  operands.Q = block.Q.data();
  operands.codes = block.codes.data();
  operands.D = D.data();
  operands.gain = gain.data();
  EXPECT_GT(refine_block(operands), width);
  for (Index j = 0; j < block.neurons; ++j) {
    const Alphabet alphabet(7, block.step[j]);
    for (Index t = 0; t < width; ++t) {
      const Index at = t * block.neurons + j;
      EXPECT_EQ(block.Q[at], alphabet.value(block.codes[at]));
      EXPECT_NEAR(D[at], block.Q[at] - old[at], 1e-6);
      if (block.inverse_norm[t] == 0) continue;
      const auto [c, scale] = difference_sum(block, D, t, j);
      const double norm = block.G[t * width + t];
      const double z = old[at] + c / norm;
      const double best = alphabet.value(alphabet.nearest(z));
      // What a change is worth, from the double-precision sum; a small gain may be left alone.
      const auto worth = [&](double value) { return (value - old[at]) * (2 * c - (value - old[at]) * norm); };
      const double slack = (0x1p-8 * norm * std::abs(best - old[at]) + static_cast<double>(4 * width) * 0x1p-23 * scale) *
                           std::abs(best - old[at]);
      EXPECT_GE(worth(block.Q[at]), worth(best) - slack - 1e-6 * scale) << "input " << t;
    }
  }
}

TEST(BlockKernel, DeadDirectionTakesTheLevelNearestZero) {
  for (const int levels : {2, 3, 4, 15, 16, 255, 256}) {
    Block block(2, kernel_lanes, levels);
    block.G[0] = 1;
    block.C[0] = 1;
    block.C[2] = 5;  // Xq₂ = 0 would make these zero too; whatever they are, the argument is 0
    block.C[3] = 7;
    block.set_norms();
    for (Index j = 0; j < kernel_lanes; ++j) {
      block.set_alphabet(j, 0.25F);
      block.W[j] = block.W[kernel_lanes + j] = -static_cast<float>(j);
      block.P[kernel_lanes + j] = 100;
    }
    block.run();
    for (Index j = 0; j < kernel_lanes; ++j)
      EXPECT_EQ(block.codes[kernel_lanes + j], Alphabet(levels, 0.25F).nearest(0.0)) << levels << " levels";
  }
}

/// Padded neurons have step 0 and weights 0: their quantized values stay 0, and they change nothing of the others.
TEST(BlockKernel, PaddedLanesStayZeroAndAlone) {
  for (const int levels : {2, 3, 16, 255, 256}) {
    std::mt19937 generator(32);
    Block full = random_block(9, 2 * kernel_lanes, levels, generator);
    Block padded(9, 2 * kernel_lanes, levels);
    std::copy_n(full.G.data(), 81, padded.G.data());
    std::copy_n(full.C.data(), 81, padded.C.data());
    std::copy_n(full.inverse_norm.data(), 9, padded.inverse_norm.data());
    constexpr Index real = kernel_lanes + 3;
    for (Index j = 0; j < real; ++j) {
      padded.set_alphabet(j, full.step[j]);
      for (Index t = 0; t < 9; ++t) {
        padded.W[t * padded.neurons + j] = full.W[t * full.neurons + j];
        padded.P[t * padded.neurons + j] = full.P[t * full.neurons + j];
      }
    }
    full.run();
    padded.run();
    for (Index t = 0; t < 9; ++t) {
      for (Index j = 0; j < padded.neurons; ++j) {
        const Index at = t * padded.neurons + j;
        if (j < real)
          EXPECT_EQ(padded.codes[at], full.codes[at]);
        else
          EXPECT_EQ(padded.Q[at], 0.0F);
      }
    }
  }
}

/// M = 3, step 1/2, G = 1: an argument beyond 3/2 would have gone past the last level, one at 1.4 would not.
TEST(BlockKernel, CountsArgumentsBeyondTheLastLevelAndAddsToWhatWasCounted) {
  Block block(1, kernel_lanes, 3);
  block.G[0] = block.C[0] = 1;
  block.set_norms();
  const std::vector<float> arguments = {1.4F, 1.6F, -1.4F, -1.6F, 0, 1e30F, -1e30F};
  for (Index j = 0; j < kernel_lanes; ++j) block.set_alphabet(j, 0.5F);
  for (std::size_t j = 0; j < arguments.size(); ++j) block.W[static_cast<Index>(j)] = arguments[j];
  block.run();
  block.run();
  const std::vector<int> expected = {0, 2, 0, 2, 0, 2, 2};
  const std::vector<int> codes = {2, 2, 0, 0, 1, 2, 0};
  for (std::size_t j = 0; j < expected.size(); ++j) {
    EXPECT_EQ(block.saturated[static_cast<Index>(j)], expected[j]) << arguments[j];
    EXPECT_EQ(block.codes[static_cast<Index>(j)], codes[j]) << arguments[j];
  }
}

TEST(BlockKernel, RefusesPartialLanes) {
  Block block(1, kernel_lanes, 3);
  block.neurons = kernel_lanes - 1;
  test::fault([&] { block.run(); });
}

}  // namespace
}  // namespace gpfq::quant
