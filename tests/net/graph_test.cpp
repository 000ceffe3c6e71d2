// SPDX-License-Identifier: Apache-2.0
// Graphs come from files that nobody checked: each thing that a file can get wrong is broken here
// once, and the message must name the node.
#include "gpfq/net/graph.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "gpfq/net/fold.hpp"
#include "small_graphs.hpp"
#include "support/errors.hpp"

namespace gpfq::net {
namespace {

using test::input_error;
using test::mentions;

TEST(Graph, AcceptsTheWholeNetwork) {
  const Graph graph = chain_graph();
  EXPECT_NO_THROW(validate(graph));
  EXPECT_EQ(graph.size(), 7);
  EXPECT_EQ(graph.node(2).name, "hidden");
  EXPECT_EQ(graph.tensor_shape("hidden.w"), (Shape{4, 6}));
}

TEST(Graph, AcceptsBranchesAndNodesThatNobodyReads) {
  Graph graph = chain_graph();
  graph.nodes.push_back(make_node("other", Op::relu, 2, {4}));
  graph.nodes.push_back(make_node("unread", Op::tanh, 2, {4}));
  graph.output = 7;
  EXPECT_NO_THROW(validate(graph));
}

/// Two layers without a network: 0 input 6 -> 1 dense 4; 2 input 5 -> 3 dense 3.
Graph layer_list() {
  Graph graph;
  graph.nodes = {make_node("a.inputs", Op::input, -1, {6}), make_node("a", Op::dense, 0, {4}),
                 make_node("b.inputs", Op::input, -1, {5}), make_node("b", Op::dense, 2, {3})};
  graph.nodes[1].parameters["weight"] = "a.weight";
  graph.nodes[3].parameters["weight"] = "b.weight";
  graph.tensors = {{"a.weight", {4, 6}}, {"b.weight", {3, 5}}};
  return graph;
}

TEST(Graph, LayersWithoutANetworkHaveNoOutputAndAnInputEach) {
  const Graph graph = layer_list();
  EXPECT_FALSE(graph.is_network());
  EXPECT_NO_THROW(validate(graph));
  EXPECT_EQ(to_json(graph_from_json(to_json(graph), "here")), to_json(graph));
  // Only a layer's own input is alive where it is about to run.
  EXPECT_EQ(live_at(graph, 1), std::vector<int>{0});
  EXPECT_EQ(live_at(graph, 2), std::vector<int>{});
  EXPECT_EQ(live_at(graph, 3), std::vector<int>{2});
  EXPECT_EQ(live_at(graph, 4), std::vector<int>{});
  Model model{graph, {}};
  EXPECT_EQ(fold_batch_norms(model), 0);
}

TEST(Graph, LayersWithoutANetworkAreNothingElse) {
  const auto refused = [](auto change) {
    Graph graph = layer_list();
    change(graph);
    return input_error([&] { validate(graph); });
  };
  EXPECT_TRUE(mentions(refused([](Graph& g) { g.nodes[3].inputs = {0}; }), "'b'"));
  EXPECT_TRUE(mentions(refused([](Graph& g) { g.nodes[3].op = Op::relu; }), "'b'"));
  EXPECT_TRUE(mentions(refused([](Graph& g) { g.nodes.pop_back(); }), "'b.inputs'"));
  EXPECT_TRUE(mentions(refused([](Graph& g) { g.output = 3; }), "'b.inputs'"));
}

struct Damage {
  std::string what;
  std::function<void(Graph&)> apply;
  std::vector<std::string> mentioned;  ///< what the message must say
};

TEST(Graph, NamesTheNodeThatIsBroken) {
  constexpr double infinity = HUGE_VAL;
  const std::vector<Damage> damages = {
      {"no name", [](Graph& g) { g.nodes[3].name = ""; }, {"node 3", "empty"}},
      {"repeated name", [](Graph& g) { g.nodes[4].name = "hidden"; }, {"node 4", "hidden"}},
      {"slash in a name", [](Graph& g) { g.nodes[4].name = "a/b"; }, {"a/b"}},
      {"name of a folder", [](Graph& g) { g.nodes[4].name = ".."; }, {"'..'"}},
      {"first node no input", [](Graph& g) { g.nodes[0].op = Op::relu; }, {"pixels", "input"}},
      {"second input", [](Graph& g) { g.nodes[4].op = Op::input; }, {"activation", "input"}},
      {"input that reads", [](Graph& g) { g.nodes[0].inputs = {0}; }, {"pixels", "node 0"}},
      {"reads itself", [](Graph& g) { g.nodes[4].inputs = {4}; }, {"activation", "node 4"}},
      {"reads ahead", [](Graph& g) { g.nodes[4].inputs = {5}; }, {"activation", "node 5"}},
      {"reads beyond the end", [](Graph& g) { g.nodes[4].inputs = {1000000}; }, {"activation", "1000000"}},
      {"reads before the start", [](Graph& g) { g.nodes[4].inputs = {-1}; }, {"activation", "-1"}},
      {"reads nothing", [](Graph& g) { g.nodes[4].inputs = {}; }, {"activation", "0 inputs"}},
      {"reads two",
       [](Graph& g) {
         g.nodes[4].inputs = {2, 3};
       },
       {"activation", "2 inputs"}},
      {"zero extent",
       [](Graph& g) {
         g.nodes[0].shape = {2, 0};
       },
       {"pixels", "2x0"}},
      {"negative extent", [](Graph& g) { g.nodes[1].shape = {-6}; }, {"flatten", "-6"}},
      {"negative extents that multiply to six",
       [](Graph& g) {
         g.nodes[1].shape = {-2, -3};
       },
       {"flatten", "-2x-3"}},
      {"overflowing shape",
       [](Graph& g) {
         g.nodes[1].shape = {Index{1} << 33, Index{1} << 33};
       },
       {"flatten", "8589934592x8589934592"}},
      {"reshape to another size", [](Graph& g) { g.nodes[1].shape = {7}; }, {"flatten", "2x3", "7"}},
      {"wrong claimed shape", [](Graph& g) { g.nodes[4].shape = {5}; }, {"activation", "claims shape 5", "4"}},
      {"no weight", [](Graph& g) { g.nodes[2].parameters.erase("weight"); }, {"hidden", "dense", "weight"}},
      {"weight that is not there", [](Graph& g) { g.tensors.erase("hidden.w"); }, {"hidden", "weight", "hidden.w"}},
      {"bias that is not there", [](Graph& g) { g.tensors.erase("hidden.b"); }, {"hidden", "bias", "hidden.b"}},
      {"weight of one dimension", [](Graph& g) { g.tensors["hidden.w"] = {24}; }, {"hidden", "24"}},
      {"weight of three dimensions",
       [](Graph& g) {
         g.tensors["hidden.w"] = {4, 6, 1};
       },
       {"hidden", "4x6x1"}},
      {"weight without rows",
       [](Graph& g) {
         g.tensors["hidden.w"] = {0, 6};
       },
       {"hidden", "0x6"}},
      {"weight of another width",
       [](Graph& g) {
         g.tensors["hidden.w"] = {4, 5};
       },
       {"hidden", "6", "5"}},
      {"weight of another height",
       [](Graph& g) {
         g.tensors["hidden.w"] = {5, 6};
       },
       {"hidden", "bias", "4"}},
      {"bias of another length", [](Graph& g) { g.tensors["hidden.b"] = {6}; }, {"hidden", "bias", "6", "4"}},
      {"dense on two dimensions", [](Graph& g) { g.nodes[2].inputs = {0}; }, {"hidden", "2x3"}},
      {"no variance", [](Graph& g) { g.nodes[3].parameters.erase("variance"); }, {"norm", "batch_norm", "variance"}},
      {"mean of another length", [](Graph& g) { g.tensors["n.m"] = {3}; }, {"norm", "mean", "3", "4"}},
      {"scale that is not there", [](Graph& g) { g.tensors.erase("n.s"); }, {"norm", "scale", "n.s"}},
      {"infinite attribute", [=](Graph& g) { g.nodes[4].attributes["alpha"] = {infinity}; }, {"activation", "alpha"}},
      {"attribute that is no number",
       [](Graph& g) {
         g.nodes[3].attributes["epsilon"] = {0, std::nan("")};
       },
       {"norm", "epsilon"}},
      {"output beyond the end", [](Graph& g) { g.output = 7; }, {"output", "7"}},
      {"no output", [](Graph& g) { g.output = -1; }, {"output", "-1"}},
      {"no nodes", [](Graph& g) { g.nodes.clear(); }, {"no nodes"}},
  };
  for (const Damage& damage : damages) {
    Graph graph = chain_graph();
    damage.apply(graph);
    const std::string message = input_error([&] { validate(graph); });
    for (const std::string& part : damage.mentioned) EXPECT_TRUE(mentions(message, part)) << damage.what;
  }
}

TEST(Graph, ScalarsHaveNoChannelsAndNoRows) {
  Graph graph;
  graph.nodes = {make_node("x", Op::input, -1, {1}), make_node("scalar", Op::reshape, 0, {}),
                 make_node("softmax", Op::softmax, 1, {})};
  graph.output = 2;
  EXPECT_TRUE(mentions(input_error([&] { validate(graph); }), "softmax"));
  graph.nodes[2].op = Op::batch_norm;
  EXPECT_TRUE(mentions(input_error([&] { validate(graph); }), "scalar"));
}

TEST(Graph, InfersShapes) {
  const Graph graph = chain_graph();
  for (int index = 0; index < graph.size(); ++index)
    EXPECT_EQ(infer_shape(graph, graph.node(index)), graph.node(index).shape) << graph.node(index).name;
  Graph image;
  image.nodes = {make_node("x", Op::input, -1, {3, 8, 8})};
  image.tensors = {{"c", {3}}, {"wrong", {8}}};
  Node norm = make_node("norm", Op::batch_norm, 0, {});
  for (const char* role : {"scale", "shift", "mean", "variance"}) norm.parameters[role] = "c";
  EXPECT_EQ(infer_shape(image, norm), (Shape{3, 8, 8}));
  norm.parameters["mean"] = "wrong";  // channels are the first dimension
  EXPECT_TRUE(mentions(input_error([&] { (void)infer_shape(image, norm); }), "norm"));
  EXPECT_EQ(infer_shape(image, make_node("flat", Op::reshape, 0, {192})), (Shape{192}));
  EXPECT_EQ(infer_shape(image, make_node("any", Op::softplus, 0, {})), (Shape{3, 8, 8}));
}

TEST(Graph, OperatorsHaveNamesBothWays) {
  for (int index = 0; index <= static_cast<int>(Op::reshape); ++index) {
    const Op op = static_cast<Op>(index);
    EXPECT_EQ(op_from_name(op_name(op)), op);
    EXPECT_EQ(is_linear(op), op == Op::dense || op == Op::conv);
  }
  EXPECT_TRUE(mentions(input_error([] { (void)op_from_name("Relu"); }), "'Relu'"));
  EXPECT_TRUE(mentions(input_error([] { (void)op_from_name(""); }), "''"));
}

TEST(Graph, AttributesHaveFallbacks) {
  Node node = make_node("x", Op::clip, 0, {});
  node.attributes = {{"min", {-1, 5}}, {"max", {}}};
  EXPECT_EQ(node.attribute("min", 7), -1);
  EXPECT_EQ(node.attribute("max", 7), 7);
  EXPECT_EQ(node.attribute("alpha", 7), 7);
}

TEST(UniqueName, MakesNamesFitForFiles) {
  std::map<std::string, int> taken;
  EXPECT_EQ(unique_name("fc1", "dense", 1, taken), "fc1");
  EXPECT_EQ(unique_name("/layer1/conv", "dense", 2, taken), "layer1.conv");
  EXPECT_EQ(unique_name("a/b/c", "dense", 3, taken), "a.b.c");
  EXPECT_EQ(unique_name("", "relu", 4, taken), "relu_4");
  EXPECT_EQ(unique_name("/", "relu", 5, taken), "relu_5");
  EXPECT_EQ(unique_name(".", "relu", 6, taken), "relu_6");
  EXPECT_EQ(unique_name("..", "relu", 7, taken), "relu_7");
  EXPECT_EQ(unique_name("/..", "relu", 8, taken), "relu_8");
  EXPECT_EQ(taken.size(), 8U);
}

TEST(UniqueName, NumbersRepetitions) {
  std::map<std::string, int> taken;
  EXPECT_EQ(unique_name("fc", "dense", 1, taken), "fc");
  EXPECT_EQ(unique_name("fc", "dense", 2, taken), "fc#2");
  EXPECT_EQ(unique_name("fc", "dense", 3, taken), "fc#3");
  EXPECT_EQ(unique_name("fc#2", "dense", 4, taken), "fc#2#2");  // a file may hold such a name itself
  EXPECT_EQ(unique_name("/fc", "dense", 5, taken), "fc#4");
  EXPECT_EQ(unique_name("relu_7", "dense", 6, taken), "relu_7");
  EXPECT_EQ(unique_name("", "relu", 7, taken), "relu_7#2");
  EXPECT_EQ(taken.size(), 7U);
  EXPECT_EQ(taken.at("fc#3"), 3);
}

}  // namespace
}  // namespace gpfq::net
