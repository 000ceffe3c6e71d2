// SPDX-License-Identifier: Apache-2.0
// What tests of operators share: graphs of any shape built node by node, their parameters in
// memory, and runs over samples grouped in several ways.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "gpfq/net/propagate.hpp"
#include "gpfq/net/tensor_source.hpp"
#include "support/networks.hpp"

namespace gpfq::test {

using Attributes = std::map<std::string, std::vector<double>>;

/// A graph built node by node; shapes are inferred, the last node added is the output.
class GraphBuilder {
 public:
  explicit GraphBuilder(Shape input);
  /// @returns the node's index
  int add(net::Op op, std::vector<int> inputs, Attributes attributes = {});
  /// A convolution or dense layer; an empty bias is none.
  int linear(net::Op op, int input, Shape weight_shape, std::vector<float> weight, std::vector<float> bias = {},
             Attributes attributes = {});
  int reshape(int input, Shape shape);
  int batch_norm(int input, Random& random);
  [[nodiscard]] const net::Model& model() const { return model_; }
  [[nodiscard]] const net::Graph& graph() const { return model_.graph; }

 private:
  int append(net::Node node);
  void parameter(net::Node& node, const std::string& role, Shape shape, std::vector<float> values);
  net::Model model_;
};

/// Parameters as a model's sources give them.
class ModelParameters : public net::Parameters {
 public:
  explicit ModelParameters(const net::Model& model) : model_(model) {}
  void read_rows(const std::string& tensor, Index first, Index count, float* out) const override {
    model_.tensors.at(tensor).read_rows(first, count, out);
  }

 private:
  const net::Model& model_;
};

/// A graph that validate() refuses to take or that claims another size fails the test; returns the output of all
/// samples.
[[nodiscard]] std::vector<float> run_graph(const net::Model& model, const std::vector<float>& input,
                                           const net::PropagationOptions& options = {});

/// The same, `group` samples at a time.
[[nodiscard]] std::vector<float> run_in_groups(const net::Model& model, const std::vector<float>& input, Index group,
                                               const net::PropagationOptions& options = {});

/// Whole numbers from −limit to limit: sums of their products are exact in any order.
[[nodiscard]] std::vector<float> whole_numbers(Random& random, Index count, Index limit);

/// Bit for bit the same, or the first place where they differ.
[[nodiscard]] ::testing::AssertionResult same_bits(const std::vector<float>& found, const std::vector<float>& expected);

}  // namespace gpfq::test
