// SPDX-License-Identifier: Apache-2.0
// Drafting a graph node by node, and the pruning and naming that make it a model.
#include "formats/model_builder.hpp"

#include <fmt/format.h>

#include <utility>

#include "gpfq/base/error.hpp"

namespace gpfq::formats {

namespace {

/// For each node, whether `output` depends on it; the input always stays.
std::vector<bool> used_nodes(const net::Graph& graph, int output) {
  std::vector<bool> used(graph.nodes.size(), false);
  used.at(static_cast<std::size_t>(output)) = true;
  used.front() = true;
  for (std::size_t i = graph.nodes.size(); i-- > 0;) {
    if (!used[i]) continue;
    for (const int input : graph.nodes[i].inputs) used[static_cast<std::size_t>(input)] = true;
  }
  return used;
}

}  // namespace

int ModelBuilder::add(Layer layer, std::vector<int> inputs) {
  const int index = draft_.size();
  net::Node node;
  node.name = layer.name;
  node.source_name = std::move(layer.name);
  node.op = layer.op;
  node.inputs = std::move(inputs);
  node.shape = std::move(layer.shape);
  node.attributes = std::move(layer.attributes);
  draft_.nodes.push_back(std::move(node));
  set_parameters(index, std::move(layer.parameters));
  draft_.nodes.back().shape = net::infer_shape(draft_, draft_.nodes.back());
  return index;
}

int ModelBuilder::add_reshape(const std::string& name, int input, const Shape& target) {
  if (target == shape(input)) return input;
  return add({.name = name, .op = net::Op::reshape, .shape = target}, {input});
}

void ModelBuilder::add_bias(int index, net::TensorSource bias) {
  Parameters parameters;
  parameters.emplace("bias", std::move(bias));
  set_parameters(index, std::move(parameters));
  static_cast<void>(net::infer_shape(draft_, node(index)));
}

void ModelBuilder::set_parameters(int index, Parameters parameters) {
  net::Node& node = draft_.nodes.at(static_cast<std::size_t>(index));
  for (auto& [role, source] : parameters) {
    const std::string draft_name = fmt::format("{}.{}", index, role);
    node.parameters[role] = draft_name;
    draft_.tensors[draft_name] = source.shape;
    sources_[draft_name] = std::move(source);
  }
}

net::Model ModelBuilder::finish(int output) && {
  const std::vector<bool> used = used_nodes(draft_, output);
  net::Model model;
  std::vector<int> new_index(used.size(), -1);
  std::map<std::string, int> taken;
  for (std::size_t i = 0; i < used.size(); ++i) {
    if (!used[i]) continue;
    net::Node node = std::move(draft_.nodes[i]);
    const int index = model.graph.size();
    new_index[i] = index;
    for (int& input : node.inputs) input = new_index[static_cast<std::size_t>(input)];
    node.name = net::unique_name(node.source_name, net::op_name(node.op), index, taken);
    for (auto& [role, tensor] : node.parameters) {
      net::TensorSource source = std::move(sources_.at(tensor));
      tensor = fmt::format("{}.{}", node.name, role);
      model.graph.tensors[tensor] = source.shape;
      model.tensors[tensor] = std::move(source);
    }
    model.graph.nodes.push_back(std::move(node));
  }
  model.graph.output = new_index[static_cast<std::size_t>(output)];
  net::validate(model.graph);
  return model;
}

}  // namespace gpfq::formats
