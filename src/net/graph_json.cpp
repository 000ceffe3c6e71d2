// SPDX-License-Identifier: Apache-2.0
// The graph as JSON text: what the model file holds and what the coordinator broadcasts.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "gpfq/base/error.hpp"
#include "gpfq/net/graph.hpp"

namespace gpfq::net {
namespace {

using Json = nlohmann::json;
constexpr int format_version = 1;
constexpr std::size_t node_limit = 100000;

Json node_json(const Node& node) {
  return {{"name", node.name},     {"source_name", node.source_name}, {"op", op_name(node.op)},
          {"inputs", node.inputs}, {"shape", node.shape},             {"attributes", node.attributes},
          {"parameters", node.parameters}};
}

Node node_from_json(const Json& json) {
  Node node;
  json.at("name").get_to(node.name);
  json.at("source_name").get_to(node.source_name);
  node.op = op_from_name(json.at("op").get<std::string>());
  json.at("inputs").get_to(node.inputs);
  json.at("shape").get_to(node.shape);
  json.at("attributes").get_to(node.attributes);
  json.at("parameters").get_to(node.parameters);
  return node;
}

}  // namespace

std::string to_json(const Graph& graph) {
  Json json = {{"version", format_version}, {"output", graph.output}, {"tensors", graph.tensors}};
  json["nodes"] = Json::array();
  for (const Node& node : graph.nodes) json["nodes"].push_back(node_json(node));
  return json.dump();
}

Graph graph_from_json(const std::string& text, const std::string& where) {
  try {
    const Json json = Json::parse(text);
    if (json.at("version").get<int>() != format_version)
      throw_input("the network is of format version {}, this program reads {}", json.at("version").dump(),
                  format_version);
    if (json.at("nodes").size() > node_limit)
      throw_input("the network has {} nodes, the limit is {}", json.at("nodes").size(), node_limit);
    Graph graph;
    json.at("output").get_to(graph.output);
    json.at("tensors").get_to(graph.tensors);
    for (const auto& [name, shape] : graph.tensors) static_cast<void>(element_count(shape));
    for (const Json& node : json.at("nodes")) graph.nodes.push_back(node_from_json(node));
    validate(graph);
    return graph;
  } catch (const Json::exception& error) {
    throw_input("the network's description cannot be read: {}\n  in {}", error.what(), where);
  } catch (const Error& error) {
    throw_input("{}\n  in {}", error.what(), where);
  }
}

}  // namespace gpfq::net
