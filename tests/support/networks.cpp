// SPDX-License-Identifier: Apache-2.0
// Building of small networks.
#include "support/networks.hpp"

#include <fmt/format.h>

#include <cmath>

namespace gpfq::test {

double Random::normal() {
  double sum = -6;
  for (int i = 0; i < 12; ++i) sum += uniform();
  return sum;
}

std::vector<float> Random::normals(Index count, double deviation) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = static_cast<float>(deviation * normal());
  return values;
}

ChainBuilder::ChainBuilder(Shape input) { append("input", net::Op::input, std::move(input)); }

net::Node& ChainBuilder::append(const std::string& name, net::Op op, Shape shape) {
  net::Graph& graph = model_.graph;
  net::Node node;
  node.name = name;
  node.source_name = name;
  node.op = op;
  node.shape = std::move(shape);
  if (graph.size() > 0) node.inputs = {graph.size() - 1};
  graph.nodes.push_back(std::move(node));
  graph.output = graph.size() - 1;
  return graph.nodes.back();
}

void ChainBuilder::parameter(net::Node& node, const std::string& role, Shape shape, std::vector<float> values) {
  const std::string tensor = node.name + "." + role;
  node.parameters[role] = tensor;
  model_.graph.tensors[tensor] = shape;
  model_.tensors[tensor] = net::make_source(std::move(shape), std::move(values));
}

ChainBuilder& ChainBuilder::dense(const std::string& name, Index neurons, std::vector<float> weight,
                                  std::vector<float> bias) {
  const Index inputs = model_.graph.nodes.back().shape.front();
  net::Node& node = append(name, net::Op::dense, {neurons});
  parameter(node, "weight", {neurons, inputs}, std::move(weight));
  if (!bias.empty()) parameter(node, "bias", {neurons}, std::move(bias));
  return *this;
}

ChainBuilder& ChainBuilder::node(const std::string& name, net::Op op,
                                 std::map<std::string, std::vector<double>> attributes) {
  append(name, op, model_.graph.nodes.back().shape).attributes = std::move(attributes);
  return *this;
}

ChainBuilder& ChainBuilder::reshape(const std::string& name, Shape shape) {
  append(name, net::Op::reshape, std::move(shape));
  return *this;
}

ChainBuilder& ChainBuilder::batch_norm(const std::string& name, std::vector<float> scale, std::vector<float> shift,
                                       std::vector<float> mean, std::vector<float> variance) {
  const Shape channels{model_.graph.nodes.back().shape.front()};
  net::Node& node = append(name, net::Op::batch_norm, model_.graph.nodes.back().shape);
  parameter(node, "scale", channels, std::move(scale));
  parameter(node, "shift", channels, std::move(shift));
  parameter(node, "mean", channels, std::move(mean));
  parameter(node, "variance", channels, std::move(variance));
  return *this;
}

net::Model random_mlp(const std::vector<Index>& widths, std::uint64_t seed) {
  Random random(seed);
  ChainBuilder chain({widths.front()});
  for (std::size_t i = 1; i < widths.size(); ++i) {
    const Index inputs = widths[i - 1];
    const Index neurons = widths[i];
    chain.dense(fmt::format("fc{}", i), neurons,
                random.normals(neurons * inputs, 1 / std::sqrt(static_cast<double>(inputs))),
                random.normals(neurons, 0.1));
    if (i + 1 == widths.size()) break;
    chain.node(fmt::format("relu{}", i), net::Op::relu);
    if (i > 1) continue;
    std::vector<float> variance(static_cast<std::size_t>(neurons));
    for (float& value : variance) value = static_cast<float>(random.uniform(0.5, 2));
    chain.batch_norm("norm", random.normals(neurons, 1), random.normals(neurons, 0.5), random.normals(neurons, 0.5),
                     std::move(variance));
  }
  return chain.build();
}

}  // namespace gpfq::test
