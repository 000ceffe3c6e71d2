// SPDX-License-Identifier: Apache-2.0
// BatchNormalization folded into the layer before it: numbers worked out by hand, the same outputs
// as before, and the graphs in which it has to stay.
#include "gpfq/net/fold.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "net/operator_testing.hpp"
#include "support/errors.hpp"

namespace gpfq::test {
namespace {

using Floats = std::vector<float>;

/// Parameters of the normalization at `node`: g = scale / sqrt(variance + 1/4).
void set_norm(net::Model& model, int node, const std::map<std::string, Floats>& parameters) {
  net::Node& norm = model.graph.nodes.at(static_cast<std::size_t>(node));
  norm.attributes["epsilon"] = {0.25};
  for (const auto& [role, values] : parameters)
    model.tensors[norm.parameters.at(role)] = net::make_source({static_cast<Index>(values.size())}, values);
}

Floats parameter(const net::Model& model, int node, const std::string& role) {
  return net::read_all(model.tensors.at(model.graph.node(node).parameters.at(role)));
}

void expect_close(const Floats& found, const Floats& expected) {
  ASSERT_EQ(found.size(), expected.size());
  float largest = 0;
  for (const float value : expected) largest = std::max(largest, std::abs(value));
  // Each weight and bias is rounded once more; sums of up to 54 terms of the outputs' size.
  for (std::size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], 2e-5 * largest) << i;
}

int conv(GraphBuilder& builder, int input, const Shape& weight, Index groups, bool has_bias, Random& random) {
  const Index filters = weight.front();
  return builder.linear(net::Op::conv, input, weight, random.normals(element_count(weight), 1),
                        has_bias ? random.normals(filters, 1) : Floats{},
                        {{"pads", {1, 1, 1, 1}}, {"groups", {static_cast<double>(groups)}}});
}

TEST(Fold, DenseWithABias) {
  Random random(1);
  GraphBuilder builder({2});
  builder.linear(net::Op::dense, 0, {2, 2}, {1, 2, 3, 4}, {10, 20});
  const int norm = builder.batch_norm(1, random);
  net::Model model = builder.model();
  // Deviations 1 and 2, so that g = (3, 1/4).
  set_norm(model, norm, {{"scale", {3, 0.5}}, {"shift", {7, 8}}, {"mean", {1, -4}}, {"variance", {0.75, 3.75}}});
  ASSERT_EQ(net::fold_batch_norms(model), 1);
  ASSERT_EQ(model.graph.size(), 2);
  EXPECT_EQ(model.graph.output, 1);
  EXPECT_EQ(parameter(model, 1, "weight"), (Floats{3, 6, 0.75, 1}));
  EXPECT_EQ(parameter(model, 1, "bias"), (Floats{34, 14}));  // 3·(10 − 1) + 7, (20 + 4)/4 + 8
  Floats row(2);
  model.tensors.at(model.graph.node(1).parameters.at("weight")).read_rows(1, 1, row.data());
  EXPECT_EQ(row, (Floats{0.75, 1}));
  EXPECT_EQ(model.graph.tensors.size(), 2U);  // the normalization's are gone
  EXPECT_EQ(model.tensors.size(), 2U);
  EXPECT_EQ(run_graph(model, {1, 1}), (Floats{43, 15.75}));
}

TEST(Fold, GroupedConvolutionWithoutABiasGetsOne) {
  Random random(2);
  GraphBuilder builder({2, 1, 1});
  builder.linear(net::Op::conv, 0, {4, 1, 1, 1}, {1, 2, 3, 4}, {}, {{"groups", {2}}});
  const int norm = builder.batch_norm(1, random);
  net::Model model = builder.model();
  set_norm(model, norm,
           {{"scale", {1, 2, 3, 4}}, {"shift", {0, 1, 0, 1}}, {"mean", {0, 0, 5, 5}}, {"variance", {0.75, 0.75, 0.75, 3.75}}});
  ASSERT_EQ(net::fold_batch_norms(model), 1);
  EXPECT_EQ(parameter(model, 1, "weight"), (Floats{1, 4, 9, 8}));
  EXPECT_EQ(model.graph.node(1).parameters.at("bias"), model.graph.node(1).name + ".bias");
  EXPECT_EQ(parameter(model, 1, "bias"), (Floats{0, 1, -15, -9}));
  EXPECT_EQ(run_graph(model, {10, 100}), (Floats{10, 41, 885, 791}));
}

TEST(Fold, OutputsStayTheSame) {
  struct Case {
    Shape weight;
    Index groups;
  };
  for (const Case& layer : {Case{{8, 6, 3, 3}, 1}, Case{{8, 3, 3, 3}, 2}, Case{{12, 1, 3, 3}, 6}})
    for (const bool has_bias : {false, true}) {
      Random random(3);
      GraphBuilder builder({6, 5, 4});
      const int first = builder.batch_norm(conv(builder, 0, layer.weight, layer.groups, has_bias, random), random);
      const int flat = builder.reshape(builder.add(net::Op::relu, {first}), {layer.weight.front() * 20});
      const Index inputs = layer.weight.front() * 20;
      const int dense = builder.linear(net::Op::dense, flat, {3, inputs}, random.normals(3 * inputs, 0.1),
                                       has_bias ? random.normals(3, 1) : Floats{});
      builder.batch_norm(dense, random);
      net::Model model = builder.model();
      const Floats samples = random.normals(2 * 120, 1);
      const Floats expected = run_graph(model, samples);
      ASSERT_EQ(net::fold_batch_norms(model), 2);
      ASSERT_EQ(model.graph.size(), 5);
      expect_close(run_graph(model, samples), expected);
    }
}

TEST(Fold, OneAfterAnother) {
  Random random(4);
  GraphBuilder builder({6, 5, 4});
  int last = conv(builder, 0, {8, 6, 3, 3}, 1, false, random);
  for (int i = 0; i < 3; ++i) last = builder.batch_norm(last, random);
  net::Model model = builder.model();
  const Floats samples = random.normals(120, 1);
  const Floats expected = run_graph(model, samples);
  EXPECT_EQ(net::fold_batch_norms(model), 3);
  EXPECT_EQ(model.graph.size(), 2);
  expect_close(run_graph(model, samples), expected);
}

/// Nothing is folded, and nothing is changed.
void expect_unfolded(net::Model model) {
  const std::string before = net::to_json(model.graph);
  EXPECT_EQ(net::fold_batch_norms(model), 0);
  EXPECT_EQ(net::to_json(model.graph), before);
}

TEST(Fold, NotWhereSomethingElseReadsTheLayer) {
  Random random(5);
  GraphBuilder builder({6, 5, 4});
  const int layer = conv(builder, 0, {8, 6, 3, 3}, 1, true, random);
  const int norm = builder.batch_norm(layer, random);
  net::Model model = builder.model();
  model.graph.output = layer;  // the network's output is a reader
  expect_unfolded(model);
  builder.add(net::Op::add, {norm, layer});
  expect_unfolded(builder.model());
}

TEST(Fold, NotBehindSomethingElse) {
  Random random(6);
  GraphBuilder builder({6, 5, 4});
  const int layer = conv(builder, 0, {8, 6, 3, 3}, 1, true, random);
  builder.batch_norm(builder.add(net::Op::relu, {layer}), random);
  expect_unfolded(builder.model());
}

TEST(Fold, NotWhereLayersShareATensor) {
  for (const char* role : {"weight", "bias"}) {
    Random random(7);
    GraphBuilder builder({6, 5, 4});
    const int first = conv(builder, 0, {6, 6, 3, 3}, 1, true, random);
    const int second = conv(builder, builder.batch_norm(first, random), {6, 6, 3, 3}, 1, true, random);
    net::Model model = builder.model();
    std::map<std::string, std::string>& parameters = model.graph.nodes.at(static_cast<std::size_t>(second)).parameters;
    model.graph.tensors.erase(parameters.at(role));
    parameters[role] = model.graph.node(first).parameters.at(role);
    expect_unfolded(model);
  }
}

TEST(Fold, ANewBiasTakesNoOtherTensorsPlace) {
  Random random(8);
  GraphBuilder builder({6, 5, 4});
  const int layer = conv(builder, 0, {8, 6, 3, 3}, 1, false, random);
  builder.batch_norm(layer, random);
  net::Model model = builder.model();
  const std::string name = model.graph.node(layer).name + ".bias";
  model.graph.tensors[name] = {3};
  model.tensors[name] = net::make_source({3}, {1, 2, 3});
  const std::string message = input_error([&] { static_cast<void>(net::fold_batch_norms(model)); });
  EXPECT_TRUE(mentions(message, "tensor '" + name + "' is in the way of a bias"));
  EXPECT_TRUE(mentions(message, "'quantization.fold_batchnorm' false"));
}

}  // namespace
}  // namespace gpfq::test
