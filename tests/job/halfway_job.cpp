// SPDX-License-Identifier: Apache-2.0
#include "job/halfway_job.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "gpfq/job/config.hpp"
#include "job/tile_states.hpp"

namespace gpfq::job {
namespace {

TileReport report_of(const LayerPlan& layer, Index tile) {
  const TileBox box = tile_box(layer, tile);
  TileReport report;
  report.first_neuron = box.first_neuron;
  report.neurons = box.neurons;
  report.first_input = box.first_input;
  report.inputs = box.inputs;
  return report;
}

TileRecord begun_tile() {
  TileRecord begun;
  begun.tile = 1;
  begun.pass = 1;
  begun.file = "state-4.h5";
  begun.state.next_input = 32;
  begun.state.saturated = {1, 2, 3, 4};
  begun.state.squared_norms = begun.state.gains = {0.5, 0.25, 1.0, 2.0};
  begun.state.sweep_gains = {0.5};
  begun.pieces = {{0, {"p", "q"}}, {1, {"r", "s"}}};
  return begun;
}

}  // namespace

HalfwayJob::HalfwayJob() {
  graph.nodes.resize(3);
  graph.nodes[0].name = "x";
  graph.nodes[0].shape = {40};
  for (int i = 1; i <= 2; ++i) {
    net::Node& node = graph.nodes[static_cast<std::size_t>(i)];
    node.name = fmt::format("fc{}", i);
    node.op = net::Op::dense;
    node.inputs = {i - 1};
    node.shape = {i == 1 ? Index{300} : Index{600}};
    node.parameters["weight"] = node.name + ".weight";
    graph.tensors[node.name + ".weight"] = {node.shape.front(), graph.nodes[static_cast<std::size_t>(i) - 1].shape.front()};
  }
  graph.output = 2;
  plan = make_plan(graph, parse_config(R"({"model": "m", "calibration": {"file": "d", "inputs": "x"}, "quantization":
      {"form": "residual", "block": 16, "bias_correction": false, "refine": {"sweeps": 2}}})", "/here", "job.json"), 100);
  const LayerPlan& first = *plan.quantized_layers().at(0);
  const LayerPlan& second = *plan.quantized_layers().at(1);

  const store::FileFrame frame{1000, {{16, 8}, {100, 200}}, std::string(64, 'd')};
  checkpoint.fingerprint = {{"model", "abc"}, {"quantization.levels", "3"}};
  checkpoint.result = frame;
  checkpoint.states["state-4.h5"] = frame;
  checkpoint.serial = 4;
  checkpoint.ranks = 2;
  checkpoint.time = 1700000000;
  checkpoint.tensors.push_back({1, 0, true, frame, std::vector<double>(300, 1.0), std::string(64, 'e')});
  checkpoint.evaluations[0].done = {{0, 3}, {5, 6}};

  LayerRecord& done = checkpoint.layers.emplace_back();
  done.radius.assign(300, 1.0F);
  done.step.assign(300, 0.5F);
  done.report.seconds = {{"path", 1.5}, {"read", 0.5}};
  done.analog_sha256 = done.quantized_sha256 = std::string(64, 'a');
  for (Index tile = 0; tile < first.tile_count(); ++tile) done.report.tiles.push_back(report_of(first, tile));

  LayerProgress& progress = checkpoint.progress;
  progress.report.tiles.push_back(report_of(second, 0));
  progress.tiles.push_back(begun_tile());
  progress.bounds.fill(std::vector<double>(600, 1.0));
  progress.propagation = {{{0, {0.5, 1.0, {"p", "q"}}}}, {{1.0}, {2.0, 3.0}}};
  progress.known.counted = 300;
  progress.known.chosen.assign(600, -1);
  for (const Index tile : {0, 1}) {
    const TileBox box = tile_box(second, tile);
    std::fill_n(progress.known.chosen.begin() + box.first_neuron, box.neurons, 2);
  }
}

}  // namespace gpfq::job
