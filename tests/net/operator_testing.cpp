// SPDX-License-Identifier: Apache-2.0
// Building and running of small graphs.
#include "net/operator_testing.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>

namespace gpfq::test {

GraphBuilder::GraphBuilder(Shape input) {
  net::Node node;
  node.shape = std::move(input);
  append(std::move(node));
}

int GraphBuilder::append(net::Node node) {
  net::Graph& graph = model_.graph;
  if (node.name.empty()) node.name = std::string(net::op_name(node.op)) + "_" + std::to_string(graph.size());
  node.shape = net::infer_shape(graph, node);
  graph.nodes.push_back(std::move(node));
  graph.output = graph.size() - 1;
  return graph.output;
}

void GraphBuilder::parameter(net::Node& node, const std::string& role, Shape shape, std::vector<float> values) {
  const std::string tensor = "tensor_" + std::to_string(model_.tensors.size());
  node.parameters[role] = tensor;
  model_.graph.tensors[tensor] = shape;
  model_.tensors[tensor] = net::make_source(std::move(shape), std::move(values));
}

int GraphBuilder::add(net::Op op, std::vector<int> inputs, Attributes attributes) {
  net::Node node;
  node.op = op;
  node.inputs = std::move(inputs);
  node.attributes = std::move(attributes);
  return append(std::move(node));
}

int GraphBuilder::linear(net::Op op, int input, Shape weight_shape, std::vector<float> weight, std::vector<float> bias,
                         Attributes attributes) {
  net::Node node;
  node.op = op;
  node.inputs = {input};
  node.attributes = std::move(attributes);
  if (!bias.empty()) parameter(node, "bias", {weight_shape.front()}, std::move(bias));
  parameter(node, "weight", std::move(weight_shape), std::move(weight));
  return append(std::move(node));
}

int GraphBuilder::reshape(int input, Shape shape) {
  net::Node node;
  node.op = net::Op::reshape;
  node.inputs = {input};
  node.shape = std::move(shape);
  return append(std::move(node));
}

int GraphBuilder::batch_norm(int input, Random& random) {
  net::Node node;
  node.op = net::Op::batch_norm;
  node.inputs = {input};
  const Index channels = model_.graph.node(input).shape.front();
  for (const char* role : {"scale", "shift", "mean", "variance"}) {
    std::vector<float> values(static_cast<std::size_t>(channels));
    for (float& value : values) value = static_cast<float>(random.uniform(0.5, 2));
    parameter(node, role, {channels}, std::move(values));
  }
  return append(std::move(node));
}

std::vector<float> run_graph(const net::Model& model, const std::vector<float>& input,
                             const net::PropagationOptions& options) {
  const net::Graph& graph = model.graph;
  net::validate(graph);
  const Index size = element_count(graph.node(0).shape);
  const Index samples = static_cast<Index>(input.size()) / size;
  net::LiveBatches live;
  live[0] = net::Batch(samples, graph.node(0).shape);
  std::copy(input.begin(), input.end(), live[0].values.data());
  net::run_nodes(graph, 0, graph.size(), live, ModelParameters(model), options);
  EXPECT_EQ(live.size(), 1U) << "batches that nothing reads are dropped";
  const net::Batch& output = live.at(graph.output);
  EXPECT_EQ(output.samples, samples);
  EXPECT_EQ(output.shape, graph.node(graph.output).shape);
  return {output.values.data(), output.values.data() + output.values.size()};
}

std::vector<float> run_in_groups(const net::Model& model, const std::vector<float>& input, Index group,
                                 const net::PropagationOptions& options) {
  const Index size = element_count(model.graph.node(0).shape);
  std::vector<float> all;
  const Index samples = static_cast<Index>(input.size()) / size;
  for (Index begin = 0; begin < samples; begin += group) {
    const Index end = std::min(samples, begin + group);
    net::PropagationOptions at = options;
    at.first_sample = begin;
    const std::vector<float> part = run_graph(model, {input.begin() + begin * size, input.begin() + end * size}, at);
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

std::vector<float> whole_numbers(Random& random, Index count, Index limit) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = static_cast<float>(random.integer(-limit, limit));
  return values;
}

::testing::AssertionResult same_bits(const std::vector<float>& found, const std::vector<float>& expected) {
  if (found.size() != expected.size())
    return ::testing::AssertionFailure() << found.size() << " values, expected " << expected.size();
  for (std::size_t i = 0; i < found.size(); ++i)
    if (std::bit_cast<std::uint32_t>(found[i]) != std::bit_cast<std::uint32_t>(expected[i]))
      return ::testing::AssertionFailure() << "value " << i << " is " << found[i] << ", expected " << expected[i];
  return ::testing::AssertionSuccess();
}

}  // namespace gpfq::test
