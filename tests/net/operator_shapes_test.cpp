// SPDX-License-Identifier: Apache-2.0
// What a file may get wrong about operators: each mistake is an input error that names the node and
// what is wrong, however large the numbers.
#include <gtest/gtest.h>

#include <limits>

#include "support/errors.hpp"
#include "gpfq/net/patches.hpp"
#include "net/operator_testing.hpp"

namespace gpfq::test {
namespace {

using net::Op;
using test::input_error;
using test::mentions;

constexpr double huge = 2147483647.0;
constexpr double infinite = std::numeric_limits<double>::infinity();

/// A graph whose one node "n" is checked as one from a file is: claimed shape {1}, which no check reaches.
std::string error_of(Op op, const Shape& input, Attributes attributes, std::map<std::string, Shape> parameters = {},
                     std::size_t inputs = 1) {
  GraphBuilder builder(input);
  net::Graph graph = builder.graph();
  net::Node node;
  node.name = "n";
  node.op = op;
  node.inputs.assign(inputs, 0);
  node.attributes = std::move(attributes);
  node.shape = {1};
  for (const auto& [role, shape] : parameters) {
    node.parameters[role] = role;
    graph.tensors[role] = shape;
  }
  graph.nodes.push_back(node);
  graph.output = 1;
  const std::string message = input_error([&] { net::validate(graph); });
  EXPECT_TRUE(mentions(message, "'n'"));
  return message;
}

std::string conv_error(const Shape& input, const Shape& weight, Attributes attributes = {}) {
  return error_of(Op::conv, input, std::move(attributes), {{"weight", weight}});
}

TEST(ConvShape, Mistakes) {
  const Shape maps = {4, 6, 6};
  const Shape weight = {8, 4, 3, 3};
  EXPECT_TRUE(mentions(error_of(Op::conv, maps, {}), "no weight"));
  EXPECT_TRUE(mentions(conv_error({4}, weight), "channels x height x width"));
  EXPECT_TRUE(mentions(conv_error({4, 6, 6, 6}, weight), "channels x height x width"));
  EXPECT_TRUE(mentions(conv_error(maps, {8, 36}), "filters"));
  EXPECT_TRUE(mentions(conv_error(maps, {8, 4, 0, 3}), "filters"));
  EXPECT_TRUE(mentions(conv_error(maps, {8, 3, 3, 3}), "3 channels per group"));
  EXPECT_TRUE(mentions(conv_error(maps, {8, 4, 7, 3}), "reaches over 7"));
  EXPECT_TRUE(mentions(conv_error(maps, weight, {{"dilations", {1, 3}}}), "reaches over 7"));
  EXPECT_TRUE(mentions(conv_error(maps, weight, {{"groups", {3}}}), "groups"));
  EXPECT_TRUE(mentions(conv_error(maps, {6, 1, 3, 3}, {{"groups", {4}}}), "groups"));
  EXPECT_TRUE(mentions(conv_error(maps, weight, {{"groups", {2}}}), "expects 4 channels per group"));
  EXPECT_TRUE(mentions(conv_error(maps, weight, {{"groups", {0}}}), "groups"));
  EXPECT_TRUE(mentions(error_of(Op::conv, maps, {}, {{"weight", weight}, {"bias", {4}}}), "bias"));
  EXPECT_TRUE(mentions(error_of(Op::conv, maps, {}, {{"weight", weight}}, 2), "2 inputs"));
  EXPECT_TRUE(mentions(error_of(Op::conv, maps, {}, {{"weight", weight}}, 0), "0 inputs"));
}

TEST(ConvShape, AttributesThatAreNotWhatTheyShouldBe) {
  const Shape maps = {4, 6, 6};
  const Shape weight = {8, 4, 3, 3};
  for (const char* key : {"strides", "dilations"})
    for (const std::vector<double>& values :
         {std::vector<double>{}, {1}, {1, 1, 1}, {0, 1}, {1, -1}, {1.5, 1}, {1, 2 * huge}, {infinite, 1}})
      EXPECT_TRUE(mentions(conv_error(maps, weight, {{key, values}}), key));
  for (const std::vector<double>& values :
       {std::vector<double>{}, {1, 1}, {0, 0, 0, -1}, {0, 0.5, 0, 0}, {0, 0, 0, 2 * huge}, {0, 0, 0, 0, 0}})
    EXPECT_TRUE(mentions(conv_error(maps, weight, {{"pads", values}}), "pads"));
  EXPECT_TRUE(mentions(conv_error(maps, weight, {{"groups", {1, 1}}}), "groups"));
}

TEST(ConvShape, NumbersNearTheEndOfTheirRangeDoNotOverflow) {
  const Shape maps = {1, 6, 6};
  EXPECT_TRUE(mentions(conv_error(maps, {1, 1, Index{1} << 40, 1}), "kernel"));
  EXPECT_TRUE(mentions(conv_error(maps, {1, 1, (Index{1} << 31) - 1, 1}, {{"dilations", {huge, 1}}}), "reaches over"));
  EXPECT_TRUE(mentions(conv_error(maps, {1, 1, 1, 1}, {{"pads", {huge, huge, huge, huge}}}), "2^62"));
  // This one is right: two taps as far apart as can be, over a map that is mostly padding.
  GraphBuilder builder(maps);
  net::Graph graph = builder.graph();
  graph.tensors["w"] = {1, 1, 2, 1};
  net::Node node;
  node.name = "n";
  node.op = Op::conv;
  node.inputs = {0};
  node.attributes = {{"dilations", {huge, 1}}, {"pads", {huge, 0, 0, 0}}};
  node.parameters = {{"weight", "w"}};
  EXPECT_EQ(net::infer_shape(graph, node), (Shape{1, 6, 6}));
}

TEST(ConvShape, BothLinearOperatorsAreLinear) {
  EXPECT_TRUE(net::is_linear(Op::conv));
  EXPECT_TRUE(net::is_linear(Op::dense));
  for (const Op op : {Op::input, Op::max_pool, Op::average_pool, Op::reduce_mean, Op::pad, Op::add, Op::sub, Op::mul,
                      Op::concat, Op::slice, Op::transpose, Op::batch_norm, Op::relu, Op::reshape}) {
    EXPECT_FALSE(net::is_linear(op));
    EXPECT_EQ(net::op_from_name(net::op_name(op)), op);
  }
}

TEST(PoolShape, Mistakes) {
  const Shape maps = {4, 6, 6};
  for (const Op op : {Op::max_pool, Op::average_pool}) {
    EXPECT_TRUE(mentions(error_of(op, maps, {}), "kernel"));
    EXPECT_TRUE(mentions(error_of(op, maps, {{"kernel", {2}}}), "kernel"));
    EXPECT_TRUE(mentions(error_of(op, maps, {{"kernel", {0, 2}}}), "kernel"));
    EXPECT_TRUE(mentions(error_of(op, {4, 6}, {{"kernel", {2, 2}}}), "channels x height x width"));
    EXPECT_TRUE(mentions(error_of(op, maps, {{"kernel", {2, 7}}}), "reaches over 7"));
    EXPECT_TRUE(mentions(error_of(op, maps, {{"kernel", {2, 2}}, {"strides", {0, 1}}}), "strides"));
    EXPECT_TRUE(mentions(error_of(op, maps, {{"kernel", {2, 2}}, {"pads", {2, 0, 0, 0}}}), "padding"));
    EXPECT_TRUE(mentions(error_of(op, maps, {{"kernel", {2, 2}}, {"pads", {0, 0, 0, 2}}}), "padding"));
    EXPECT_TRUE(mentions(error_of(op, maps, {{"kernel", {2, 2}}, {"ceil_mode", {2}}}), "ceil_mode"));
    EXPECT_TRUE(
        mentions(error_of(op, maps, {{"kernel", {9, 2}}, {"strides", {2, 2}}, {"ceil_mode", {1}}}), "reaches over 9"));
    EXPECT_TRUE(mentions(error_of(op, maps, {{"kernel", {2, 2}}}, {}, 2), "2 inputs"));
  }
  EXPECT_TRUE(mentions(error_of(Op::average_pool, maps, {{"kernel", {2, 2}}, {"count_include_pad", {3}}}),
                       "count_include_pad"));
}

TEST(AxesShape, Mistakes) {
  const Shape maps = {4, 6, 5};
  EXPECT_TRUE(mentions(error_of(Op::reduce_mean, maps, {}), "axes"));
  EXPECT_TRUE(mentions(error_of(Op::reduce_mean, maps, {{"axes", {}}}), "axes"));
  EXPECT_TRUE(mentions(error_of(Op::reduce_mean, maps, {{"axes", {3}}}), "axis 3"));
  EXPECT_TRUE(mentions(error_of(Op::reduce_mean, maps, {{"axes", {-1}}}), "axes"));
  EXPECT_TRUE(mentions(error_of(Op::reduce_mean, maps, {{"axes", {1, 1}}}), "twice"));
  EXPECT_TRUE(mentions(error_of(Op::reduce_mean, maps, {{"axes", {1}}, {"keepdims", {2}}}), "keepdims"));
  EXPECT_TRUE(mentions(error_of(Op::transpose, maps, {}), "perm"));
  EXPECT_TRUE(mentions(error_of(Op::transpose, maps, {{"perm", {0, 1}}}), "perm"));
  EXPECT_TRUE(mentions(error_of(Op::transpose, maps, {{"perm", {0, 1, 1}}}), "twice"));
  EXPECT_TRUE(mentions(error_of(Op::transpose, maps, {{"perm", {0, 1, 3}}}), "axis 3"));
  EXPECT_TRUE(mentions(error_of(Op::slice, maps, {}), "no attribute count"));
  EXPECT_TRUE(mentions(error_of(Op::slice, maps, {{"count", {0}}}), "count"));
  EXPECT_TRUE(mentions(error_of(Op::slice, maps, {{"count", {1}}, {"axis", {3}}}), "axis is 3, its input has 3"));
  EXPECT_TRUE(mentions(error_of(Op::slice, maps, {{"count", {1}}, {"start", {-1}}}), "start"));
  EXPECT_TRUE(mentions(error_of(Op::slice, maps, {{"count", {3}}, {"start", {4}}, {"axis", {1}}}),
                       "3 values from 4 on along axis 1, its input has 6"));
  EXPECT_TRUE(mentions(error_of(Op::pad, maps, {{"pads", {0, 0, 0}}}), "pads"));
  EXPECT_TRUE(mentions(error_of(Op::pad, maps, {{"pads", {0, 0, 0, -1, 0, 0}}}), "pads"));
  EXPECT_TRUE(mentions(error_of(Op::pad, maps, {{"pads", {huge, huge, huge, huge, huge, huge}}}), "2^62"));
}

TEST(JoinShape, Mistakes) {
  GraphBuilder builder({4, 6, 5});
  const int other = builder.add(Op::pad, {0}, {{"pads", {0, 1, 0, 0, 0, 0}}});
  const int flat = builder.reshape(0, {120});
  const auto error = [&](Op op, std::vector<int> inputs, Attributes attributes = {}) {
    return input_error([&] { builder.add(op, std::move(inputs), std::move(attributes)); });
  };
  EXPECT_TRUE(mentions(error(Op::concat, {0, other}, {{"axis", {0}}}), "4x6x5 and 4x7x5"));
  EXPECT_TRUE(mentions(error(Op::concat, {0, flat}, {{"axis", {0}}}), "cannot be joined"));
  EXPECT_TRUE(mentions(error(Op::concat, {0, 0}, {{"axis", {3}}}), "axis"));
  EXPECT_TRUE(mentions(error(Op::concat, {}, {{"axis", {0}}}), "0 inputs"));
  EXPECT_TRUE(mentions(error(Op::add, {0, other}), "do not broadcast"));
  EXPECT_TRUE(mentions(error(Op::mul, {flat, 0}), "do not broadcast"));
  EXPECT_TRUE(mentions(error(Op::sub, {0}), "1 inputs, expected 2"));
  EXPECT_TRUE(mentions(error(Op::add, {0}), "1 inputs, expected 2"));
  EXPECT_TRUE(mentions(error(Op::mul, {0, 0, 0}), "3 inputs, expected 2"));
  EXPECT_TRUE(mentions(error(Op::relu, {0, 0}), "2 inputs, expected 1"));
  EXPECT_TRUE(mentions(error(Op::add, {0, 17}), "node 17"));
}

TEST(JoinShape, SumsAndProductsBeyondTheLimit) {
  GraphBuilder wide({Index{1} << 61, 2});
  const std::string joined = input_error([&] { wide.add(Op::concat, {0, 0, 0}, {{"axis", {0}}}); });
  EXPECT_TRUE(mentions(joined, "2^62"));
  GraphBuilder square({Index{1} << 40, 1});
  const int turned = square.reshape(0, {1, Index{1} << 40});
  EXPECT_TRUE(mentions(input_error([&] { square.add(Op::add, {0, turned}); }), "2^62"));
}

TEST(DenseShape, TakesVectorsOnly) {
  EXPECT_TRUE(mentions(error_of(Op::dense, {2, 3}, {}, {{"weight", {4, 6}}}), "2x3"));
  EXPECT_TRUE(mentions(error_of(Op::dense, {3, 2, 1}, {}, {{"weight", {4, 6}}}), "3x2x1"));
  EXPECT_TRUE(mentions(error_of(Op::dense, {6}, {}, {{"weight", {4, 6, 1}}}), "4x6x1"));
}

TEST(OperatorShape, ClaimedShapesAreCompared) {
  GraphBuilder builder({4, 6, 5});
  builder.add(Op::add, {0, 0});
  net::Graph graph = builder.graph();
  graph.nodes[1].shape = {4, 6};
  EXPECT_TRUE(mentions(input_error([&] { net::validate(graph); }), "claims shape 4x6"));
}

}  // namespace
}  // namespace gpfq::test
