// SPDX-License-Identifier: Apache-2.0
// The text form of a graph: what is written is read back, and no text however broken does more
// than give one input error that says where.
#include <gtest/gtest.h>

#include "gpfq/net/graph.hpp"
#include "small_graphs.hpp"
#include "support/errors.hpp"

namespace gpfq::net {
namespace {

using test::input_error;
using test::mentions;

/// The smallest network as text; the parts that tests replace stand out.
const std::string whole =
    R"({"version": 1, "output": 1, "tensors": {"w": [2, 3]}, "nodes": [)"
    R"({"name": "x", "source_name": "", "op": "input", "inputs": [], "shape": [3], "attributes": {}, "parameters": {}},)"
    R"({"name": "y", "source_name": "s", "op": "dense", "inputs": [0], "shape": [2], "attributes": {"a": [1.5]},)"
    R"( "parameters": {"weight": "w"}}]})";

std::string replaced(const std::string& from, const std::string& to) {
  std::string text = whole;
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

std::string reading_error(const std::string& text) {
  const std::string message = input_error([&] { (void)graph_from_json(text, "model.h5:/graph"); });
  EXPECT_TRUE(mentions(message, "in model.h5:/graph")) << text.substr(0, 200);
  return message;
}

TEST(GraphJson, RoundTripKeepsEverything) {
  Graph graph = chain_graph();
  graph.nodes[4].attributes["extra"] = {0.1, -1e300, 5e-324, 3};
  graph.nodes[4].source_name = "täglich \"quoted\" \\ \n";
  graph.tensors["unused"] = {Index{1} << 40, 1};
  const Graph read = graph_from_json(to_json(graph), "here");
  EXPECT_EQ(read.output, graph.output);
  EXPECT_EQ(read.tensors, graph.tensors);
  ASSERT_EQ(read.size(), graph.size());
  for (int index = 0; index < graph.size(); ++index) {
    const Node& expected = graph.node(index);
    const Node& found = read.node(index);
    EXPECT_EQ(found.name, expected.name);
    EXPECT_EQ(found.source_name, expected.source_name);
    EXPECT_EQ(found.op, expected.op);
    EXPECT_EQ(found.inputs, expected.inputs);
    EXPECT_EQ(found.shape, expected.shape);
    EXPECT_EQ(found.attributes, expected.attributes);
    EXPECT_EQ(found.parameters, expected.parameters);
  }
  EXPECT_EQ(to_json(read), to_json(graph));
}

TEST(GraphJson, ReadsTheSmallestNetwork) {
  const Graph graph = graph_from_json(whole, "here");
  EXPECT_EQ(graph.node(1).op, Op::dense);
  EXPECT_EQ(graph.node(1).attribute("a", 0), 1.5);
  EXPECT_EQ(graph.tensor_shape("w"), (Shape{2, 3}));
}

TEST(GraphJson, EveryPrefixIsRefused) {
  for (std::size_t length = 0; length < whole.size(); ++length) reading_error(whole.substr(0, length));
}

TEST(GraphJson, RefusesMalformedText) {
  for (const char* text : {"", "null", "[]", "17", "\"text\"", "{}", "{\"version\": 1}", "not JSON",
                           "{\"version\": 1,}", "\xff\xfe", "{\"version\": 1e999}"})
    reading_error(text);
  reading_error(whole + "}");
}

TEST(GraphJson, RefusesOtherVersions) {
  for (const char* version :
       {"0", "2", "-1", "4294967297", "18446744073709551617", "1.5", "true", "\"1\"", "null", "[1]"})
    EXPECT_TRUE(mentions(reading_error(replaced("\"version\": 1", std::string("\"version\": ") + version)), "version"))
        << version;
}

TEST(GraphJson, RefusesWrongTypes) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> wrong = {
      {"\"output\": 1",
       {"\"output\": \"1\"", "\"output\": 0.7", "\"output\": true", "\"output\": null", "\"output\": []"}},
      {"{\"w\": [2, 3]}", {"[]", "7", "null", "{\"w\": 6}", "{\"w\": {}}", "{\"w\": [2.5, 3]}", "{\"w\": [\"2\", 3]}"}},
      {"\"name\": \"x\"", {"\"name\": 5", "\"name\": null", "\"name\": [\"x\"]", "\"title\": \"x\""}},
      {"\"op\": \"dense\"", {"\"op\": 1", "\"op\": \"Dense\"", "\"op\": \"conv\"", "\"op\": null"}},
      {"\"inputs\": [0]",
       {"\"inputs\": 0", "\"inputs\": {}", "\"inputs\": [0.5]", "\"inputs\": [\"0\"]", "\"inputs\": [false]",
        "\"inputs\": [[0]]", "\"inputs\": null"}},
      {"\"shape\": [2]", {"\"shape\": 2", "\"shape\": [2.25]", "\"shape\": {\"0\": 2}", "\"shape\": [null]"}},
      {"{\"a\": [1.5]}", {"[]", "{\"a\": 1.5}", "{\"a\": [\"1.5\"]}", "{\"a\": [null]}", "7"}},
      {"{\"weight\": \"w\"}", {"[]", "{\"weight\": 1}", "{\"weight\": null}", "{\"weight\": [\"w\"]}"}},
  };
  for (const auto& [part, others] : wrong)
    for (const std::string& other : others) reading_error(replaced(part, other));
  std::string nodes = whole;  // nodes as a table of the same values
  nodes.replace(nodes.find("[{"), 2, "{\"0\": {").replace(nodes.find("},{\"name\": \"y\""), 3, "}, \"1\": {");
  nodes.replace(nodes.rfind("]}"), 2, "}}");
  EXPECT_TRUE(mentions(reading_error(nodes), "list"));
}

/// Numbers that a narrower type would take for another: 2³² would be node 0, 2⁶⁴ − 1 would be −1.
TEST(GraphJson, RefusesIndexesOutOfRange) {
  for (const char* index : {"1", "2", "-1", "4294967296", "-4294967296", "9223372036854775808", "18446744073709551615",
                            "1e3", "99999999999999999999"})
    EXPECT_FALSE(reading_error(replaced("\"inputs\": [0]", fmt::format("\"inputs\": [{}]", index))).empty()) << index;
  for (const char* index : {"2", "-2", "4294967297", "18446744073709551615"})
    EXPECT_TRUE(mentions(reading_error(replaced("\"output\": 1", fmt::format("\"output\": {}", index))), index));
}

TEST(GraphJson, RefusesExtentsOutOfRange) {
  for (const char* extents : {"-2, 3", "2, -3", "18446744073709551615, 3", "9223372036854775807, 9223372036854775807",
                              "0, -3", "4611686018427387904, 3"})
    reading_error(replaced("[2, 3]", fmt::format("[{}]", extents)));
  EXPECT_TRUE(mentions(reading_error(replaced("\"shape\": [2]", "\"shape\": [0]")), "'y'"));
}

/// Deeper than a stack: neither reading nor the message about it may recurse.
TEST(GraphJson, DeepNestingIsOnlyAnError) {
  constexpr std::size_t depth = 200000;
  const std::string open(depth, '[');
  const std::string close(depth, ']');
  reading_error(open);
  reading_error(open + close);
  for (const std::string part :
       {"\"version\": 1", "\"output\": 1", "\"inputs\": [0]", "\"shape\": [2]", "\"op\": \"dense\""})
    reading_error(replaced(part, part.substr(0, part.find(':') + 1) + open + close));
  std::string tables;
  for (std::size_t i = 0; i < depth; ++i) tables += "{\"a\":";
  reading_error(tables);
  reading_error(replaced("{\"a\": [1.5]}", tables + "1" + std::string(depth, '}')));
}

TEST(GraphJson, RefusesMoreNodesThanALimit) {
  std::string text = R"({"version": 1, "output": 0, "tensors": {}, "nodes": [)";
  for (int i = 0; i < 100001; ++i) text += i == 0 ? "0" : ",0";
  EXPECT_TRUE(mentions(reading_error(text + "]}"), "100001"));
}

TEST(GraphJson, ErrorsOfTheGraphComeThrough) {
  EXPECT_TRUE(mentions(reading_error(replaced("{\"w\": [2, 3]}", "{}")), "node 'y'"));
  EXPECT_TRUE(mentions(reading_error(replaced("\"name\": \"y\"", "\"name\": \"x\"")), "repeated name 'x'"));
}

TEST(GraphJson, NamesThatAreNotTextCannotBeWritten) {
  Graph graph = chain_graph();
  graph.nodes[2].source_name = "caf\xe9";  // Latin-1
  EXPECT_TRUE(mentions(input_error([&] { (void)to_json(graph); }), "UTF-8"));
}

}  // namespace
}  // namespace gpfq::net
