// SPDX-License-Identifier: Apache-2.0
// The plan is arithmetic: checked for thousands of ranks in one process. What results depend on
// must not move with ranks or memory.
#include "gpfq/job/plan.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "gpfq/quant/tile_path.hpp"
#include "job/grid.hpp"
#include "job/config_testing.hpp"
#include "support/errors.hpp"
#include "support/networks.hpp"

namespace gpfq::job {
namespace {

using Json = nlohmann::json;
using test::input_error;
using test::mentions;

/// A network of dense layers by its shapes alone: no weights are made, however wide it is.
net::Graph graph_of(const std::vector<Index>& widths) {
  net::Graph graph;
  for (std::size_t i = 0; i < widths.size(); ++i) {
    net::Node node;
    node.name = i == 0 ? "input" : fmt::format("fc{}", i);
    node.shape = {widths[i]};
    if (i > 0) {
      node.op = net::Op::dense;
      node.inputs = {static_cast<int>(i) - 1};
      node.parameters["weight"] = node.name + ".weight";
      graph.tensors[node.name + ".weight"] = {widths[i], widths[i - 1]};
    }
    graph.nodes.push_back(node);
  }
  graph.output = graph.size() - 1;
  return graph;
}

/// A 3×3 convolution of `channels` maps of side × side into as many, padded, by its shapes alone.
net::Graph conv_graph(Index side, Index groups, Index channels = 64) {
  net::Graph graph;
  graph.nodes.resize(2);
  graph.nodes[0].name = "input";
  graph.nodes[0].shape = {channels, side, side};
  net::Node& conv = graph.nodes[1];
  conv.name = "conv";
  conv.op = net::Op::conv;
  conv.inputs = {0};
  conv.shape = {channels, side, side};
  conv.attributes = {{"pads", {1, 1, 1, 1}}, {"groups", {static_cast<double>(groups)}}};
  conv.parameters["weight"] = "conv.weight";
  graph.tensors["conv.weight"] = {channels, channels / groups, 3, 3};
  graph.output = 1;
  return graph;
}

/// What results depend on.
std::string numbers_of(const JobPlan& plan) {
  std::string text = fmt::format("unit {} chunk {} tile {};", plan.sample_unit, plan.sample_chunk, plan.neuron_tile);
  for (const LayerPlan& layer : plan.layers)
    text += fmt::format(" {} m{} N{} b{} c{} {} n{} t{};", layer.name, layer.path.samples, layer.path.inputs,
                        layer.path.block_width, layer.path.sample_chunk, layer.path.shared, layer.neurons,
                        layer.tile_width);
  return text;
}

TEST(Plan, DescribesEveryLayer) {
  const net::Model model = test::random_mlp({150, 120, 45, 10}, 1);
  const JobPlan plan = make_plan(model.graph, config_with({{"quantization", {{"form", "residual"}}}}), 2500);
  ASSERT_EQ(plan.layers.size(), 3U);
  EXPECT_EQ(plan.samples, 2500);
  const LayerPlan& first = plan.layers[0];
  EXPECT_EQ(first.name, "fc1");
  EXPECT_EQ(first.tensor, "fc1.weight");
  EXPECT_EQ(first.neurons, 120);
  EXPECT_EQ(first.path.inputs, 150);
  EXPECT_EQ(first.path.samples, 2500);
  EXPECT_TRUE(first.path.shared);  // the first quantized layer reads what both networks share
  EXPECT_FALSE(plan.layers[1].path.shared);
  EXPECT_TRUE(first.path.keeps_outputs);
  EXPECT_EQ(first.flops, 6.0 * 2500 * 150 * 120);  // XW beside U
  EXPECT_EQ(plan.layers[1].flops, 6.0 * 2500 * 120 * 45);
  EXPECT_LE(plan.layers[2].path.block_width, 45);  // no wider than the layer
}

TEST(Plan, SkippedLayersShareTheirInputsWithTheNext) {
  const net::Model model = test::random_mlp({20, 30, 40, 10}, 1);
  const Config config = config_with({{"quantization", {{"layers", {{{"match", "fc1"}, {"skip", true}}}}}}});
  const JobPlan plan = make_plan(model.graph, config, 100);
  EXPECT_EQ(plan.quantized_layers().size(), 2U);
  EXPECT_FALSE(plan.layers[0].quantized);
  EXPECT_TRUE(plan.layers[1].path.shared);
  EXPECT_FALSE(plan.layers[2].path.shared);
}

TEST(Plan, DifferingNodesAreThoseDownstream) {
  const net::Graph graph = graph_of({4, 4, 4, 4});
  EXPECT_EQ(differing_nodes(graph, {false, false, true, false}), (std::vector<bool>{false, false, true, true}));
  EXPECT_EQ(differing_nodes(graph, {false, false, false, false}), (std::vector<bool>{false, false, false, false}));
}

TEST(Plan, NumbersDoNotDependOnMemory) {
  const net::Graph graph = graph_of({784, 500, 300, 10});
  const std::string expected = numbers_of(make_plan(graph, config_with(), 25000));
  const Index smallest = make_plan(graph, config_with(), 25000).smallest_memory();
  for (const Index memory : {smallest, smallest + 1, 2 * smallest, 100 * smallest})
    EXPECT_EQ(numbers_of(make_plan(graph, config_with({{"memory_per_rank", memory}}), 25000)), expected);
  EXPECT_EQ(numbers_of(make_plan(graph, config_with({{"threads", 7}, {"output", "o"}}), 25000)), expected);
}

class SmallestMemory : public testing::TestWithParam<std::vector<Index>> {};

TEST_P(SmallestMemory, IsAcceptedAndOneByteLessIsNot) {
  const net::Graph graph = graph_of(GetParam());
  for (const Index samples : {Index{1}, Index{100}, Index{50000}}) {
    const JobPlan plan = make_plan(graph, config_with(), samples);
    const Index smallest = plan.smallest_memory();
    EXPECT_NO_THROW(static_cast<void>(make_plan(graph, config_with({{"memory_per_rank", smallest}}), samples)));
    const std::string text = input_error([&] {
      static_cast<void>(make_plan(graph, config_with({{"memory_per_rank", smallest - 1}}), samples));
    });
    EXPECT_TRUE(mentions(text, "'memory_per_rank'"));
    EXPECT_TRUE(mentions(text, fmt::format("{} bytes", smallest)));
    // At the smallest, a block and a tile fit, and a chunk in propagation.
    for (const LayerPlan& layer : plan.layers) EXPECT_LE(layer.shared_bytes + layer.tile_bytes, smallest);
    EXPECT_GE(samples_per_wave(plan, graph, 0, graph.size(), smallest), plan.sample_unit);
    EXPECT_LE(plan.weight_tile_bytes + plan.sample_unit * propagation_bytes_per_sample(graph, 0, graph.size()),
              smallest);
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, SmallestMemory,
                         testing::Values(std::vector<Index>{1, 1}, std::vector<Index>{784, 500, 300, 10},
                                         std::vector<Index>{25088, 4096, 4096, 1000},
                                         std::vector<Index>{65536, 65536}));

TEST(Waves, FillTheMemoryAndNoMore) {
  const net::Graph graph = graph_of({4096, 4096});
  const JobPlan plan = make_plan(graph, config_with({{"quantization", {{"form", "residual"}}}}), 10000);
  const LayerPlan& layer = plan.layers[0];
  const Index block = layer.shared_bytes;
  const Index tile = layer.tile_bytes;
  const Index tiles = layer.tile_count();
  const auto tiles_in = [&](Index memory) { return divide_memory(layer, layer.path, 1, tiles, memory).wave_tiles; };
  EXPECT_EQ(tiles_in(block + tile), 1);
  const Index blocks = block + quant::InputBlock::bytes(layer.path);  // the next one is read ahead
  EXPECT_EQ(tiles_in(block + 2 * tile - 1), 1);
  EXPECT_EQ(tiles_in(blocks + 2 * tile), 2);
  EXPECT_EQ(tiles_in(blocks + 7 * tile + 5), 7);
  // Without room for both, a second tile counts for more than a second block, unless all tiles are at work anyway or a
  // wave more is needed with it as without it.
  const auto reads_ahead = [&](Index of, Index memory) { return divide_memory(layer, layer.path, 1, of, memory).read_ahead; };
  EXPECT_FALSE(reads_ahead(tiles, blocks + 2 * tile - 1));
  EXPECT_EQ(tiles_in(blocks + 2 * tile - 1), 2);
  EXPECT_TRUE(reads_ahead(tiles, blocks + 2 * tile));
  EXPECT_TRUE(reads_ahead(1, blocks + 2 * tile - 1));
  ASSERT_EQ(tiles % 2, 0);
  EXPECT_TRUE(reads_ahead(tiles, blocks + (tiles / 2 + 1) * tile - 1));  // two waves of half the tiles or of one more
  EXPECT_FALSE(divide_memory(layer, layer.path, 1, tiles, blocks + 2 * tile, 1).read_ahead);  // a node's window is small
  EXPECT_EQ(shared_blocks(3 * block, block, 1), 2);
  EXPECT_EQ(shared_blocks(2 * block - 1, block, 1), 1);
  EXPECT_EQ(shared_blocks(3 * block, block, 2), 1);
  EXPECT_EQ(shared_blocks(block - 1, block, 1), 0);
  EXPECT_EQ(shared_blocks(0, 0, 2), 2);  // of ranks without rows
  const Index unit = plan.sample_unit * propagation_bytes_per_sample(graph, 0, 2);
  EXPECT_EQ(samples_per_wave(plan, graph, 0, 2, plan.weight_tile_bytes + 3 * unit), 3 * plan.sample_unit);
  EXPECT_EQ(samples_per_wave(plan, graph, 0, 2, plan.weight_tile_bytes + 3 * unit - 1), 2 * plan.sample_unit);
}

TEST(Grid, NoRankHasMoreToDoThanItMust) {
  const auto layer_of = [](Index neurons, Index samples) {
    return make_plan(graph_of({64, neurons}), config_with({{"quantization", {{"form", "residual"}}}}), samples).layers[0];
  };
  const LayerPlan few = layer_of(1000, 1500);
  ASSERT_EQ(few.tile_count(), 4);
  ASSERT_EQ(few.path.chunk_total(), 1);
  const RankGrid of_five = choose_grid(few, config_with(), 5);  // 1x5 would leave one rank with all tiles
  EXPECT_EQ(of_five.neurons, 5);
  EXPECT_EQ(idle_ranks(few, config_with(), 5), 1);
  EXPECT_EQ(idle_ranks(few, config_with({{"quantization", {{"grid", "1x5"}}}}), 5), 4);
  EXPECT_TRUE(mentions(plan_table(make_plan(graph_of({64, 1000}), config_with(), 1500), config_with(), 5, 1),
                       "1 of 5 ranks without tiles"));
  for (const Index neurons : {Index{10}, Index{1000}, Index{4096}})
    for (const Index samples : {Index{100}, Index{5000}, Index{100000}})
      for (int ranks = 1; ranks <= 70; ++ranks) {
        const LayerPlan layer = layer_of(neurons, samples);
        const auto work = [&](int groups) {
          return ceil_div(layer.tile_count(), Index{groups}) * ceil_div(layer.path.chunk_total(), Index{ranks / groups});
        };
        const RankGrid grid = choose_grid(layer, config_with(), ranks);
        ASSERT_EQ(grid.neurons * grid.samples, ranks);
        for (int groups = 1; groups <= ranks; ++groups) {
          if (ranks % groups == 0) {
            EXPECT_LE(work(grid.neurons), work(groups)) << neurons << " " << samples << " " << ranks;
          }
        }
      }
}

TEST(Tiles, CoverEveryWeightOnceAndChannelsOfTheSameNeuronsFollowEachOther) {
  for (const Index groups : {1, 8, 64})
    for (const char* kind : {"filters", "channelwise"}) {
      const JobPlan plan = make_plan(conv_graph(5, groups), config_with({{"quantization", {{"conv", kind}}}}), 50);
      const LayerPlan& layer = plan.layers[0];
      std::vector<int> covered(static_cast<std::size_t>(layer.neurons * layer.inputs));
      Index runs = 0;  // of tiles with the same neurons
      TileBox before;
      for (Index tile = 0; tile < layer.tile_count(); ++tile) {
        const TileBox box = tile_box(layer, tile);
        const bool is_beside = tile > 0 && box.first_neuron == before.first_neuron &&
                               box.first_input == before.first_input + before.inputs;
        runs += is_beside ? 0 : 1;
        before = box;
        for (Index j = box.first_neuron; j < box.first_neuron + box.neurons; ++j)
          for (Index t = box.first_input; t < box.first_input + box.inputs; ++t)
            ++covered[static_cast<std::size_t>(j * layer.inputs + t)];
      }
      EXPECT_TRUE(std::all_of(covered.begin(), covered.end(), [](int times) { return times == 1; }));
      EXPECT_EQ(runs, layer.groups * layer.tiles_per_problem());
    }
}

TEST(Plan, SaysThatAPinnedResidualFormDoesNotApplyToSeveralProblems) {
  const auto layer_of = [](Index groups, const Json& quantization) {
    return make_plan(conv_graph(7, groups), config_with({{"quantization", quantization}}), 50).layers[0];
  };
  EXPECT_EQ(layer_of(64, {{"form", "residual"}}).reason, "pinned residual does not apply: one problem per group");
  EXPECT_EQ(layer_of(1, {{"form", "residual"}, {"conv", "channelwise"}}).reason,
            "pinned residual does not apply: one problem per input channel");
  EXPECT_EQ(layer_of(64, {{"form", "gram"}}).reason, "one problem per group");
  EXPECT_EQ(layer_of(1, {{"form", "residual"}}).reason, "pinned");
  const std::string refused = input_error([&] {
    static_cast<void>(make_plan(conv_graph(2, 2, 1024), config_with({{"memory_per_rank", 10000000}}), 50));
  });
  EXPECT_TRUE(mentions(refused, "in gram form"));
  EXPECT_TRUE(mentions(refused, "G and C of 2 problems"));
  EXPECT_FALSE(mentions(refused, "quantization.form"));
  EXPECT_FALSE(mentions(refused, "quantization.block"));
}

TEST(Plan, MemoryDoesNotGrowAsFewerPatchesAreDrawn) {
  for (const char* form : {"gram", "residual"})
    for (const char* kind : {"filters", "channelwise"})
      for (const Index groups : {1, 64}) {
        SCOPED_TRACE(fmt::format("{} {} {}", form, kind, groups));
        const auto needed = [&](double fraction) {
          const Json quantization = {{"form", form}, {"conv", kind}, {"patch_fraction", fraction}};
          const LayerPlan layer =
              make_plan(conv_graph(112, groups), config_with({{"quantization", quantization}}), 5000).layers[0];
          return layer.shared_bytes + std::max(layer.thread_bytes, layer.tile_bytes);
        };
        const Index all = needed(1.0);
        // A chunk's columns of all problems: 2048 rows of 64 · 9 inputs; windows of 8 MiB, and room for positions.
        const Index gathered = 2048 * 576 * 4 + (Index{9} << 20);
        for (const double fraction : {0.5, 0.1, 0.01, 0.001, 0.0001}) EXPECT_LE(needed(fraction), all + gathered) << fraction;
      }
}

TEST(Plan, SaysWherePatchFractionLeavesTooFewRows) {
  const auto layer_of = [](double fraction, Index samples) {
    const Json quantization = {{"patch_fraction", fraction}};
    return make_plan(conv_graph(28, 1), config_with({{"quantization", quantization}}), samples).layers[0];
  };
  const std::string words = "patch_fraction leaves fewer rows than inputs";  // 576
  EXPECT_TRUE(mentions(layer_of(0.001, 575).reason, words));
  EXPECT_TRUE(layer_of(0.001, 575).lacks_rows());
  EXPECT_FALSE(mentions(layer_of(0.001, 576).reason, words));
  EXPECT_FALSE(mentions(layer_of(1.0, 1).reason, words));
  const auto short_of_all = make_plan(conv_graph(7, 1), config_with(), 2).layers[0];  // 98 rows with all positions
  EXPECT_FALSE(short_of_all.lacks_rows());
  EXPECT_FALSE(mentions(short_of_all.reason, words));
}

TEST(Plan, NamesPatchFractionWhereAConvolutionsRowsTakeTheMemory) {
  const Json quantization = {{"form", "residual"}};
  const std::string refused = input_error([&] {
    static_cast<void>(make_plan(conv_graph(112, 1), config_with({{"memory_per_rank", 10000000}, {"quantization", quantization}}), 500));
  });
  EXPECT_TRUE(mentions(refused, "in residual form"));
  EXPECT_TRUE(mentions(refused, "'quantization.patch_fraction'"));
  const std::string dense = input_error([&] {
    static_cast<void>(make_plan(graph_of({5000, 4096}), config_with({{"memory_per_rank", 10000000}, {"quantization", quantization}}), 5000));
  });
  EXPECT_FALSE(mentions(dense, "patch_fraction"));
}

TEST(GramMemory, HoldsForAnyNumberOfThreads) {
  for (const Index groups : {1, 8, 64})
    for (const char* kind : {"filters", "channelwise"})
      for (const Index side : {3, 28})
        for (const int threads : {1, 3, 16}) {
          const Json more = {{"quantization", {{"form", "gram"}, {"conv", kind}}}, {"threads", threads}};
          const JobPlan plan = make_plan(conv_graph(side, groups), config_with(more), 500);
          const LayerPlan& layer = plan.layers[0];
          ASSERT_EQ(layer.form, Form::gram);
          const Index smallest = layer.shared_bytes + std::max(layer.tile_bytes, layer.thread_bytes);
          EXPECT_GE(plan.smallest_memory(), smallest);
          for (const Index memory : {smallest, smallest + layer.thread_bytes, smallest + layer.window_sample_bytes,
                                     2 * smallest, 10 * smallest, Index{1} << 40}) {
            const GramShares shares = gram_shares(layer, threads, memory);
            EXPECT_LE(shares.bytes, memory);
            EXPECT_GE(shares.bytes, layer.shared_bytes + shares.threads * layer.thread_bytes);
            EXPECT_GE(shares.bytes, layer.shared_bytes + shares.tiles * layer.tile_bytes);
            EXPECT_GE(shares.window_chunks, 1);
          }
          const GramShares most = gram_shares(layer, threads, Index{1} << 40);
          EXPECT_EQ(most.threads, threads);
          EXPECT_EQ(most.tiles, threads);
          // Where problems are many, every thread has a chunk of one problem's columns.
          if (layer.problems > 1) {
            EXPECT_GE(layer.thread_bytes, layer.path.sample_chunk * layer.path.inputs * 4);
            EXPECT_LT(gram_shares(layer, 16, smallest + layer.thread_bytes).threads, 16);
          }
        }
}

TEST(Shards, CoverEveryNeuronOnceOnAnyNumberOfRanks) {
  for (const Index neurons : {Index{1}, Index{10}, Index{500}, Index{4096}, Index{65536}, Index{1000003}}) {
    const LayerPlan layer = make_plan(graph_of({8, neurons}), config_with(), 10).layers[0];
    EXPECT_EQ(layer.tile_width % alignment_floats, 0);
    for (const int ranks : {1, 2, 3, 7, 64, 1000, 4096}) {
      const ShardPlan shard(layer.neurons, layer.tile_width, ranks);
      Index next = 0;
      Index most = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const Range items = shard.items_of(rank);
        if (items.empty()) continue;
        ASSERT_EQ(items.begin, next);
        ASSERT_EQ(items.begin % layer.tile_width, 0);
        next = items.end;
        most = std::max(most, shard.pieces_of(rank).size());
      }
      EXPECT_EQ(next, neurons);
      EXPECT_EQ(most, shard.most_pieces());
      EXPECT_LE(most, ceil_div(shard.piece_count(), ranks));
    }
  }
}

TEST(Plan, ManyRanksOnAVeryWideLayer) {
  // 2^20 × 2^18 weights, 2^17 samples: products of extents go beyond 2^31 and 2^53 without harm.
  const Index inputs = Index{1} << 20;
  const Index neurons = Index{1} << 18;
  const Index samples = Index{1} << 17;
  const net::Graph graph = graph_of({inputs, neurons});
  const JobPlan plan = make_plan(graph, config_with(), samples);
  EXPECT_EQ(plan.layers[0].flops, 4.0 * 0x1p55);  // so many rows that outputs are not kept
  EXPECT_EQ(code_bytes(plan), inputs * neurons);
  EXPECT_NEAR(static_cast<double>(plan.output_bytes), static_cast<double>(inputs * neurons + neurons * 12), 65536.0);
  EXPECT_GE(plan.store_bytes, samples * inputs * 4);
  // No matrix of all weights, of all activations or of N×N is in the smallest memory.
  EXPECT_LT(plan.smallest_memory(), Index{20} << 30);
  EXPECT_TRUE(mentions(plan_table(plan, config_with(), 4096, 64), "4096 ranks"));
}

TEST(Plan, PropagationAloneNeedsNoLayers) {
  const net::Graph graph = graph_of({784, 500, 300, 10});
  const JobPlan plan = plan_propagation(graph, config_with());
  const JobPlan whole = make_plan(graph, config_with(), 100);
  EXPECT_EQ(plan.sample_chunk, whole.sample_chunk);
  EXPECT_EQ(plan.neuron_tile, whole.neuron_tile);
  const Index smallest = plan.smallest_memory();
  EXPECT_NO_THROW(static_cast<void>(plan_propagation(graph, config_with({{"memory_per_rank", smallest}}))));
  EXPECT_THROW(static_cast<void>(plan_propagation(graph, config_with({{"memory_per_rank", smallest - 1}}))), Error);
}

TEST(Plan, PatchesAreDrawnByTheLayersOrdinalAndTheSeed) {
  // A node between two layers, as a normalization that folding takes away, makes no difference.
  net::Graph plain = graph_of({4, 3, 2});
  net::Graph longer = plain;
  longer.nodes.insert(longer.nodes.begin() + 2, longer.nodes[1]);
  longer.nodes[2].name = "relu";
  longer.nodes[2].op = net::Op::relu;
  longer.nodes[2].inputs = {1};
  longer.nodes[2].parameters.clear();
  longer.nodes[3].inputs = {2};
  longer.output = 3;
  const auto seeds = [](const net::Graph& graph, int seed) {
    std::vector<std::uint64_t> found;
    for (const LayerPlan& layer : make_plan(graph, config_with({{"quantization", {{"patch_seed", seed}}}}), 10).layers)
      found.push_back(layer.patch_seed);
    return found;
  };
  const auto first = seeds(plain, 0);
  EXPECT_NE(first[0], first[1]);
  EXPECT_EQ(first, seeds(longer, 0));
  EXPECT_NE(first[0], seeds(plain, 1)[0]);
  EXPECT_NE(first[1], seeds(plain, 1)[1]);
}

TEST(PlanErrors, RulesThatMatchNothing) {
  const Config config = config_with({{"quantization", {{"layers", {{{"match", "conv.*"}, {"levels", 4}}}}}}});
  const std::string text = input_error([&] { static_cast<void>(make_plan(graph_of({4, 3, 2}), config, 10)); });
  EXPECT_TRUE(mentions(text, "'conv.*' matches no layer"));
  EXPECT_TRUE(mentions(text, "fc1, fc2"));
}

TEST(PlanErrors, NothingToQuantize) {
  const Config config = config_with({{"quantization", {{"layers", {{{"match", ".*"}, {"skip", true}}}}}}});
  EXPECT_TRUE(mentions(input_error([&] {
                         static_cast<void>(make_plan(graph_of({4, 3, 2}), config, 10));
                       }),
                       "nothing to quantize"));
}

TEST(Plan, ASearchKeepsTheOutputsThatAPathKeeps) {
  const net::Graph graph = graph_of({4096, 4096, 10});
  const auto layer = [&](const Json& quantization, Index samples) {
    Json with = {{"form", "residual"}};
    with.update(quantization);
    return make_plan(graph, config_with({{"quantization", with}}), samples).layers[0];
  };
  const Json search = {{"radius", {{"rule", "search"}}}};
  EXPECT_TRUE(layer(Json::object(), 150000).path.keeps_outputs);
  const LayerPlan searched = layer(search, 150000);
  EXPECT_TRUE(searched.path.keeps_outputs);
  EXPECT_EQ(searched.tile_bytes, 5 * layer(Json::object(), 150000).tile_bytes);  // and they are counted
  EXPECT_GT(searched.tile_bytes, Index{1} << 30);
  EXPECT_FALSE(layer(search, 400000).path.keeps_outputs);  // but not beyond what ranks have
  EXPECT_LT(layer(search, 400000).tile_bytes, Index{3} << 30);
}

// What nobody takes is not computed where the products tell the error: a form without m·N·n flops.
TEST(Plan, TheLastLayersOutputsAreNoReasonForAForm) {
  const auto layers = [](const std::vector<Index>& widths, const char* form) {
    return make_plan(graph_of(widths), config_with({{"quantization", {{"form", form}}}}), 16384).layers;
  };
  const LayerPlan alone = layers({2048, 2048}, "auto").front();
  EXPECT_EQ(alone.form, Form::gram);
  EXPECT_TRUE(alone.error_from_products);
  EXPECT_FALSE(layers({2048, 2048}, "residual").front().error_from_products);
  const std::vector<LayerPlan> two = layers({2048, 2048, 2048}, "auto");
  EXPECT_EQ(two.front().form, Form::residual);  // the second layer takes its outputs
  EXPECT_FALSE(layers({2048, 2048, 2048}, "gram").front().error_from_products);
  // X is not Xq: K and L, which pay where there are neurons enough, and are kept of few inputs enough.
  const LayerPlan last = layers({2048, 2048, 2048}, "gram").back();
  EXPECT_TRUE(last.error_from_products);
  EXPECT_TRUE(last.gram_extent().compares);
  const LayerPlan few = layers({2048, 2048, 100}, "gram").back();
  EXPECT_FALSE(few.error_from_products);
  EXPECT_FALSE(layers({64, 4160, 4160}, "gram").back().error_from_products);
  EXPECT_TRUE(layers({64, 65, 57}, "gram").back().error_from_products);
}

TEST(Plan, AnOrderIsNoReasonForAForm) {
  const auto form = [](const std::vector<Index>& widths, const char* order) {
    return make_plan(graph_of(widths), config_with({{"quantization", {{"order", order}}}}), 2000).layers[0].form;
  };
  for (const char* order : {"natural", "activation"}) {
    EXPECT_EQ(form({4096, 512, 10}, order), Form::residual) << order;
    EXPECT_EQ(form({65536, 65536, 10}, order), Form::residual) << order;
    EXPECT_EQ(form({64, 512, 10}, order), Form::gram) << order;
  }
  const Config pinned = config_with({{"quantization", {{"order", "activation"}, {"form", "residual"}}}});
  EXPECT_EQ(make_plan(graph_of({64, 512, 10}), pinned, 2000).layers[0].form, Form::residual);
  EXPECT_EQ(make_plan(conv_graph(8, 1), pinned, 100).layers[0].form, Form::residual);
  EXPECT_EQ(make_plan(conv_graph(8, 1), config_with({{"quantization", {{"order", "activation"}}}}), 100).layers[0].reason,
            "order activation");
}

TEST(PlanErrors, DiffusionThatDoesNotFitNamesWhatWouldDo) {
  for (const char* method : {"optq", "qronos"}) {
    const Json small = {{"memory_per_rank", "256MiB"}, {"quantization", {{"method", method}}}};
    const std::string text = input_error([&] { static_cast<void>(make_plan(graph_of({8192, 64, 10}), config_with(small), 500)); });
    for (const char* part : {"fc1", "gpfq", "quantization.refine", "memory_per_rank"}) EXPECT_TRUE(mentions(text, part)) << text;
  }
}

TEST(Plan, BlockIsAsAskedFor) {
  const Config config = config_with({{"quantization", {{"block", 17}}}});
  const JobPlan plan = make_plan(graph_of({100, 30, 5}), config, 10);
  EXPECT_EQ(plan.layers[0].path.block_width, 17);
  const JobPlan usual = make_plan(graph_of({100, 30, 5}), config_with(), 10);
  EXPECT_LT(plan.layers[0].shared_bytes, usual.layers[0].shared_bytes);
  EXPECT_LT(plan.layers[0].tile_bytes, usual.layers[0].tile_bytes);
}

}  // namespace
}  // namespace gpfq::job
