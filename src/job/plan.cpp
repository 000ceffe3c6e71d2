// SPDX-License-Identifier: Apache-2.0
// The arithmetic of the plan.
#include "gpfq/job/plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <regex>

#include "gpfq/base/error.hpp"
#include "gpfq/base/text.hpp"
#include "gpfq/quant/tile_path.hpp"

namespace gpfq::job {
namespace {

constexpr Index float_bytes = sizeof(float);
// Inputs per block. 128 ran up to a tenth faster on one rank (784×500, 25,000 samples: 14.0 times the column-wise
// form where 64 gave 12.5, 32 gave 10.4), but every rank forms G and C of the whole layer, which costs b/2n of the
// path for n neurons per rank: 64 keeps that small when a layer is shared by several ranks.
constexpr Index default_block = 64;
// Rows of one product of the path. Long enough that adding in fixed point costs about 1 %.
constexpr Index path_chunk = 2048;
// At least four tiles per layer where there are neurons enough; at most 256 neurons. Wider tiles read a block from
// memory less often (784×500: tiles of 64, 128, 256 gave 0.57, 0.64, 0.65 of the product rate).
constexpr Index fewest_tiles = 4;
constexpr Index widest_tile = 256;
// Floats of one chunk or weight tile of propagation.
constexpr Index propagation_floats = Index{1} << 20;

Index tile_width(Index neurons) {
  return std::clamp(round_up(ceil_div(neurons, fewest_tiles), alignment_floats), alignment_floats, widest_tile);
}

void check_rules(const net::Graph& graph, const Config& config) {
  for (const Config::Rule& rule : config.rules) {
    const std::regex pattern(rule.match);
    std::string names;
    bool matches = false;
    for (const net::Node& node : graph.nodes) {
      if (!net::is_linear(node.op)) continue;
      matches = matches || std::regex_match(node.name, pattern);
      names += (names.empty() ? "" : ", ") + node.name;
    }
    if (!matches)
      throw_input("config: quantization.layers: '{}' matches no layer (a match is for the whole name)\n  layers: {}",
                  rule.match, names);
  }
}

LayerPlan plan_layer(const net::Graph& graph, int index, const Config& config, Index samples, bool shared) {
  const net::Node& node = graph.node(index);
  const LayerSettings settings = config.settings_for(node.name);
  const Shape& weight = graph.tensor_shape(node.parameters.at("weight"));
  LayerPlan plan;
  plan.node = index;
  plan.name = node.name;
  plan.tensor = node.parameters.at("weight");
  plan.quantized = !settings.skip;
  plan.method = settings.method;
  plan.neurons = weight.front();
  plan.path.samples = samples;
  plan.path.inputs = element_count(weight) / weight.front();
  plan.path.block_width = std::min(config.block > 0 ? config.block : default_block, plan.path.inputs);
  plan.path.sample_chunk = path_chunk;
  plan.path.shared = shared;
  plan.tile_width = tile_width(plan.neurons);
  if (plan.quantized && plan.method == Method::gpfq) {
    const double mNn = static_cast<double>(samples) * static_cast<double>(plan.path.inputs) * static_cast<double>(plan.neurons);
    plan.flops = (shared ? 4 : 6) * mNn;
    plan.path_bytes = quant::InputBlock::bytes(plan.path) + quant::TilePath::bytes(plan.path, plan.tile_width);
  }
  return plan;
}

void check_memory(const JobPlan& plan, const Config& config) {
  std::string reason;
  const Index smallest = plan.smallest_memory(&reason);
  if (config.memory_per_rank >= smallest) return;
  throw_input("config: 'memory_per_rank' is {} ({} bytes), the smallest that this job runs in is {} bytes ({})\n  {}",
              format_bytes(config.memory_per_rank), config.memory_per_rank, smallest, format_bytes(smallest), reason);
}

/// Chunk and tile of propagation: functions of the graph's widest value alone.
JobPlan propagation_numbers(const net::Graph& graph) {
  JobPlan plan;
  Index widest = 1;
  for (const net::Node& node : graph.nodes) widest = std::max(widest, element_count(node.shape));
  const Index rows = propagation_floats / widest / alignment_floats * alignment_floats;
  plan.sample_chunk = std::clamp(rows, alignment_floats, Index{256});
  plan.neuron_tile = plan.sample_chunk;
  plan.weight_tile_bytes = 2 * plan.neuron_tile * widest * float_bytes;  // a tile and a chunk's product
  plan.propagation_bytes =
      plan.sample_chunk * propagation_bytes_per_sample(graph, 0, graph.size()) + plan.weight_tile_bytes;
  return plan;
}

}  // namespace

std::vector<bool> differing_nodes(const net::Graph& graph, const std::vector<bool>& quantized) {
  std::vector<bool> differs(graph.nodes.size(), false);
  for (int index = 0; index < graph.size(); ++index) {
    const std::size_t at = static_cast<std::size_t>(index);
    differs[at] = quantized[at];
    for (const int from : graph.node(index).inputs) differs[at] = differs[at] || differs[static_cast<std::size_t>(from)];
  }
  return differs;
}

Index propagation_bytes_per_sample(const net::Graph& graph, int first, int last) {
  // Both networks' live values, the transposed copy of what is written, and the first layer's two outputs.
  return float_bytes * 3 * net::peak_floats_per_sample(graph, first, last);
}

Index tiles_per_wave(const LayerPlan& layer, Index memory_per_rank) {
  const Index room = memory_per_rank - quant::InputBlock::bytes(layer.path);
  return std::max<Index>(1, room / quant::TilePath::bytes(layer.path, layer.tile_width));
}

Index samples_per_wave(const JobPlan& plan, const net::Graph& graph, int first, int last, Index memory_per_rank) {
  const Index chunk_bytes = plan.sample_chunk * propagation_bytes_per_sample(graph, first, last);
  return plan.sample_chunk * std::max<Index>(1, (memory_per_rank - plan.weight_tile_bytes) / chunk_bytes);
}

Index JobPlan::smallest_memory(std::string* reason) const {
  Index smallest = propagation_bytes;
  std::string what = fmt::format("propagating {} samples at a time needs it", sample_chunk);
  for (const LayerPlan& layer : layers) {
    if (layer.path_bytes <= smallest) continue;
    smallest = layer.path_bytes;
    what = fmt::format("layer '{}' needs it for blocks of {} inputs and tiles of {} neurons; a smaller "
                       "'quantization.block' or fewer samples need less",
                       layer.name, layer.path.block_width, layer.tile_width);
  }
  if (reason != nullptr) *reason = what;
  return smallest;
}

std::vector<const LayerPlan*> JobPlan::quantized_layers() const {
  std::vector<const LayerPlan*> result;
  for (const LayerPlan& layer : layers)
    if (layer.quantized) result.push_back(&layer);
  return result;
}

JobPlan plan_propagation(const net::Graph& graph, const Config& config) {
  JobPlan plan = propagation_numbers(graph);
  check_memory(plan, config);
  return plan;
}

JobPlan make_plan(const net::Graph& graph, const Config& config, Index samples) {
  check_rules(graph, config);
  JobPlan plan = propagation_numbers(graph);
  plan.samples = samples;
  std::vector<bool> quantized(graph.nodes.size(), false);
  for (int index = 0; index < graph.size(); ++index) {
    const net::Node& node = graph.node(index);
    if (!net::is_linear(node.op)) continue;
    const bool shared = !differing_nodes(graph, quantized)[static_cast<std::size_t>(node.inputs.front())];
    plan.layers.push_back(plan_layer(graph, index, config, samples, shared));
    quantized[static_cast<std::size_t>(index)] = plan.layers.back().quantized;
  }
  if (plan.quantized_layers().empty())
    throw_input("there is nothing to quantize: the network has {} linear layers, {} of them skipped by the config",
                plan.layers.size(), plan.layers.size());

  for (const LayerPlan* layer : plan.quantized_layers()) {
    Index floats = 0;
    for (const int live : net::live_at(graph, layer->node)) floats += element_count(graph.node(live).shape);
    // The old and the new activations stand side by side while they are propagated.
    plan.store_bytes = std::max(plan.store_bytes, 2 * 2 * floats * samples * float_bytes);
  }
  for (const auto& [name, shape] : graph.tensors) plan.output_bytes += element_count(shape) * float_bytes;
  check_memory(plan, config);
  return plan;
}

std::string plan_table(const JobPlan& plan, const Config& config, int ranks) {
  std::string text = fmt::format("{:<24} {:>8} {:>8} {:>8} {:>6} {:<9} {:>6} {:>6} {:>6} {:>10} {:>10}\n", "layer", "inputs",
                                 "neurons", "samples", "levels", "form", "block", "tile", "waves", "Gflop", "memory");
  for (const LayerPlan& layer : plan.layers) {
    if (!layer.quantized) {
      text += fmt::format("{:<24} {:>8} {:>8} {:>8} kept as it is\n", layer.name, layer.path.inputs, layer.neurons,
                          layer.path.samples);
      continue;
    }
    const ShardPlan shard(layer.neurons, layer.tile_width, ranks);
    const bool streams = layer.method == Method::gpfq;
    const Index tile_bytes = quant::TilePath::bytes(layer.path, layer.tile_width);
    const Index wave = std::min(tiles_per_wave(layer, config.memory_per_rank), shard.most_pieces());
    text += fmt::format("{:<24} {:>8} {:>8} {:>8} {:>6} {:<9} {:>6} {:>6} {:>6} {:>10.2f} {:>10}\n", layer.name,
                        layer.path.inputs, layer.neurons, layer.path.samples, config.settings_for(layer.name).levels,
                        streams ? "residual" : "rounding", streams ? layer.path.block_width : 0, layer.tile_width,
                        streams ? ceil_div(shard.most_pieces(), wave) : 1, layer.flops * 1e-9,
                        streams ? format_bytes(quant::InputBlock::bytes(layer.path) + wave * tile_bytes) : "-");
  }
  std::string reason;
  const Index smallest = plan.smallest_memory(&reason);
  text += fmt::format("{} ranks; smallest memory_per_rank {} ({} bytes: {}); scratch on disk {}, results {}\n", ranks,
                      format_bytes(smallest), smallest, reason, format_bytes(plan.store_bytes),
                      format_bytes(plan.output_bytes));
  return text;
}

}  // namespace gpfq::job
