// SPDX-License-Identifier: Apache-2.0
// The graph as JSON text: what the model file holds and what the coordinator broadcasts.
#include <fmt/format.h>

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "gpfq/base/error.hpp"
#include "gpfq/base/text.hpp"
#include "gpfq/net/graph.hpp"

namespace gpfq::net {
namespace {

using Json = nlohmann::json;
constexpr int format_version = 1;
constexpr std::size_t node_limit = 100000;
constexpr std::uint64_t largest_integer = std::numeric_limits<Index>::max();

Json node_json(const Node& node) {
  return {
      {"name", node.name},   {"source_name", node.source_name}, {"op", op_name(node.op)},       {"inputs", node.inputs},
      {"shape", node.shape}, {"attributes", node.attributes},   {"parameters", node.parameters}};
}

/// A value for a message; a nested one only by its type, since printing goes as deep as the file does.
std::string shown(const Json& json) { return json.is_primitive() ? excerpt(json.dump(-1, ' ', true, Json::error_handler_t::replace)) : json.type_name(); }

/// An integer that fits the type asked for; the library's own conversion would cut it off.
template <class Integer>
Integer integer_from(const Json& json, const char* what) {
  const bool fits = json.is_number_integer() &&
                    !(json.is_number_unsigned() && json.get<std::uint64_t>() > largest_integer) &&
                    std::in_range<Integer>(json.get<Index>());
  if (!fits) throw_input("the network's description has {} {}, expected an integer", what, shown(json));
  return json.get<Integer>();
}

template <class Integer>
std::vector<Integer> integers_from(const Json& json, const char* what) {
  if (!json.is_array()) throw_input("the network's description has {} {}, expected a list", what, shown(json));
  std::vector<Integer> values;
  for (const Json& value : json) values.push_back(integer_from<Integer>(value, what));
  return values;
}

Node node_from_json(const Json& json) {
  Node node;
  json.at("name").get_to(node.name);
  json.at("source_name").get_to(node.source_name);
  node.op = op_from_name(json.at("op").get<std::string>());
  node.inputs = integers_from<int>(json.at("inputs"), "the input");
  node.shape = integers_from<Index>(json.at("shape"), "the extent");
  json.at("attributes").get_to(node.attributes);
  json.at("parameters").get_to(node.parameters);
  return node;
}

}  // namespace

std::string to_json(const Graph& graph) {
  Json json = {{"version", format_version}, {"output", graph.output}, {"tensors", graph.tensors}};
  json["nodes"] = Json::array();
  for (const Node& node : graph.nodes) json["nodes"].push_back(node_json(node));
  try {
    return json.dump();
  } catch (const Json::exception& error) {
    throw_input("a name in the network is not UTF-8 text: {}", error.what());
  }
}

Graph graph_from_json(const std::string& text, const std::string& where) {
  try {
    const Json json = Json::parse(text);
    if (json.at("version") != format_version)
      throw_input("the network is of format version {}, this program reads {}", shown(json.at("version")),
                  format_version);
    if (!json.at("nodes").is_array()) throw_input("the network's nodes are not a list");
    if (json.at("nodes").size() > node_limit)
      throw_input("the network has {} nodes, the limit is {}", json.at("nodes").size(), node_limit);
    Graph graph;
    graph.output = integer_from<int>(json.at("output"), "the output");
    if (!json.at("tensors").is_object()) throw_input("the network's tensors are not a table");
    for (const auto& [name, shape] : json.at("tensors").items())
      static_cast<void>(element_count(graph.tensors[name] = integers_from<Index>(shape, "the extent")));
    for (const Json& node : json.at("nodes")) graph.nodes.push_back(node_from_json(node));
    validate(graph);
    return graph;
  } catch (const Json::exception& error) {
    throw_input("the network's description cannot be read: {}\n  in {}", excerpt(error.what(), 300), where);
  } catch (const Error& error) {
    throw_input("{}\n  in {}", error.what(), where);
  }
}

}  // namespace gpfq::net
