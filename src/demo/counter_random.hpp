// SPDX-License-Identifier: Apache-2.0
// Random numbers that are the same on every machine: the standard library fixes its engines but
// not its distributions, and an item's numbers must not depend on the items drawn before it.
#pragma once

#include <cstdint>

namespace gpfq::demo {

/// Numbers of one item: number k is a hash of (seed, stream, item, k).
/// The hash is the finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
class CounterRandom {
 public:
  CounterRandom(std::uint64_t seed, std::uint64_t stream, std::uint64_t item)
      : key_(mix(mix(mix(seed + golden_ratio) + stream) + item)) {}

  [[nodiscard]] std::uint64_t next() { return mix(key_ + golden_ratio * ++counter_); }

  /// Uniform in [0, 1), a multiple of 2^-53.
  [[nodiscard]] double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  [[nodiscard]] double uniform(double low, double high) { return low + (high - low) * uniform(); }

  /// Uniform in 0 .. count−1 (count >= 1, well below 2^32: the bias is count / 2^32).
  [[nodiscard]] std::uint64_t below(std::uint64_t count) { return ((next() >> 32) * count) >> 32; }

  /// Mean 0, variance 1, within ±6: the sum of twelve 16-bit uniforms, so no logarithm or cosine
  /// whose last digit differs between math libraries.
  [[nodiscard]] double normal() {
    std::int64_t sum = 0;
    for (int word = 0; word < 3; ++word) {
      const std::uint64_t bits = next();
      for (int part = 0; part < 4; ++part) sum += static_cast<std::int64_t>((bits >> (16 * part)) & 0xffff);
    }
    return static_cast<double>(sum - 6 * 65535) * 0x1p-16;
  }

 private:
  static constexpr std::uint64_t golden_ratio = 0x9e3779b97f4a7c15;

  [[nodiscard]] static constexpr std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  std::uint64_t key_;
  std::uint64_t counter_ = 0;
};

}  // namespace gpfq::demo
