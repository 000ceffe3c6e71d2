// SPDX-License-Identifier: Apache-2.0
// The table of operators and the checks that a graph from a file must pass.
#include "gpfq/net/graph.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "gpfq/base/error.hpp"

namespace gpfq::net {
namespace {

// Configs match names by std::regex, which recurses along the text.
constexpr std::size_t longest_name = 1024;

struct OpEntry {
  Op op;
  std::string_view name;
};
constexpr std::array<OpEntry, 29> ops = {{{Op::input, "input"},
                                          {Op::dense, "dense"},
                                          {Op::conv, "conv"},
                                          {Op::max_pool, "max_pool"},
                                          {Op::average_pool, "average_pool"},
                                          {Op::reduce_mean, "reduce_mean"},
                                          {Op::pad, "pad"},
                                          {Op::add, "add"},
                                          {Op::sub, "sub"},
                                          {Op::mul, "mul"},
                                          {Op::concat, "concat"},
                                          {Op::slice, "slice"},
                                          {Op::transpose, "transpose"},
                                          {Op::batch_norm, "batch_norm"},
                                          {Op::relu, "relu"},
                                          {Op::leaky_relu, "leaky_relu"},
                                          {Op::elu, "elu"},
                                          {Op::selu, "selu"},
                                          {Op::sigmoid, "sigmoid"},
                                          {Op::hard_sigmoid, "hard_sigmoid"},
                                          {Op::hard_swish, "hard_swish"},
                                          {Op::swish, "swish"},
                                          {Op::gelu, "gelu"},
                                          {Op::tanh, "tanh"},
                                          {Op::softplus, "softplus"},
                                          {Op::softsign, "softsign"},
                                          {Op::clip, "clip"},
                                          {Op::softmax, "softmax"},
                                          {Op::reshape, "reshape"}}};

void check_own_shape(const Node& node) {
  try {
    if (element_count(node.shape) >= 1) return;
  } catch (const Error& error) {
    throw_input("node '{}': {}", node.name, error.what());
  }
  throw_input("node '{}' has the empty shape {}", node.name, to_string(node.shape));
}

/// JSON knows no infinities, and no operator means anything with them.
void check_attributes(const Node& node) {
  for (const auto& [key, values] : node.attributes)
    for (const double value : values)
      if (!std::isfinite(value))
        throw_input("node '{}': its attribute {} is {}, not a finite number", node.name, key, value);
}

/// Inputs are where they belong: at the front of a network, before each layer where there is none.
void check_place(const Graph& graph, int index) {
  const Node& node = graph.node(index);
  if (graph.is_network()) {
    if ((node.op == Op::input) != (index == 0))
      throw_input("node '{}': a network has one input, its first node", node.name);
  } else if (node.op != (index % 2 == 0 ? Op::input : Op::dense) ||
             (index % 2 == 1 && node.inputs != std::vector{index - 1})) {
    throw_input(
        "node '{}': without an output (its index is {}), nodes are pairs of an input and a dense layer that reads it",
        node.name, graph.output);
  }
}

}  // namespace

double Node::attribute(const std::string& key, double fallback) const {
  const auto found = attributes.find(key);
  return found == attributes.end() || found->second.empty() ? fallback : found->second.front();
}

const Shape& Graph::tensor_shape(const std::string& name) const {
  const auto found = tensors.find(name);
  if (found == tensors.end()) throw_input("the network refers to tensor '{}', which it does not hold", name);
  return found->second;
}

bool is_linear(Op op) { return op == Op::dense || op == Op::conv; }

std::string_view op_name(Op op) {
  for (const OpEntry& entry : ops)
    if (entry.op == op) return entry.name;
  throw_fault("op_name: operator {} is not in the table", static_cast<int>(op));
}

Op op_from_name(std::string_view name) {
  for (const OpEntry& entry : ops)
    if (entry.name == name) return entry.op;
  throw_input("unknown operator '{}'", name);
}

void validate(const Graph& graph) {
  if (graph.nodes.empty()) throw_input("the network has no nodes");
  std::set<std::string> names;
  for (int index = 0; index < graph.size(); ++index) {
    const Node& node = graph.node(index);
    if (node.name.empty() || !names.insert(node.name).second)
      throw_input("node {} has an empty or repeated name '{}'", index, node.name);
    if (node.name.size() > longest_name)
      throw_input("node {} has a name of {} bytes, expected at most {}", index, node.name.size(), longest_name);
    if (node.name.find('/') != std::string::npos || node.name == "." || node.name == "..")
      throw_input("node name '{}' cannot be stored", node.name);
    check_place(graph, index);
    for (const int from : node.inputs)
      if (from < 0 || from >= index)
        throw_input("node '{}' reads node {}, which does not come before it", node.name, from);
    check_own_shape(node);
    check_attributes(node);
    const Shape inferred = infer_shape(graph, node);
    if (inferred != node.shape)
      throw_input("node '{}' claims shape {}, its inputs give {}", node.name, to_string(node.shape),
                  to_string(inferred));
  }
  if (!graph.is_network() && graph.size() % 2 != 0)
    throw_input("node '{}' is an input that no layer reads, in a graph without an output", graph.nodes.back().name);
  if (graph.is_network() && (graph.output < 0 || graph.output >= graph.size()))
    throw_input("the network's output is node {}, of {}", graph.output, graph.size());
}

std::string unique_name(std::string name, std::string_view op, int index, std::map<std::string, int>& taken) {
  if (!name.empty() && name.front() == '/') name.erase(0, 1);
  std::replace(name.begin(), name.end(), '/', '.');
  if (name.empty() || name == "." || name == "..") name = fmt::format("{}_{}", op, index);
  std::string candidate = name;
  for (int copy = 2; taken.count(candidate) != 0; ++copy) candidate = fmt::format("{}#{}", name, copy);
  taken.emplace(candidate, index);
  return candidate;
}

}  // namespace gpfq::net
