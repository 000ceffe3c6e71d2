// SPDX-License-Identifier: Apache-2.0
// Graphs that branch: what is read again later survives work in place, what is live is told, and
// memory stays below what is promised.
#include <gtest/gtest.h>

#include <algorithm>

#include "net/operator_testing.hpp"

namespace gpfq::test {
namespace {

/// Runs node by node with nothing dropped or reused: a fresh one-node graph each.
std::vector<float> run_one_by_one(const net::Model& model, const std::vector<float>& input) {
  const net::Graph& graph = model.graph;
  const Index samples = static_cast<Index>(input.size()) / element_count(graph.node(0).shape);
  std::vector<std::vector<float>> values = {input};
  for (int index = 1; index < graph.size(); ++index) {
    net::Graph keep_all = graph;
    keep_all.output = index;
    net::LiveBatches live;
    for (const int from : graph.node(index).inputs) {
      live[from] = net::Batch(samples, graph.node(from).shape);
      std::copy(values[static_cast<std::size_t>(from)].begin(), values[static_cast<std::size_t>(from)].end(),
                live[from].values.data());
    }
    net::run_nodes(keep_all, index, index + 1, live, ModelParameters(model), {});
    const net::Batch& output = live.at(index);
    values.emplace_back(output.values.data(), output.values.data() + output.values.size());
  }
  return values[static_cast<std::size_t>(graph.output)];
}

int conv_3x3(GraphBuilder& builder, int input, Index channels, Index filters, Index stride, Random& random) {
  return builder.linear(
      net::Op::conv, input, {filters, channels, 3, 3}, random.normals(filters * channels * 9, 0.3),
      random.normals(filters, 1),
      {{"pads", {1, 1, 1, 1}}, {"strides", {static_cast<double>(stride), static_cast<double>(stride)}}});
}

/// Residual block with a subsampled and channel-padded shortcut, squeeze and excitation, concatenation, a tensor added
/// to itself, one read three times; then means and a classifier.
net::Model branching_network() {
  Random random(51);
  GraphBuilder builder({3, 10, 9});
  const int stem = builder.add(net::Op::relu, {builder.batch_norm(conv_3x3(builder, 0, 3, 8, 1, random), random)});
  const int main_path = conv_3x3(builder, stem, 8, 12, 2, random);
  const int shortcut =
      builder.add(net::Op::pad, {builder.add(net::Op::max_pool, {stem}, {{"kernel", {1, 1}}, {"strides", {2, 2}}})},
                  {{"pads", {2, 0, 0, 2, 0, 0}}});
  const int sum = builder.add(net::Op::relu, {builder.add(net::Op::add, {main_path, shortcut})});
  const int squeezed = builder.add(net::Op::reduce_mean, {sum}, {{"axes", {1, 2}}, {"keepdims", {1}}});
  const int gate = builder.add(net::Op::sigmoid,
                               {builder.linear(net::Op::conv, squeezed, {12, 12, 1, 1}, random.normals(144, 0.5))});
  const int excited = builder.add(net::Op::mul, {gate, sum});
  const int doubled = builder.add(net::Op::add, {excited, excited});
  const int joined = builder.add(net::Op::concat, {sum, doubled, excited}, {{"axis", {0}}});
  const int last = builder.add(net::Op::hard_swish, {joined});
  const int mean = builder.add(net::Op::reduce_mean, {last}, {{"axes", {1, 2}}, {"keepdims", {0}}});
  builder.linear(net::Op::dense, mean, {5, 36}, random.normals(180, 0.4), random.normals(5, 1));
  return builder.model();
}

TEST(Branching, SameAsNodeByNodeWithNothingReused) {
  const net::Model model = branching_network();
  Random random(52);
  const auto input = random.normals(5 * 270, 1);
  const auto found = run_graph(model, input);
  EXPECT_TRUE(same_bits(found, run_one_by_one(model, input)));
  EXPECT_TRUE(same_bits(run_in_groups(model, input, 1), found));
  EXPECT_TRUE(same_bits(run_in_groups(model, input, 3, {.threads = 4}), found));
}

TEST(Branching, CutAnywhereAndContinuedFromWhatIsLive) {
  const net::Model model = branching_network();
  const net::Graph& graph = model.graph;
  Random random(53);
  const auto input = random.normals(2 * 270, 1);
  const auto expected = run_graph(model, input);
  for (int cut = 1; cut < graph.size(); ++cut) {
    net::LiveBatches live;
    live[0] = net::Batch(2, graph.node(0).shape);
    std::copy(input.begin(), input.end(), live[0].values.data());
    net::run_nodes(graph, 0, cut, live, ModelParameters(model), {});
    std::vector<int> held;
    for (const auto& [node, batch] : live) held.push_back(node);
    EXPECT_EQ(held, net::live_at(graph, cut)) << "cut " << cut;
    net::run_nodes(graph, cut, graph.size(), live, ModelParameters(model), {});
    const net::Batch& output = live.at(graph.output);
    EXPECT_TRUE(same_bits({output.values.data(), output.values.data() + output.values.size()}, expected));
  }
}

TEST(Branching, PeakCountsInputsAndOutputsTogether) {
  // Three nodes of 6 values, then the first two of them joined with the first again: 18. While the concatenation runs,
  // a, b and its output are held, the input is gone; before that, the input, a and b.
  GraphBuilder builder({6});
  const int a = builder.add(net::Op::relu, {0});
  const int b = builder.add(net::Op::tanh, {0});
  builder.add(net::Op::concat, {a, a, b});
  EXPECT_EQ(net::peak_floats_per_sample(builder.graph(), 0, 4), 6 + 6 + 18);
  EXPECT_EQ(net::peak_floats_per_sample(builder.graph(), 0, 3), 6 + 6 + 6);
}

TEST(Branching, ANodeThatNothingReadsIsDropped) {
  GraphBuilder builder({4});
  const int unread = builder.add(net::Op::pad, {0}, {{"pads", {3, 3}}});
  builder.add(net::Op::relu, {0});
  EXPECT_EQ(builder.graph().node(unread).shape, (Shape{10}));
  EXPECT_EQ(run_graph(builder.model(), {-1, 2, -3, 4}), (std::vector<float>{0, 2, 0, 4}));
}

// x + f(x): the sum may not overwrite x where x is read again, whichever operand it is.
TEST(Branching, WorkInPlaceSparesWhatIsReadLater) {
  for (const bool swapped : {false, true})
    for (const bool read_later : {false, true}) {
      GraphBuilder builder({3});
      const int doubled = builder.add(net::Op::add, {0, 0});
      const int sum = swapped ? builder.add(net::Op::add, {doubled, 0}) : builder.add(net::Op::add, {0, doubled});
      if (read_later) builder.add(net::Op::concat, {sum, doubled, 0});
      const auto found = run_graph(builder.model(), {1, 2, 3});
      if (read_later)
        EXPECT_EQ(found, (std::vector<float>{3, 6, 9, 2, 4, 6, 1, 2, 3}));
      else
        EXPECT_EQ(found, (std::vector<float>{3, 6, 9}));
    }
}

}  // namespace
}  // namespace gpfq::test
