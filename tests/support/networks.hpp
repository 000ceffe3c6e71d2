// SPDX-License-Identifier: Apache-2.0
// Small networks for tests: random numbers that are the same everywhere, and a builder for chains of nodes.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "gpfq/net/tensor_source.hpp"

namespace gpfq::test {

/// Numbers from a 64-bit Mersenne twister, mapped by our own arithmetic (std:: distributions differ by library).
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  /// Uniform in [0, 1).
  double uniform() { return static_cast<double>(engine_() >> 11U) * 0x1p-53; }
  /// Uniform in [low, high).
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  /// Uniform in {low, ..., high}.
  Index integer(Index low, Index high) {
    return low + static_cast<Index>(engine_() % static_cast<std::uint64_t>(high - low + 1));
  }
  /// Roughly normal: the sum of twelve uniform numbers less six.
  double normal();
  [[nodiscard]] std::vector<float> normals(Index count, double deviation);

 private:
  std::mt19937_64 engine_;
};

/// A chain of nodes: each reads the one before it.
class ChainBuilder {
 public:
  explicit ChainBuilder(Shape input);
  /// A dense layer; `weight` is neurons × inputs, an empty bias is none.
  ChainBuilder& dense(const std::string& name, Index neurons, std::vector<float> weight, std::vector<float> bias = {});
  ChainBuilder& node(const std::string& name, net::Op op, std::map<std::string, std::vector<double>> attributes = {});
  ChainBuilder& reshape(const std::string& name, Shape shape);
  ChainBuilder& batch_norm(const std::string& name, std::vector<float> scale, std::vector<float> shift,
                           std::vector<float> mean, std::vector<float> variance);
  [[nodiscard]] net::Model build() const { return model_; }

 private:
  net::Node& append(const std::string& name, net::Op op, Shape shape);
  void parameter(net::Node& node, const std::string& role, Shape shape, std::vector<float> values);
  net::Model model_;
};

/// Dense layers "fc1", "fc2", ... of random weights with biases, ReLU between them, batch norm after the first ReLU.
[[nodiscard]] net::Model random_mlp(const std::vector<Index>& widths, std::uint64_t seed);

}  // namespace gpfq::test
