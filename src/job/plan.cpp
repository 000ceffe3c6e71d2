// SPDX-License-Identifier: Apache-2.0
// The arithmetic of the plan.
#include "gpfq/job/plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <regex>

#include "gpfq/base/error.hpp"
#include "gpfq/base/text.hpp"
#include "gpfq/net/patches.hpp"
#include "gpfq/quant/gram_path.hpp"
#include "gpfq/quant/tile_path.hpp"
#include "job/grid.hpp"

namespace gpfq::job {
namespace {

constexpr Index float_bytes = sizeof(float);
// Inputs per block. 128 ran up to a tenth faster on one rank (784×500, 25,000 samples: 14.0 times the column-wise
// form where 64 gave 12.5, 32 gave 10.4), but every rank forms G and C of the whole layer, which costs b/2n of the
// path for n neurons per rank: 64 keeps that small when a layer is shared by several ranks.
constexpr Index default_block = 64;
// Panels of G and C. Wide ones make the recursion's products deep; the recursion inside a panel stays below a tenth.
constexpr Index default_panel = 128;
// Rows of one product of the path. Long enough that adding in fixed point costs about 1 %.
constexpr Index path_chunk = 2048;
// At least four tiles per layer where there are neurons enough; at most 256 neurons. Wider tiles read a block from
// memory less often (784×500: tiles of 64, 128, 256 gave 0.57, 0.64, 0.65 of the product rate).
constexpr Index fewest_tiles = 4;
constexpr Index widest_tile = 256;
// Most inputs for which G and C are formed without being asked to: their triangles then take 400 MiB.
constexpr Index most_gram_inputs = 5792;
// A convolution's residual is kept only where a block and a tile over all rows stay below this.
constexpr Index residual_limit_bytes = Index{256} << 20;
// Floats of the widest value in a unit of samples, and of a weight tile in propagation.
constexpr Index unit_floats = Index{1} << 18;
constexpr Index weight_tile_floats = Index{1} << 20;
// Values of a wave of samples in propagation that are worth keeping together.
constexpr Index useful_wave_bytes = Index{16} << 20;
constexpr Index most_samples_per_unit = 256;
constexpr Index fewest_product_rows = 16;

Index choose_tile_width(Index neurons) {
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

/// Shapes of the problems that a layer falls into.
void set_problems(const net::Graph& graph, const net::Node& node, const Config& config, Index samples, LayerPlan& plan) {
  const Shape& weight = graph.tensor_shape(plan.tensor);
  plan.neurons = weight.front();
  plan.inputs = element_count(weight) / weight.front();
  plan.problem_neurons = plan.neurons;
  plan.path.inputs = plan.inputs;
  plan.is_conv = node.op == net::Op::conv;
  if (plan.is_conv) {
    const net::ConvGeometry geometry = net::conv_geometry(graph, node);
    const double used = std::round(config.patch_fraction * static_cast<double>(geometry.positions()));
    plan.rows_per_sample = std::clamp<Index>(static_cast<Index>(used), 1, geometry.positions());
    plan.groups = geometry.groups;
    plan.channelwise = config.channelwise;
    plan.problems = plan.channelwise ? geometry.channels : geometry.groups;
    plan.problem_neurons = plan.neurons / geometry.groups;
    if (plan.channelwise) plan.path.inputs = geometry.kernel_height * geometry.kernel_width;
  }
  plan.path.samples = samples * plan.rows_per_sample;
  plan.path.sample_chunk = path_chunk;
  plan.tile_width = choose_tile_width(plan.problem_neurons);
}

/// Flops per row and input of one problem.
double residual_cost(const LayerPlan& plan, Index block) {
  const double n = static_cast<double>(plan.problem_neurons);
  return plan.path.shared ? 4 * n + 2.0 * static_cast<double>(block) : 6 * n + 4.0 * static_cast<double>(block);
}

double gram_cost(const LayerPlan& plan) {
  const double N = static_cast<double>(plan.path.inputs);
  const double recursion = 2 * N * static_cast<double>(plan.problem_neurons) / static_cast<double>(plan.path.samples);
  return (plan.path.shared ? 1 : 2) * N + recursion;
}

Index residual_bytes(const LayerPlan& plan, Index block) {
  quant::PathShape shape = plan.path;
  shape.block_width = std::min(block, shape.inputs);
  return quant::InputBlock::bytes(shape) + quant::TilePath::bytes(shape, plan.tile_width);
}

void choose_form(const LayerSettings& settings, Index block, LayerPlan& plan) {
  if (plan.method == Method::msq) {
    plan.form = Form::rounding;
    plan.reason = "method msq";
  } else if (plan.problems > 1) {
    plan.form = Form::gram;
    plan.reason = plan.channelwise ? "one problem per input channel" : "one problem per group";
  } else if (settings.form != FormChoice::automatic) {
    plan.form = settings.form == FormChoice::gram ? Form::gram : Form::residual;
    plan.reason = "pinned";
  } else if (!plan.is_conv) {
    plan.form = Form::residual;
    plan.reason = "dense";
  } else if (plan.path.inputs > most_gram_inputs) {
    plan.form = Form::residual;
    plan.reason = "too many inputs for G and C";
  } else if (gram_cost(plan) <= residual_cost(plan, block)) {
    plan.form = Form::gram;
    plan.reason = "fewer flops";
  } else if (residual_bytes(plan, block) > residual_limit_bytes) {
    plan.form = Form::gram;
    plan.reason = "too many rows for a residual";
  } else {
    plan.form = Form::residual;
    plan.reason = "fewer flops";
  }
}

/// Samples whose maps must be at hand for one chunk of rows.
Index samples_per_chunk(const LayerPlan& plan) { return ceil_div(plan.path.sample_chunk, plan.rows_per_sample) + 1; }

void set_costs(const net::Graph& graph, LayerPlan& plan) {
  const int networks = plan.path.shared ? 1 : 2;
  const double entries = static_cast<double>(plan.path.samples) * static_cast<double>(plan.path.inputs) *
                         static_cast<double>(plan.problems);
  const Index map_floats = element_count(graph.node(graph.node(plan.node).inputs.front()).shape);
  const Index window = plan.is_conv ? networks * samples_per_chunk(plan) * map_floats * float_bytes : 0;
  if (plan.form == Form::gram) {
    plan.flops = entries * gram_cost(plan);
    plan.shared_bytes =
        plan.problems * quant::GramProducts::bytes(plan.path.inputs, plan.path.block_width, plan.path.shared) +
        networks * path_chunk * plan.path.inputs * float_bytes + window;
    plan.tile_bytes = quant::Tile::bytes(plan.path.inputs, plan.path.block_width, plan.tile_width) +
                      quant::gram_path_bytes(plan.path.inputs, plan.path.block_width, plan.tile_width);
  } else if (plan.form == Form::residual) {
    plan.flops = entries * static_cast<double>(plan.problem_neurons) * (plan.path.shared ? 4 : 6);
    plan.shared_bytes = quant::InputBlock::bytes(plan.path) + window;
    plan.tile_bytes = quant::TilePath::bytes(plan.path, plan.tile_width);
  } else {
    plan.tile_bytes = plan.tile_width * plan.inputs * 5;
  }
}

LayerPlan plan_layer(const net::Graph& graph, int index, const Config& config, Index samples, bool shared) {
  const net::Node& node = graph.node(index);
  const LayerSettings settings = config.settings_for(node.name);
  LayerPlan plan;
  plan.node = index;
  plan.name = node.name;
  plan.tensor = node.parameters.at("weight");
  plan.quantized = !settings.skip;
  plan.method = settings.method;
  plan.path.shared = shared;
  set_problems(graph, node, config, samples, plan);
  choose_form(settings, config.block > 0 ? config.block : default_block, plan);
  const Index usual = plan.form == Form::gram ? default_panel : default_block;
  plan.path.block_width = std::min(config.block > 0 ? config.block : usual, plan.path.inputs);
  if (plan.quantized) set_costs(graph, plan);
  return plan;
}

void check_memory(const JobPlan& plan, const Config& config) {
  std::string reason;
  const Index smallest = plan.smallest_memory(&reason);
  if (config.memory_per_rank >= smallest) return;
  throw_input("config: 'memory_per_rank' is {} ({} bytes), the smallest that this job runs in is {} bytes ({})\n  {}",
              format_bytes(config.memory_per_rank), config.memory_per_rank, smallest, format_bytes(smallest), reason);
}

/// Units, chunks and tiles of propagation: functions of the graph's widest values alone.
JobPlan propagation_numbers(const net::Graph& graph) {
  JobPlan plan;
  Index widest = 1;
  Index widest_row = 1;
  for (const net::Node& node : graph.nodes) {
    widest = std::max(widest, element_count(node.shape));
    if (!net::is_linear(node.op)) continue;
    const Shape& weight = graph.tensor_shape(node.parameters.at("weight"));
    widest_row = std::max(widest_row, element_count(weight) / weight.front());
  }
  const Index samples = std::clamp(unit_floats / widest, Index{1}, most_samples_per_unit);
  plan.sample_unit = samples < alignment_floats ? samples : samples / alignment_floats * alignment_floats;
  plan.sample_chunk = std::max(plan.sample_unit, fewest_product_rows);
  const Index rows = weight_tile_floats / widest_row / alignment_floats * alignment_floats;
  plan.neuron_tile = std::clamp(rows, alignment_floats, Index{256});
  // A weight tile, a chunk's padded rows and its product, and what a thread takes for patches.
  plan.weight_tile_bytes = float_bytes * ((plan.neuron_tile + plan.sample_chunk) * widest_row +
                                          plan.sample_chunk * plan.neuron_tile +
                                          net::scratch_floats_per_thread(graph, 0, graph.size()));
  plan.propagation_bytes =
      plan.sample_unit * propagation_bytes_per_sample(graph, 0, graph.size()) + plan.weight_tile_bytes;
  return plan;
}

}  // namespace

std::string form_name(Form form) {
  return form == Form::residual ? "residual" : form == Form::gram ? "gram" : "rounding";
}

TileBox tile_box(const LayerPlan& layer, Index tile) {
  TileBox box;
  box.problem = tile / layer.tiles_per_problem();
  const Index first = tile % layer.tiles_per_problem() * layer.tile_width;
  const Index per_group = layer.problems / layer.groups;  // channelwise: channels of a group
  box.first_neuron = box.problem / per_group * layer.problem_neurons + first;
  box.neurons = std::min(layer.tile_width, layer.problem_neurons - first);
  box.first_input = layer.channelwise ? box.problem % per_group * layer.path.inputs : 0;
  return box;
}

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
  return std::max<Index>(1, (memory_per_rank - layer.shared_bytes) / layer.tile_bytes);
}

Index samples_per_wave(const JobPlan& plan, const net::Graph& graph, int first, int last, Index memory_per_rank) {
  // A wave reads the weights once: it is worth several times their bytes, and no more, since values that leave the
  // cache between two nodes cost more than they save.
  Index weight_bytes = 0;
  for (int node = first; node < last; ++node)
    for (const auto& [role, tensor] : graph.node(node).parameters)
      weight_bytes += element_count(graph.tensor_shape(tensor)) * float_bytes;
  const Index useful = std::max(useful_wave_bytes, 4 * weight_bytes);
  const Index room = std::min(memory_per_rank - plan.weight_tile_bytes, useful);
  const Index unit_bytes = plan.sample_unit * propagation_bytes_per_sample(graph, first, last);
  return plan.sample_unit * std::max<Index>(1, room / unit_bytes);
}

Index JobPlan::smallest_memory(std::string* reason) const {
  Index smallest = propagation_bytes;
  std::string what = fmt::format("propagating {} samples at a time needs it", sample_unit);
  for (const LayerPlan& layer : layers) {
    if (layer.shared_bytes + layer.tile_bytes <= smallest) continue;
    smallest = layer.shared_bytes + layer.tile_bytes;
    const char* less = layer.form == Form::gram && layer.problems == 1
                           ? "'quantization.form': \"residual\" may need less"
                           : "a smaller 'quantization.block' or fewer samples need less";
    what = fmt::format("layer '{}' in {} form needs it: {} inputs, {} rows, tiles of {} neurons; {}", layer.name,
                       form_name(layer.form), layer.path.inputs, layer.path.samples, layer.tile_width, less);
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
  Index before = 0;
  for (const LayerPlan* layer : plan.quantized_layers()) {
    Index floats = 0;
    for (const int live : net::live_at(graph, layer->node)) floats += element_count(graph.node(live).shape);
    // The old and the new activations stand side by side while they are propagated.
    plan.store_bytes = std::max(plan.store_bytes, 2 * (before + floats) * samples * float_bytes);
    before = floats;
  }
  for (const auto& [name, shape] : graph.tensors) plan.output_bytes += element_count(shape) * float_bytes;
  check_memory(plan, config);
  return plan;
}

JobPlan plan_alone(const net::Graph& graph, const LayerPlan& layer) {
  net::Graph alone;
  alone.nodes = {graph.node(layer.node - 1), graph.node(layer.node)};
  alone.nodes.back().inputs = {0};
  alone.output = 1;
  alone.tensors[layer.tensor] = graph.tensor_shape(layer.tensor);
  JobPlan plan = propagation_numbers(alone);
  plan.samples = layer.path.samples;
  plan.layers = {layer};
  plan.store_bytes = (layer.path.shared ? 1 : 2) * layer.inputs * plan.samples * float_bytes;
  return plan;
}

JobPlan make_layers_plan(const net::Graph& graph, const Config& config, const std::vector<LayerInputs>& inputs) {
  require(2 * static_cast<int>(inputs.size()) == graph.size(), "make_layers_plan: inputs of every layer");
  check_rules(graph, config);
  JobPlan plan;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const int node = 2 * static_cast<int>(i) + 1;
    plan.layers.push_back(plan_layer(graph, node, config, inputs[i].samples, inputs[i].shared));
    plan.output_bytes += element_count(graph.tensor_shape(plan.layers.back().tensor)) * float_bytes;
    if (!plan.layers.back().quantized) continue;
    const JobPlan alone = plan_alone(graph, plan.layers.back());
    plan.samples = std::max(plan.samples, alone.samples);
    plan.store_bytes = std::max(plan.store_bytes, alone.store_bytes);
    if (alone.propagation_bytes <= plan.propagation_bytes) continue;
    plan.propagation_bytes = alone.propagation_bytes;
    plan.weight_tile_bytes = alone.weight_tile_bytes;
    plan.sample_unit = alone.sample_unit;
    plan.sample_chunk = alone.sample_chunk;
    plan.neuron_tile = alone.neuron_tile;
  }
  if (plan.quantized_layers().empty())
    throw_input("there is nothing to quantize: the config skips all of its {} layers", plan.layers.size());
  check_memory(plan, config);
  return plan;
}

std::string plan_table(const JobPlan& plan, const Config& config, int ranks) {
  std::size_t width = 5;
  for (const LayerPlan& layer : plan.layers) width = std::max(width, layer.name.size());
  std::string text = fmt::format("{:<{}} {:>8} {:>8} {:>10} {:>6} {:<9} {:>7} {:>6} {:>5} {:>6} {:>10} {:>10}  why\n",
                                 "layer", width, "inputs", "neurons", "rows", "levels", "form", "grid", "block", "tile",
                                 "waves", "Gflop", "memory");
  for (const LayerPlan& layer : plan.layers) {
    if (!layer.quantized) {
      text += fmt::format("{:<{}} {:>8} {:>8} {:>10} kept as it is\n", layer.name, width, layer.inputs, layer.neurons,
                          layer.path.samples);
      continue;
    }
    const RankGrid grid = choose_grid(layer, config, ranks);
    const Index most = ShardPlan(layer.tile_count(), 1, grid.neurons).most_pieces();
    const Index wave = std::min(tiles_per_wave(layer, config.memory_per_rank), most);
    text += fmt::format("{:<{}} {:>8} {:>8} {:>10} {:>6} {:<9} {:>7} {:>6} {:>5} {:>6} {:>10.2f} {:>10}  {}\n", layer.name,
                        width, layer.inputs, layer.neurons, layer.path.samples, config.settings_for(layer.name).levels,
                        form_name(layer.form), fmt::format("{}x{}", grid.neurons, grid.samples), layer.path.block_width,
                        layer.tile_width, ceil_div(most, wave), layer.flops * 1e-9,
                        format_bytes(layer.shared_bytes + wave * layer.tile_bytes), layer.reason);
  }
  std::string reason;
  const Index smallest = plan.smallest_memory(&reason);
  text += fmt::format("{} ranks; smallest memory_per_rank {} ({} bytes: {}); scratch on disk {}, results {}\n", ranks,
                      format_bytes(smallest), smallest, reason, format_bytes(plan.store_bytes),
                      format_bytes(plan.output_bytes));
  return text;
}

}  // namespace gpfq::job
