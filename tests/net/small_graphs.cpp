// SPDX-License-Identifier: Apache-2.0
// Making of the small networks.
#include "small_graphs.hpp"

#include <algorithm>
#include <random>

#include "gpfq/base/error.hpp"

namespace gpfq::net {

Node make_node(const std::string& name, Op op, int from, Shape shape) {
  Node node;
  node.name = name;
  node.source_name = "source/" + name;
  node.op = op;
  if (from >= 0) node.inputs = {from};
  node.shape = std::move(shape);
  return node;
}

Graph chain_graph() {
  Graph graph;
  graph.nodes = {make_node("pixels", Op::input, -1, {2, 3}),     make_node("flatten", Op::reshape, 0, {6}),
                 make_node("hidden", Op::dense, 1, {4}),         make_node("norm", Op::batch_norm, 2, {4}),
                 make_node("activation", Op::elu, 3, {4}),       make_node("scores", Op::dense, 4, {3}),
                 make_node("probabilities", Op::softmax, 5, {3})};
  graph.output = 6;
  graph.nodes[2].parameters = {{"weight", "hidden.w"}, {"bias", "hidden.b"}};
  graph.nodes[3].parameters = {{"scale", "n.s"}, {"shift", "n.b"}, {"mean", "n.m"}, {"variance", "n.variance"}};
  graph.nodes[3].attributes = {{"epsilon", {1e-3}}};
  graph.nodes[4].attributes = {{"alpha", {0.1}}};
  graph.nodes[5].parameters = {{"weight", "scores.w"}};
  graph.tensors = {{"hidden.w", {4, 6}}, {"hidden.b", {4}},   {"n.s", {4}},        {"n.b", {4}},
                   {"n.m", {4}},         {"n.variance", {4}}, {"scores.w", {3, 4}}};
  return graph;
}

MapParameters::MapParameters(const Graph& graph, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  for (const auto& [name, shape] : graph.tensors) {
    std::vector<float> values(static_cast<std::size_t>(element_count(shape)));
    const bool is_variance = name.find("variance") != std::string::npos;
    for (float& value : values) value = is_variance ? 0.1F + std::abs(normal(generator)) : normal(generator);
    row_size_[name] = static_cast<Index>(values.size()) / shape.front();
    values_[name] = std::move(values);
  }
}

void MapParameters::read_rows(const std::string& tensor, Index first, Index count, float* out) const {
  const std::vector<float>& values = values_.at(tensor);
  const Index row_size = row_size_.at(tensor);
  require(first >= 0 && count >= 0 && (first + count) * row_size <= static_cast<Index>(values.size()),
          "MapParameters: rows out of range");
  std::copy_n(values.data() + first * row_size, count * row_size, out);
}

Batch random_batch(Index samples, const Shape& shape, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Batch batch(samples, shape);
  for (float& value : batch.values.span()) value = normal(generator);
  return batch;
}

Batch samples_of(const Batch& batch, Index first, Index count) {
  Batch part(count, batch.shape);
  std::copy_n(batch.values.data() + first * batch.sample_size(), count * batch.sample_size(), part.values.data());
  return part;
}

}  // namespace gpfq::net
