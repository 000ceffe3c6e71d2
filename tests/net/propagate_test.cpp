// SPDX-License-Identifier: Apache-2.0
// Propagation against plain double loops, and the promises that results depend neither on how
// samples are grouped nor on threads, and that no batch is kept longer than it is read.
#include "gpfq/net/propagate.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "small_graphs.hpp"

namespace gpfq::net {
namespace {

/// input N -> dense n, with bias or without.
Graph dense_graph(Index inputs, Index neurons, bool has_bias) {
  Graph graph;
  graph.nodes = {make_node("x", Op::input, -1, {inputs}), make_node("y", Op::dense, 0, {neurons})};
  graph.nodes[1].parameters = {{"weight", "w"}};
  graph.tensors = {{"w", {neurons, inputs}}};
  if (has_bias) {
    graph.nodes[1].parameters["bias"] = "b";
    graph.tensors["b"] = {neurons};
  }
  graph.output = 1;
  validate(graph);
  return graph;
}

bool same_bits(const Batch& a, const Batch& b) {
  return a.samples == b.samples && a.shape == b.shape && a.values.size() == b.values.size() &&
         std::memcmp(a.values.data(), b.values.data(), static_cast<std::size_t>(a.values.size()) * sizeof(float)) == 0;
}

/// N products and sums in float, one more for the bias: (N + 1)·2⁻²⁴ of the sum of magnitudes.
void expect_dense(const MapParameters& parameters, const Batch& input, const Batch& output, bool has_bias) {
  const Index inputs = input.sample_size();
  const Index neurons = output.sample_size();
  const std::vector<float>& w = parameters.values("w");
  for (Index i = 0; i < input.samples; ++i) {
    for (Index j = 0; j < neurons; ++j) {
      double sum = has_bias ? parameters.values("b")[static_cast<std::size_t>(j)] : 0.0;
      double magnitude = std::abs(sum);
      for (Index k = 0; k < inputs; ++k) {
        const double product = static_cast<double>(w[static_cast<std::size_t>(j * inputs + k)]) *
                               static_cast<double>(input.values[i * inputs + k]);
        sum += product;
        magnitude += std::abs(product);
      }
      ASSERT_NEAR(output.values[i * neurons + j], sum, static_cast<double>(inputs + 1) * 0x1p-24 * magnitude)
          << input.samples << " samples, " << inputs << " inputs, sample " << i << ", neuron " << j;
    }
  }
}

TEST(LinearOutput, MatchesAPlainLoop) {
  for (const bool has_bias : {false, true}) {
    for (const Index samples : {1, 300}) {
      for (const Index inputs : {1, 5, 33}) {
        for (const Index neurons : {1, 3, 16, 300}) {
          const Graph graph = dense_graph(inputs, neurons, has_bias);
          const MapParameters parameters(graph);
          const Batch input = random_batch(samples, {inputs}, 2);
          Batch output = linear_output(graph, 1, input, parameters, {});
          ASSERT_EQ(output.samples, samples);
          ASSERT_EQ(output.shape, Shape{neurons});
          expect_dense(parameters, input, output, false);
          add_bias(graph, 1, output, parameters);
          expect_dense(parameters, input, output, has_bias);
        }
      }
    }
  }
}

/// Tiles of 16 over 37 neurons and chunks of 32 over 75 samples: the last ones are partial in both directions.
TEST(LinearOutput, MatchesAPlainLoopOnPartialTilesAndChunks) {
  const Graph graph = dense_graph(7, 37, false);
  const MapParameters parameters(graph);
  const Batch input = random_batch(75, {7}, 3);
  PropagationOptions options;
  options.sample_chunk = 32;
  options.neuron_tile = 16;
  expect_dense(parameters, input, linear_output(graph, 1, input, parameters, options), false);
}

/// NaN in one sample stays in it, also where its chunk is padded; a NaN weight stays in its neuron.
TEST(LinearOutput, NaNStaysInItsSampleAndNeuron) {
  const Graph graph = dense_graph(5, 19, false);
  MapParameters parameters(graph);
  parameters.values("w")[3 * 5 + 2] = std::nanf("");  // neuron 3, in the first tile of two
  Batch input = random_batch(20, {5}, 4);
  input.values[17 * 5 + 1] = std::nanf("");
  PropagationOptions options;
  options.sample_chunk = 16;
  options.neuron_tile = 16;
  const Batch output = linear_output(graph, 1, input, parameters, options);
  for (Index i = 0; i < 20; ++i)
    for (Index j = 0; j < 19; ++j)
      EXPECT_EQ(std::isnan(output.values[i * 19 + j]), i == 17 || j == 3) << "sample " << i << ", neuron " << j;
}

TEST(LinearOutput, GroupingOfSamplesDoesNotChangeABit) {
  const Graph graph = dense_graph(33, 300, false);
  const MapParameters parameters(graph);
  const Batch input = random_batch(300, {33}, 5);
  for (const Index chunk : {16, 64, 256}) {
    PropagationOptions options;
    options.sample_chunk = chunk;
    const Batch whole = linear_output(graph, 1, input, parameters, options);
    for (Index first = 0; first < 300; first += chunk) {
      const Index count = std::min(chunk, 300 - first);
      const Batch part = linear_output(graph, 1, samples_of(input, first, count), parameters, options);
      EXPECT_TRUE(same_bits(part, samples_of(whole, first, count))) << "chunk " << chunk << ", sample " << first;
    }
    // The last chunk is padded, so a sample's value does not depend on how many others there are.
    const Batch fewer = linear_output(graph, 1, samples_of(input, 0, chunk / 2 + 1), parameters, options);
    EXPECT_TRUE(same_bits(fewer, samples_of(whole, 0, chunk / 2 + 1))) << "chunk " << chunk;
  }
}

TEST(LinearOutput, ThreadsDoNotChangeABit) {
  const Graph graph = dense_graph(33, 300, false);
  const MapParameters parameters(graph);
  const Batch input = random_batch(300, {33}, 6);
  PropagationOptions options;
  options.sample_chunk = 16;
  const Batch one = linear_output(graph, 1, input, parameters, options);
  options.threads = 3;
  for (int trial = 0; trial < 5; ++trial)
    EXPECT_TRUE(same_bits(linear_output(graph, 1, input, parameters, options), one));
}

TEST(RunNodes, BatchNormIsPerChannelOfTheFirstDimension) {
  Graph graph;
  graph.nodes = {make_node("x", Op::input, -1, {3, 2, 5}), make_node("norm", Op::batch_norm, 0, {3, 2, 5})};
  graph.nodes[1].attributes = {{"epsilon", {0.01}}};
  for (const char* role : {"scale", "shift", "mean", "variance"}) {
    graph.nodes[1].parameters[role] = role;
    graph.tensors[role] = {3};
  }
  graph.output = 1;
  validate(graph);
  const MapParameters parameters(graph);
  const Batch input = random_batch(7, {3, 2, 5}, 7);
  LiveBatches live;
  live[0] = samples_of(input, 0, 7);
  run_nodes(graph, 0, 2, live, parameters, {});
  for (Index i = 0; i < 7 * 30; ++i) {
    const std::size_t c = static_cast<std::size_t>(i % 30 / 10);
    const double gain = parameters.values("scale")[c] / std::sqrt(parameters.values("variance")[c] + 0.01);
    const double x = input.values[i];
    const double mean = parameters.values("mean")[c];
    const double shift = parameters.values("shift")[c];
    // gain, offset, product and sum each round once.
    const double magnitude = std::abs(gain * x) + std::abs(gain * mean) + std::abs(shift);
    EXPECT_NEAR(live.at(1).values[i], gain * (x - mean) + shift, 4 * 0x1p-24 * magnitude) << i;
  }
}

TEST(RunNodes, ReshapeKeepsTheValuesInOrder) {
  Graph graph;
  graph.nodes = {make_node("x", Op::input, -1, {2, 3, 4}), make_node("flat", Op::reshape, 0, {24}),
                 make_node("wide", Op::reshape, 1, {6, 4})};
  graph.output = 2;
  validate(graph);
  const MapParameters parameters(graph);
  const Batch input = random_batch(5, {2, 3, 4}, 8);
  LiveBatches live;
  live[0] = samples_of(input, 0, 5);
  run_nodes(graph, 0, 3, live, parameters, {});
  EXPECT_EQ(live.at(2).shape, (Shape{6, 4}));
  EXPECT_EQ(live.at(2).samples, 5);
  EXPECT_TRUE(std::equal(input.values.span().begin(), input.values.span().end(), live.at(2).values.span().begin()));
}

/// The whole chain against the same computed step by step in double.
TEST(RunNodes, RunsAChainAsWritten) {
  const Graph graph = chain_graph();
  validate(graph);
  const MapParameters p(graph);
  const Batch input = random_batch(3, {2, 3}, 9);
  LiveBatches live;
  live[0] = samples_of(input, 0, 3);
  run_nodes(graph, 0, graph.size(), live, p, {});
  ASSERT_EQ(live.size(), 1U);
  const Batch& output = live.at(6);
  for (Index i = 0; i < 3; ++i) {
    std::vector<double> hidden(4);
    for (std::size_t j = 0; j < 4; ++j) {
      double y = p.values("hidden.b")[j];
      for (std::size_t k = 0; k < 6; ++k)
        y += static_cast<double>(p.values("hidden.w")[j * 6 + k]) * input.values[i * 6 + static_cast<Index>(k)];
      y = p.values("n.s")[j] * (y - p.values("n.m")[j]) / std::sqrt(p.values("n.variance")[j] + 1e-3) +
          p.values("n.b")[j];
      hidden[j] = y < 0 ? 0.1 * std::expm1(y) : y;
    }
    std::vector<double> scores(3);
    double sum = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      for (std::size_t k = 0; k < 4; ++k) scores[j] += p.values("scores.w")[j * 4 + k] * hidden[k];
      sum += std::exp(scores[j]);
    }
    for (std::size_t j = 0; j < 3; ++j)
      EXPECT_NEAR(output.values[i * 3 + static_cast<Index>(j)], std::exp(scores[j]) / sum, 1e-5) << i << ", " << j;
  }
}

/// 0 x -> 1 a (leaky ReLU) -> 2 b (tanh) -> 4 d (softsign, output);   1 a -> 3 c (sigmoid) -> 5 e;   0 x -> 6 f.
/// Node 1 is read twice, node 0 is read again at the very end; 5 and 6 are read by nobody.
Graph branching_graph() {
  Graph graph;
  graph.nodes = {make_node("x", Op::input, -1, {4}),   make_node("a", Op::leaky_relu, 0, {4}),
                 make_node("b", Op::tanh, 1, {4}),     make_node("c", Op::sigmoid, 1, {4}),
                 make_node("d", Op::softsign, 2, {4}), make_node("e", Op::swish, 3, {4}),
                 make_node("f", Op::gelu, 0, {4})};
  graph.output = 4;
  validate(graph);
  return graph;
}

std::vector<int> keys(const LiveBatches& live) {
  std::vector<int> nodes;
  for (const auto& [node, batch] : live) nodes.push_back(node);
  return nodes;
}

TEST(LiveAt, NamesWhatIsStillRead) {
  const Graph graph = branching_graph();
  using Nodes = std::vector<int>;
  const std::vector<Nodes> expected = {{}, {0}, {0, 1}, {0, 1, 2}, {0, 2, 3}, {0, 3, 4}, {0, 4}, {4}};
  for (int cut = 0; cut <= graph.size(); ++cut)
    EXPECT_EQ(live_at(graph, cut), expected[static_cast<std::size_t>(cut)]) << "cut " << cut;
  Graph early = graph;
  early.output = 1;  // nodes after the output do not end its life
  EXPECT_EQ(live_at(early, 7), (Nodes{1}));
  EXPECT_EQ(live_at(early, 1), (Nodes{0}));
}

/// Wherever the graph is cut in two, the halves give the same values, and what lives at the cut is what live_at says.
TEST(RunNodes, KeepsWhatIsReadAndDropsTheRest) {
  const Graph graph = branching_graph();
  const MapParameters parameters(graph);
  const Batch input = random_batch(3, {4}, 10);
  LiveBatches whole;
  whole[0] = samples_of(input, 0, 3);
  run_nodes(graph, 0, graph.size(), whole, parameters, {});
  ASSERT_EQ(keys(whole), (std::vector<int>{4}));
  for (Index i = 0; i < 12; ++i) {
    const double x = input.values[i];
    const double y = std::tanh(x < 0 ? 0.01 * x : x);
    EXPECT_NEAR(whole.at(4).values[i], y / (1 + std::abs(y)), 1e-6) << i;
  }
  for (int cut = 1; cut <= graph.size(); ++cut) {
    LiveBatches live;
    live[0] = samples_of(input, 0, 3);
    run_nodes(graph, 0, cut, live, parameters, {});
    EXPECT_EQ(keys(live), live_at(graph, cut)) << "cut " << cut;
    if (live.count(0) != 0) {
      EXPECT_TRUE(same_bits(live.at(0), input)) << "cut " << cut << ": the input was worked on in place";
    }
    run_nodes(graph, cut, graph.size(), live, parameters, {});
    EXPECT_EQ(keys(live), (std::vector<int>{4})) << "cut " << cut;
    EXPECT_TRUE(same_bits(live.at(4), whole.at(4))) << "cut " << cut;
  }
}

/// A node that is read twice is worked on as a copy: both readers see its values.
TEST(RunNodes, BothReadersOfANodeSeeItsValues) {
  Graph graph = branching_graph();
  graph.output = 5;
  const MapParameters parameters(graph);
  const Batch input = random_batch(3, {4}, 11);
  LiveBatches live;
  live[0] = samples_of(input, 0, 3);
  run_nodes(graph, 0, 5, live, parameters, {});
  EXPECT_EQ(keys(live), (std::vector<int>{0, 3}));  // 4 is read by nobody now
  for (Index i = 0; i < 12; ++i) {
    const double x = input.values[i];
    EXPECT_NEAR(live.at(3).values[i], 1 / (1 + std::exp(-(x < 0 ? 0.01 * x : x))), 1e-6) << i;
  }
}

/// What the caller brings and nobody reads any more goes before the first node runs.
TEST(RunNodes, DropsWhatTheCallerNoLongerNeeds) {
  const Graph graph = chain_graph();
  const MapParameters parameters(graph);
  LiveBatches live;
  live[0] = random_batch(2, {2, 3}, 12);
  live[1] = random_batch(2, {6}, 12);
  live[4] = random_batch(2, {4}, 12);
  run_nodes(graph, 5, 5, live, parameters, {});
  EXPECT_EQ(keys(live), (std::vector<int>{4}));
  run_nodes(graph, 5, 6, live, parameters, {});
  EXPECT_EQ(keys(live), (std::vector<int>{5}));
}

TEST(RunNodes, GroupingAndThreadsDoNotChangeABit) {
  const Graph graph = chain_graph();
  const MapParameters parameters(graph);
  const Batch input = random_batch(300, {2, 3}, 13);
  PropagationOptions options;
  options.sample_chunk = 64;
  LiveBatches whole;
  whole[0] = samples_of(input, 0, 300);
  run_nodes(graph, 0, 7, whole, parameters, options);
  options.threads = 3;
  for (Index first = 0; first < 300; first += 128) {
    const Index count = std::min<Index>(128, 300 - first);
    LiveBatches live;
    live[0] = samples_of(input, first, count);
    run_nodes(graph, 0, 7, live, parameters, options);
    EXPECT_TRUE(same_bits(live.at(6), samples_of(whole.at(6), first, count))) << "sample " << first;
  }
}

/// Of the chain: 0 input 6, 1 flatten 6, 2 hidden 4, 3 norm 4, 4 activation 4, 5 scores 3, 6 softmax 3.
TEST(PeakFloats, CountsWhatIsHeldWhileANodeRuns) {
  const Graph graph = chain_graph();
  EXPECT_EQ(peak_floats_per_sample(graph, 0, 7), 12);  // 0 and 1
  EXPECT_EQ(peak_floats_per_sample(graph, 2, 7), 10);  // 1 and 2
  EXPECT_EQ(peak_floats_per_sample(graph, 3, 7), 8);   // 2 and 3
  EXPECT_EQ(peak_floats_per_sample(graph, 6, 7), 6);   // 5 and 6
  const Graph branching = branching_graph();
  EXPECT_EQ(peak_floats_per_sample(branching, 0, 7), 16);  // 0, 1, 2 and 3 while 3 runs
  EXPECT_EQ(peak_floats_per_sample(branching, 3, 3), 12);  // nothing runs: 0, 1 and 2 are held
}

}  // namespace
}  // namespace gpfq::net
