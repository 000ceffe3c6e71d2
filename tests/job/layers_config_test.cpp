// SPDX-License-Identifier: Apache-2.0
// The config of layers without a network, and the plan for them.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "gpfq/job/plan.hpp"
#include "job/config_testing.hpp"
#include "support/errors.hpp"

namespace gpfq::job {
namespace {

using Json = nlohmann::json;
using test::input_error;
using test::mentions;

/// The least that a layer needs, with `more` merged in (null removes a key).
Json layer(const std::string& name, const Json& more = Json::object()) {
  Json entry = {{"name", name}, {"weight", {{"file", "w.npy"}}}, {"inputs", {{"file", "x.npy"}}}};
  entry.merge_patch(more);
  return entry;
}

Json config_of(const std::vector<Json>& layers) { return {{"layers", layers}}; }

TEST(LayersConfig, EveryKey) {
  const Config config = parse(config_of(
      {layer("fc1"),
       layer("fc2", {{"weight", {{"file", "/w.h5"}, {"tensor", "a/b"}, {"layout", "in_out"}, {"dtype", "bfloat16"}}},
                     {"inputs", {{"file", "x.h5"}, {"tensor", "x"}}},
                     {"quantized_inputs", {{"file", "q.h5"}, {"tensor", "q"}}},
                     {"samples", 7}}),
       layer("fc3", {{"weight", {{"layout", "out_in"}}}})}));
  EXPECT_FALSE(config.has_network());
  ASSERT_EQ(config.layers.size(), 3U);
  const LayerSource& first = config.layers[0];
  EXPECT_EQ(first.name, "fc1");
  EXPECT_EQ(first.weight.file, "/here/w.npy");
  EXPECT_EQ(first.weight.tensor, "");
  EXPECT_FALSE(first.weight.is_bfloat16);
  EXPECT_FALSE(first.is_transposed);
  EXPECT_EQ(first.inputs.file, "/here/x.npy");
  EXPECT_FALSE(first.quantized_inputs.has_value());
  EXPECT_EQ(first.samples, 0);
  const LayerSource& second = config.layers[1];
  EXPECT_EQ(second.weight.file, "/w.h5");
  EXPECT_EQ(second.weight.tensor, "a/b");
  EXPECT_TRUE(second.weight.is_bfloat16);
  EXPECT_TRUE(second.is_transposed);
  EXPECT_EQ(second.inputs.tensor, "x");
  EXPECT_FALSE(second.inputs.is_bfloat16);
  ASSERT_TRUE(second.quantized_inputs.has_value());
  EXPECT_EQ(second.quantized_inputs->file, "/here/q.h5");
  EXPECT_EQ(second.samples, 7);
  EXPECT_TRUE(
      parse({{"model", "m"}, {"calibration", {{"file", "f"}, {"inputs", "x"}}}, {"layers", nullptr}}).has_network());
}

TEST(LayersConfig, NeedsNoNetworkAndNothingOfOne) {
  for (const char* key : {"calibration", "evaluation", "preprocess"}) {
    Json config = config_of({layer("fc1")});
    config[key] = Json::object();
    EXPECT_TRUE(mentions(refusal(config), std::string("'") + key + "' is given beside 'layers'"));
  }
  Json config = config_of({layer("fc1")});
  config["model"] = "net.onnx";
  EXPECT_TRUE(mentions(refusal(config), "'model' is given beside 'layers'"));
  EXPECT_TRUE(mentions(refusal(config_of({})), "'layers' is empty"));
}

TEST(LayersConfig, MistakesNameTheEntryAndTheKey) {
  const auto second = [](const Json& more) { return refusal(config_of({layer("fc1"), layer("fc2", more)})); };
  EXPECT_TRUE(mentions(second({{"wieght", Json::object()}}),
                       "unknown key 'layers[1].wieght'; did you mean 'layers[1].weight'?"));
  EXPECT_TRUE(mentions(second({{"inputs", {{"tensr", "x"}}}}), "did you mean 'layers[1].inputs.tensor'?"));
  EXPECT_TRUE(mentions(second({{"name", nullptr}}), "'layers[1].name' is missing"));
  EXPECT_TRUE(mentions(second({{"name", "fc1"}}), "'layers[1].name' is \"fc1\", which another layer has"));
  EXPECT_TRUE(mentions(second({{"name", "a/b"}}), "without '/'"));
  EXPECT_TRUE(mentions(second({{"name", "a\nb"}}), "control characters"));
  EXPECT_TRUE(mentions(second({{"weight", nullptr}}), "'layers[1].weight.file' is missing"));
  EXPECT_TRUE(mentions(second({{"inputs", {{"file", nullptr}}}}), "'layers[1].inputs.file' is missing"));
  EXPECT_TRUE(
      mentions(second({{"quantized_inputs", {{"tensor", "x"}}}}), "'layers[1].quantized_inputs.file' is missing"));
  EXPECT_TRUE(mentions(second({{"weight", {{"layout", "HWIO"}}}}), "'layers[1].weight.layout' is \"HWIO\""));
  EXPECT_TRUE(mentions(second({{"inputs", {{"dtype", "float32"}}}}), "'layers[1].inputs.dtype' is \"float32\""));
  EXPECT_TRUE(mentions(second({{"samples", -1}}), "'layers[1].samples' is -1"));
  EXPECT_TRUE(mentions(second({{"samples", "all"}}), "'layers[1].samples' is \"all\", expected an integer"));
  EXPECT_TRUE(mentions(second({{"inputs", 3}}), "'layers[1].inputs' is 3, expected an object"));
  EXPECT_TRUE(mentions(refusal({{"layers", {3}}}), "'layers[0]' is 3, expected an object"));
  EXPECT_TRUE(mentions(refusal({{"layers", 3}}), "'layers' is 3, expected a list"));
  EXPECT_TRUE(mentions(refusal({{"layers[]", layer("fc1")}}), "unknown key 'layers[]'"));
}

/// A graph of layers, inputs × neurons each.
net::Graph layers_graph(const std::vector<std::pair<Index, Index>>& layers) {
  net::Graph graph;
  for (const auto& [inputs, neurons] : layers) {
    const std::string name = "fc" + std::to_string(graph.size() / 2);
    net::Node input;
    input.name = name + ".inputs";
    input.shape = {inputs};
    graph.nodes.push_back(input);
    net::Node node;
    node.name = name;
    node.op = net::Op::dense;
    node.inputs = {graph.size() - 1};
    node.shape = {neurons};
    node.parameters["weight"] = name + ".weight";
    graph.nodes.push_back(node);
    graph.tensors[name + ".weight"] = {neurons, inputs};
  }
  net::validate(graph);
  return graph;
}

TEST(LayersPlan, EveryLayerIsPlannedByItself) {
  const Config config = parse(config_of({layer("any")}));
  const net::Graph graph = layers_graph({{300, 40}, {20, 500}});
  const JobPlan plan = make_layers_plan(graph, config, {{1000, true}, {64, false}});
  ASSERT_EQ(plan.layers.size(), 2U);
  EXPECT_EQ(plan.samples, 1000);
  EXPECT_EQ(plan.layers[0].node, 1);
  EXPECT_EQ(plan.layers[0].path.samples, 1000);
  EXPECT_TRUE(plan.layers[0].path.shared);
  EXPECT_EQ(plan.layers[1].node, 3);
  EXPECT_EQ(plan.layers[1].path.samples, 64);
  EXPECT_FALSE(plan.layers[1].path.shared);
  EXPECT_EQ(code_bytes(plan), 300 * 40 + 20 * 500);
  EXPECT_GE(plan.output_bytes, code_bytes(plan) + 12 * (40 + 500));
  EXPECT_LT(plan.output_bytes, code_bytes(plan) + 12 * (40 + 500) + 40000);  // with HDF5's tables
  EXPECT_GE(plan.store_bytes, 4 * 300 * 1000);
  EXPECT_LT(plan.store_bytes, 4 * 300 * 1000 + 65536);  // with HDF5's tables  // one layer's at a time
  for (std::size_t i = 0; i < 2; ++i) {
    const JobPlan alone = plan_alone(graph, plan.layers[i]);
    EXPECT_EQ(alone.samples, plan.layers[i].path.samples);
    EXPECT_LE(alone.propagation_bytes, plan.propagation_bytes);
    EXPECT_GE(plan.smallest_memory(), alone.smallest_memory());
  }
}

TEST(LayersPlan, AVeryWideLayerNeedsNoMatrixInMemory) {
  const Index wide = 65536;
  const net::Graph graph = layers_graph({{wide, wide}});
  const JobPlan plan = make_layers_plan(graph, parse(config_of({layer("any")})), {{4096, false}});
  EXPECT_LT(plan.smallest_memory(), Index{1} << 30);
  EXPECT_GE(plan.store_bytes, 2 * 4 * wide * 4096);
}

TEST(LayersPlan, RulesAndMemoryAreChecked) {
  Json json = config_of({layer("any")});
  json["quantization"] = {{"layers", {{{"match", "fc.*"}, {"skip", true}}}}};
  const net::Graph graph = layers_graph({{300, 40}});
  EXPECT_TRUE(mentions(input_error([&] {
                         static_cast<void>(make_layers_plan(graph, parse(json), {{8, true}}));
                       }),
                       "nothing to quantize"));
  json["quantization"] = {{"layers", {{{"match", "conv.*"}, {"skip", true}}}}};
  EXPECT_TRUE(mentions(input_error([&] {
                         static_cast<void>(make_layers_plan(graph, parse(json), {{8, true}}));
                       }),
                       "'conv.*' matches no layer"));
  json = config_of({layer("any")});
  json["memory_per_rank"] = 1000;
  EXPECT_TRUE(mentions(input_error([&] {
                         static_cast<void>(make_layers_plan(graph, parse(json), {{8, true}}));
                       }),
                       "memory_per_rank"));
}

}  // namespace
}  // namespace gpfq::job
