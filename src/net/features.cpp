// SPDX-License-Identifier: Apache-2.0
// The chain as a small graph of its own, whose parameters are slices of the whole network's.
#include "gpfq/net/features.hpp"

#include <algorithm>
#include <vector>

#include "gpfq/base/error.hpp"

namespace gpfq::net {
namespace {

bool is_per_feature(const Graph& graph, const Node& node) {
  switch (node.op) {
    case Op::batch_norm:
    case Op::relu:
    case Op::leaky_relu:
    case Op::elu:
    case Op::selu:
    case Op::sigmoid:
    case Op::hard_sigmoid:
    case Op::hard_swish:
    case Op::swish:
    case Op::gelu:
    case Op::tanh:
    case Op::softplus:
    case Op::softsign:
    case Op::clip: return true;
    case Op::reshape: return node.shape == graph.node(node.inputs.front()).shape;
    default: return false;
  }
}

}  // namespace

bool is_feature_chain(const Graph& graph, int first, int last) {
  if (graph.node(first).op != Op::dense || graph.node(first).shape.size() != 1) return false;
  for (int index = first + 1; index < last; ++index) {
    const Node& node = graph.node(index);
    if (node.inputs != std::vector<int>{index - 1} || !is_per_feature(graph, node)) return false;
  }
  return live_at(graph, last) == std::vector<int>{last - 1};
}

FeatureChain::FeatureChain(const Graph& graph, int first, int last, Range features, const Parameters& parameters) {
  for (int index = first; index < last; ++index) {
    Node node = graph.node(index);
    require(features.begin >= 0 && features.end <= element_count(node.shape), "FeatureChain: features of the node");
    node.shape = {features.size()};
    node.inputs.clear();
    if (index > first) node.inputs.push_back(index - first - 1);
    node.parameters.erase("weight");
    for (const auto& [role, tensor] : node.parameters) {
      graph_.tensors[tensor] = {features.size()};
      std::vector<float>& values = slices_.values[tensor];
      values.resize(static_cast<std::size_t>(features.size()));
      parameters.read_rows(tensor, features.begin, features.size(), values.data());
    }
    graph_.nodes.push_back(std::move(node));
  }
  graph_.output = graph_.size() - 1;
}

void FeatureChain::Slices::read_rows(const std::string& tensor, Index first, Index count, float* out) const {
  std::copy_n(values.at(tensor).data() + first, count, out);
}

Batch FeatureChain::run(Batch output) const {
  require(output.shape == graph_.node(0).shape, "FeatureChain::run: one value per feature");
  add_bias(graph_, 0, output, slices_);
  LiveBatches live;
  live[0] = std::move(output);
  run_nodes(graph_, 1, graph_.size(), live, slices_, {});
  return std::move(live.at(graph_.output));
}

}  // namespace gpfq::net
