// SPDX-License-Identifier: Apache-2.0
// Graph surgery: the normalization's node goes, its layer's parameters take it in.
#include "gpfq/net/fold.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "gpfq/base/error.hpp"

namespace gpfq::net {
namespace {

std::vector<int> reader_counts(const Graph& graph) {
  std::vector<int> readers(graph.nodes.size(), 0);
  for (const Node& node : graph.nodes)
    for (const int from : node.inputs) ++readers[static_cast<std::size_t>(from)];
  ++readers[static_cast<std::size_t>(graph.output)];
  return readers;
}

/// How many nodes use each tensor: one that is shared cannot be changed for one of them.
int use_count(const Graph& graph, const std::string& tensor) {
  int count = 0;
  for (const Node& node : graph.nodes)
    for (const auto& [role, name] : node.parameters) count += name == tensor ? 1 : 0;
  return count;
}

TensorSource scale_rows(TensorSource source, std::shared_ptr<const std::vector<float>> gain) {
  const Index row_size = element_count(source.shape) / source.shape.front();
  return {source.shape, [read = std::move(source.read_rows), gain, row_size](Index first, Index count, float* out) {
            read(first, count, out);
            for (Index row = 0; row < count; ++row)
              for (Index i = 0; i < row_size; ++i) out[row * row_size + i] *= (*gain)[static_cast<std::size_t>(first + row)];
          },
          std::move(source.release)};
}

void fold_into(Model& model, const Node& norm, Node& layer) {
  const auto read = [&](const char* role) { return read_all(model.tensors.at(norm.parameters.at(role))); };
  const auto scale = read("scale");
  const auto shift = read("shift");
  const auto mean = read("mean");
  const auto variance = read("variance");
  std::vector<float> bias(scale.size(), 0.0F);
  if (layer.has_parameter("bias")) bias = read_all(model.tensors.at(layer.parameters.at("bias")));
  auto gain = std::make_shared<std::vector<float>>(scale.size());
  for (std::size_t j = 0; j < scale.size(); ++j) {
    const double g = scale[j] / std::sqrt(static_cast<double>(variance[j]) + norm.attribute("epsilon", 1e-5));
    (*gain)[j] = static_cast<float>(g);
    bias[j] = static_cast<float>((static_cast<double>(bias[j]) - mean[j]) * g + shift[j]);
  }
  const std::string weight = layer.parameters.at("weight");
  model.tensors.at(weight) = scale_rows(model.tensors.at(weight), gain);
  if (!layer.has_parameter("bias")) {
    const std::string name = layer.name + ".bias";
    if (model.graph.tensors.count(name) != 0)
      throw_input("model: tensor '{}' is in the way of a bias for layer '{}', expected no such tensor or "
                  "'quantization.fold_batchnorm' false",
                  name, layer.name);
    layer.parameters["bias"] = name;
  }
  const std::string& bias_name = layer.parameters.at("bias");
  const Shape shape{static_cast<Index>(bias.size())};
  model.tensors[bias_name] = make_source(shape, std::move(bias));
  model.graph.tensors[bias_name] = shape;
}

/// Takes node `index` out; who read it reads its input.
void remove_node(Graph& graph, int index) {
  const int from = graph.node(index).inputs.front();
  const auto renumber = [&](int& node) {
    if (node == index) node = from;
    if (node > index) --node;
  };
  for (Node& node : graph.nodes)
    for (int& input : node.inputs) renumber(input);
  renumber(graph.output);
  graph.nodes.erase(graph.nodes.begin() + index);
}

bool can_fold(const Graph& graph, const Node& norm, const std::vector<int>& readers) {
  if (norm.op != Op::batch_norm) return false;
  const int from = norm.inputs.front();
  const Node& layer = graph.node(from);
  if (!is_linear(layer.op) || readers[static_cast<std::size_t>(from)] != 1) return false;
  return use_count(graph, layer.parameters.at("weight")) == 1 &&
         (!layer.has_parameter("bias") || use_count(graph, layer.parameters.at("bias")) == 1);
}

}  // namespace

int fold_batch_norms(Model& model) {
  Graph& graph = model.graph;
  if (!graph.is_network()) return 0;
  int folded = 0;
  for (int index = 1; index < graph.size(); ++index) {
    if (!can_fold(graph, graph.node(index), reader_counts(graph))) continue;
    const Node norm = graph.node(index);
    fold_into(model, norm, graph.nodes[static_cast<std::size_t>(norm.inputs.front())]);
    remove_node(graph, index);
    for (const auto& [role, tensor] : norm.parameters)
      if (use_count(graph, tensor) == 0) {
        graph.tensors.erase(tensor);
        model.tensors.erase(tensor);
      }
    ++folded;
    --index;
  }
  return folded;
}

}  // namespace gpfq::net
