// SPDX-License-Identifier: Apache-2.0
// The arithmetic of the plan.
#include "gpfq/job/plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <regex>
#include <set>
#include <span>

#include "gpfq/base/error.hpp"
#include "gpfq/base/random.hpp"
#include "gpfq/base/text.hpp"
#include "gpfq/net/features.hpp"
#include "gpfq/net/patches.hpp"
#include "gpfq/quant/gram_sweeps.hpp"
#include "gpfq/quant/output_norms.hpp"
#include "gpfq/quant/tile_path.hpp"
#include "job/form_choice.hpp"
#include "job/grid.hpp"
#include "job/name_pattern.hpp"
#include "job/units.hpp"

namespace gpfq::job {
namespace {

constexpr Index index_bytes = sizeof(Index);
// Rows of one product of the path. Long enough that adding in fixed point costs about 1 %.
constexpr Index path_chunk = 2048;
// At least four tiles per layer where there are neurons enough; at most 256 neurons. Wider tiles read a block from
// memory less often (784×500: tiles of 64, 128, 256 gave 0.57, 0.64, 0.65 of the product rate).
constexpr Index fewest_tiles = 4;
constexpr Index common_tile = 256;
// Layers of at least two such tiles have wider ones, where weights, codes and both outputs of one stay below the limit:
// of m = N = 4096, n = 1024 a path takes 3 % less time than with tiles of 256.
constexpr Index wide_tile = 512;
constexpr Index wide_tile_bytes = Index{128} << 20;
// Inputs that are at hand while patches are made: what residual form reads at once, and Gram form beyond what one chunk of
// rows needs, where memory allows.
constexpr Index window_floats = Index{1} << 21;
// Rows of weights and codes that small tiles read and write together, where a tile is not higher than that.
constexpr Index row_group_bytes = Index{1} << 20;
// What HDF5 adds to a file and to a dataset, at most (2 KiB and 0.6 KiB were seen).
constexpr Index file_overhead_bytes = 16384;
constexpr Index dataset_overhead_bytes = 1024;
// Floats of the widest value in a unit of samples, and of a weight tile in propagation.
constexpr Index unit_floats = Index{1} << 18;
constexpr Index weight_tile_floats = Index{1} << 20;
// Values of a wave of samples in propagation that are worth keeping together.
constexpr Index useful_wave_bytes = Index{16} << 20;
constexpr Index most_samples_per_unit = 256;
constexpr Index fewest_product_rows = 16;

Index choose_tile_width(const LayerPlan& plan) {
  const Index wide_bytes = wide_tile * (plan.path.inputs * (float_bytes + 1) + plan.path.samples * 2 * float_bytes);
  if (plan.problem_neurons >= 2 * wide_tile && wide_bytes <= wide_tile_bytes) return wide_tile;
  return std::clamp(round_up(ceil_div(plan.problem_neurons, fewest_tiles), alignment_floats), alignment_floats, common_tile);
}

void check_rules(const net::Graph& graph, const Config& config) {
  for (const Config::Rule& rule : config.rules) {
    const std::regex pattern = name_pattern(rule.match);
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
    plan.positions = geometry.positions();
    plan.rows_per_sample = std::clamp<Index>(static_cast<Index>(used), 1, geometry.positions());
    plan.groups = geometry.groups;
    if (plan.method != Method::msq) {  // rounding has no path, so that a layer is one problem
      plan.channelwise = config.channelwise;
      plan.problems = plan.channelwise ? geometry.channels : geometry.groups;
      plan.problem_neurons = plan.neurons / geometry.groups;
      if (plan.channelwise) plan.path.inputs = geometry.kernel_height * geometry.kernel_width;
    }
  }
  plan.path.samples = samples * plan.rows_per_sample;
  plan.path.sample_chunk = path_chunk;
  plan.tile_width = choose_tile_width(plan);
}

/// Samples whose maps must be at hand for one chunk of rows.
Index samples_per_chunk(const LayerPlan& plan) {
  return std::min(ceil_div(plan.path.sample_chunk, plan.rows_per_sample) + 1, plan.path.samples / plan.rows_per_sample);
}

/// Samples of such a size that are read at once.
Index samples_at_once(Index sample_bytes, Index most) {
  return std::clamp<Index>(window_floats * float_bytes / sample_bytes, 1, most);
}

/// Where few positions of a sample are drawn, a chunk of rows comes from many samples: their patches are gathered, for all
/// problems, from a few samples at a time, where that takes less than all maps at once.
void choose_window(Index columns, LayerPlan& plan) {
  plan.window_samples = samples_per_chunk(plan);
  if (plan.rows_per_sample == plan.positions) return;
  const Index few = samples_at_once(plan.window_sample_bytes, plan.window_samples);
  const Index saved = (plan.window_samples - few) * plan.window_sample_bytes;
  plan.gathers_chunks = few < plan.window_samples && (plan.problems == 1 || plan.problems * columns < saved + columns);
  if (plan.gathers_chunks) plan.window_samples = few;
}

/// Memory in Gram form: products of all problems; samples of a convolution's inputs; a chunk's columns, one set for a single
/// problem, whose threads share it, one of all problems where they are gathered, else one per thread; a partial product
/// per thread; tiles, and the rows that those of several problems share.
void set_gram_memory(const net::Graph& graph, LayerPlan& plan) {
  const Index networks = plan.path.shared ? 1 : 2;
  const Index input_floats = element_count(graph.node(graph.node(plan.node).inputs.front()).shape);
  const Index columns = networks * path_chunk * plan.path.inputs * float_bytes;
  if (plan.is_conv) {
    plan.window_sample_bytes = networks * input_floats * float_bytes + plan.rows_per_sample * index_bytes;
    choose_window(columns, plan);
  } else {
    plan.window_samples = samples_at_once(input_floats * float_bytes, path_chunk);
  }
  const Index partial = quant::GramProducts::partial_bytes(plan.gram_extent()) +
                        (plan.is_conv ? 3 * plan.rows_per_sample * index_bytes : 0);
  plan.thread_bytes = partial + (plan.problems > 1 && !plan.gathers_chunks ? columns : 0);
  const bool has_target = plan.corrects_target && !plan.path.shared;
  const Index factors =
      plan.diffuses ? plan.problems * quant::DiffusionFactor::bytes(plan.path.inputs, plan.path.block_width, has_target) +
                          quant::DiffusionFactor::work_bytes(plan.path.inputs, has_target)
                    : 0;
  plan.shared_bytes =
      plan.problems * quant::GramProducts::bytes(plan.gram_extent()) + factors +
      plan.window_samples * plan.window_sample_bytes + (plan.gathers_chunks ? plan.problems * columns : 0) +
      (plan.problems > 1 ? rows_together(plan) * plan.inputs * (float_bytes + 1) : plan.gathers_chunks ? 0 : columns);
  const Index path = quant::gram_path_bytes(plan.path.inputs, plan.path.block_width, plan.tile_width);
  const Index norms = quant::output_norms_bytes(plan.path.inputs, plan.path.block_width, plan.tile_width);
  plan.tile_bytes = quant::Tile::bytes(plan.path.inputs, plan.path.block_width, plan.tile_width) +
                    std::max(path, plan.error_from_products ? norms : 0) +
                    (plan.measures() ? quant::GramResidual::bytes(plan.path.inputs, plan.path.block_width, plan.tile_width) : 0);
}

/// Residual form: what is read of a convolution's inputs at once, the channels of a block alone. @returns its bytes
Index set_patch_window(const net::Graph& graph, LayerPlan& plan) {
  const net::ConvGeometry geometry = net::conv_geometry(graph, graph.node(plan.node));
  const Index kernel = geometry.kernel_height * geometry.kernel_width;
  const Index channels = std::min(geometry.channels, (plan.path.block_width + kernel - 2) / kernel + 1);
  const Index map_bytes = channels * geometry.height * geometry.width * float_bytes;
  const bool draws = plan.rows_per_sample < plan.positions;
  plan.patch_samples = samples_at_once(map_bytes, plan.path.samples / plan.rows_per_sample);
  return plan.patch_samples * (map_bytes + (draws ? plan.rows_per_sample * index_bytes : 0));
}

void set_costs(const net::Graph& graph, LayerPlan& plan) {
  const int networks = plan.path.shared ? 1 : 2;
  const double entries = static_cast<double>(plan.path.samples) * static_cast<double>(plan.path.inputs) *
                         static_cast<double>(plan.problems);
  const Index window = plan.is_conv && plan.form == Form::residual ? set_patch_window(graph, plan) : 0;
  if (plan.form == Form::gram) {
    const double N = static_cast<double>(plan.path.inputs);
    const bool has_target = plan.corrects_target && !plan.path.shared;
    // Triangles of G and C, or all of C or K, and of L; the path's products, also for each radius tried, XqᵀU after it, sweeps, the
    // error; factors.
    const double formed = triangles_formed(plan, plan.error_from_products);
    const double squares = !plan.diffuses ? networks : has_target ? 3 : 1;
    const double per_neuron = squares * (plan.candidates > 1 ? plan.candidates + 1 : 1) +
                              4.0 * ((plan.candidates > 1 ? plan.candidates : 0) + (plan.sweeps > 0 ? 1 : 0)) + 2.0 * plan.sweeps +
                              (plan.error_from_products ? squares_of_error(plan) : 0.0);
    const double factor = plan.diffuses ? (has_target ? 10.0 : 4.0) / 3 * N : 0;
    plan.flops = entries * N * formed + entries / static_cast<double>(plan.path.samples) * N *
                                            (static_cast<double>(plan.problem_neurons) * per_neuron + factor);
    set_gram_memory(graph, plan);
  } else if (plan.form == Form::residual) {
    const int per_entry = plan.path.shared && !plan.path.keeps_outputs ? 4 : 6;
    plan.flops = entries * static_cast<double>(plan.problem_neurons) * (per_entry * plan.candidates + 4.0 * plan.sweeps);
    // A chunk of a tile's outputs in both networks, what is made of it and its transpose.
    plan.piece_bytes = plan.path.keeps_outputs ? 4 * path_chunk * plan.tile_width * float_bytes : 0;
    plan.shared_bytes = quant::InputBlock::bytes(plan.path) + window + plan.piece_bytes;
    if (plan.sweeps > 0 && !plan.path.shared) {  // two blocks without X, in the same window
      quant::PathShape alone = plan.path;
      alone.shared = true;
      plan.shared_bytes += 2 * (quant::InputBlock::bytes(alone) - quant::InputBlock::value_count(alone) * float_bytes);
    }
    if (plan.orders_by_activation) plan.shared_bytes += plan.path.inputs * 2 * index_bytes;  // order, norms as they come
    plan.tile_bytes = plan.candidates * quant::TilePath::bytes(plan.path, plan.tile_width);
  } else {
    plan.tile_bytes = plan.tile_width * plan.inputs * 5;
  }
}

/// Shapes, but not yet how they are worked on: that depends on what follows.
/// @param ordinal  among the linear layers: folding leaves it as it is
LayerPlan shape_layer(const net::Graph& graph, int index, std::size_t ordinal, const Config& config, Index samples,
                      bool shared) {
  const net::Node& node = graph.node(index);
  const LayerSettings settings = config.settings_for(node.name);
  LayerPlan plan;
  plan.node = index;
  plan.name = node.name;
  plan.tensor = node.parameters.at("weight");
  plan.quantized = !settings.skip;
  plan.method = settings.method;
  plan.path.shared = shared;
  plan.patch_seed = random_bits(config.patch_seed, ordinal);
  if (plan.method != Method::msq) {
    plan.candidates = settings.candidates();
    plan.searches_layer = plan.candidates > 1 && !settings.radius.per_neuron;
    plan.sweeps = settings.sweeps;
    plan.diffuses = settings.diffuses();
    plan.corrects_target = settings.method == Method::qronos;
    plan.orders_by_activation = settings.orders_by_activation;
    plan.corrects_bias = settings.corrects_bias && config.has_network();
    plan.path.sums_columns = plan.corrects_bias;
    plan.threshold = settings.threshold;
    plan.shifts_levels = settings.shifts_levels();
    plan.damping = settings.damping;
    plan.rounding_seed = random_bits(settings.seed, ordinal);
  }
  set_problems(graph, node, config, samples, plan);
  return plan;
}

/// Forms, blocks and memory of the layers that get codes. A dense layer can keep its outputs where they are all that
/// the next one's inputs are made of, or where nothing follows.
void plan_layers(const net::Graph& graph, const Config& config, std::span<LayerPlan> layers) {
  LayerPlan* next = nullptr;
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
    if (!layer->quantized) continue;
    layer->next_cut = next == nullptr ? layer->node + 1 : next->node;
    const bool can_keep = graph.node(layer->node).op == net::Op::dense && graph.node(layer->node).shape.size() == 1 &&
                          (next == nullptr || net::is_feature_chain(graph, layer->node, next->node));
    choose_form(config.settings_for(layer->name), config.block, can_keep, next == nullptr, *layer);
    if (layer->lacks_rows()) layer->reason += "; patch_fraction leaves fewer rows than inputs";
    set_costs(graph, *layer);
    next = &*layer;
  }
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

/// A model file in which codes stand in place of the weights, with radius, step and shift of each neuron.
Index result_bytes(const net::Graph& graph, const JobPlan& plan) {
  constexpr Index alphabet_bytes = 3 * float_bytes;
  constexpr Index quantized_layer_datasets = 4;  // codes, radius, step, shift
  Index bytes = model_file_bytes(graph) - code_bytes(plan) * (float_bytes - 1);
  for (const LayerPlan* layer : plan.quantized_layers())
    bytes += layer->neurons * alphabet_bytes + quantized_layer_datasets * dataset_overhead_bytes;
  return bytes;
}

}  // namespace

quant::GramExtent LayerPlan::gram_extent() const {
  const bool whole = measures() || diffuses || orders_by_activation;
  return {path.inputs, path.block_width, path.shared, whole, path.sums_columns, error_from_products && !path.shared};
}

std::string form_name(Form form) {
  return form == Form::residual ? "residual" : form == Form::gram ? "gram" : "rounding";
}

TileBox tile_box(const LayerPlan& layer, Index tile) {
  const Index channels = layer.channelwise ? layer.problems / layer.groups : 1;  // problems with the same neurons
  const Index channel = tile % channels;
  const Index group = tile / channels / layer.tiles_per_problem();
  const Index first = tile / channels % layer.tiles_per_problem() * layer.tile_width;
  TileBox box;
  box.problem = group * channels + channel;
  box.first_neuron = group * layer.problem_neurons + first;
  box.neurons = std::min(layer.tile_width, layer.problem_neurons - first);
  box.first_input = channel * layer.path.inputs;
  box.inputs = layer.path.inputs;
  return box;
}

Index rows_together(const LayerPlan& layer) {
  return std::max(layer.tile_width, row_group_bytes / (layer.inputs * (float_bytes + 1)));
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

StreamMemory divide_memory(const LayerPlan& layer, const quant::PathShape& shape, int sharers, Index tiles,
                           Index memory_per_rank, Index blocks) {
  const Index values = quant::InputBlock::value_count(shape) * float_bytes;
  const Index slot = quant::InputBlock::bytes(shape) - values + ceil_div(values, sharers);
  const Index beside = layer.shared_bytes - quant::InputBlock::bytes(layer.path);
  const Index tile = layer.candidates * quant::TilePath::bytes(shape, layer.tile_width);
  const auto tiles_beside = [&](Index slots) {
    return std::clamp<Index>((memory_per_rank - beside - slots * slot) / tile, 1, std::max<Index>(1, tiles));
  };
  StreamMemory memory;
  memory.read_ahead = blocks > 1 && beside + 2 * slot + tile <= memory_per_rank &&
                      ceil_div(tiles, tiles_beside(2)) <= ceil_div(tiles, tiles_beside(1));
  memory.wave_tiles = tiles_beside(memory.read_ahead ? 2 : 1);
  memory.bytes = beside + slot * (memory.read_ahead ? 2 : 1) + memory.wave_tiles * tile;
  if (layer.piece_bytes > 0) memory.pieces = 1 + std::max<Index>(0, memory_per_rank - memory.bytes) / layer.piece_bytes;
  return memory;
}

GramShares gram_shares(const LayerPlan& layer, int threads, Index memory_per_rank) {
  const Index room = memory_per_rank - layer.shared_bytes;
  const auto at_once = [&](Index bytes) { return std::clamp<Index>(room / bytes, 1, threads); };
  GramShares shares;
  shares.threads = static_cast<int>(at_once(layer.thread_bytes));
  shares.tiles = at_once(layer.tile_bytes);
  const Index rows_bytes = shares.threads * layer.thread_bytes;
  if (!layer.needs_whole_chunks()) {
    if (!layer.is_conv) shares.window_chunks = std::max<Index>(1, window_floats / (layer.path.sample_chunk * layer.path.inputs));
    shares.bytes = layer.shared_bytes + std::max(rows_bytes, shares.tiles * layer.tile_bytes);
    return shares;
  }
  const Index useful = window_floats * float_bytes / layer.window_sample_bytes;
  const Index more = std::clamp<Index>((room - rows_bytes) / layer.window_sample_bytes, 0,
                                       std::max<Index>(0, useful - layer.window_samples));
  // A chunk may begin in the middle of a sample: c chunks touch up to ceil(c·chunk/K) + 1 of them.
  const Index samples = layer.window_samples + more;
  shares.window_chunks = std::max<Index>(1, (samples - 1) * layer.rows_per_sample / layer.path.sample_chunk);
  shares.bytes =
      layer.shared_bytes + std::max(rows_bytes + more * layer.window_sample_bytes, shares.tiles * layer.tile_bytes);
  return shares;
}

LoadShares load_shares(const LayerPlan& layer, Index memory_per_rank) {
  constexpr Index most_inputs = 64;
  constexpr Index unit_bytes = Index{16} << 20;
  constexpr Index most_bytes = Index{128} << 20;  // files in compressed chunks are read anew for each part
  const Index input_bytes = layer.path.samples * float_bytes;
  LoadShares shares;
  shares.unit = std::clamp<Index>(unit_bytes / input_bytes, 1, most_inputs);
  const Index room = std::min(most_bytes, memory_per_rank / 2);
  shares.inputs = shares.unit * std::max<Index>(1, room / (shares.unit * input_bytes));
  return shares;
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
    const Index needed = layer.shared_bytes + std::max(layer.tile_bytes, layer.thread_bytes);
    if (needed <= smallest) continue;
    smallest = needed;
    const std::string less =
        layer.diffuses ? "method gpfq with 'quantization.refine' needs no N x N matrix"
        : layer.orders_by_activation && layer.form == Form::gram && !layer.error_from_products
            ? "order natural needs no N x N matrix"
        : layer.form != Form::gram && layer.is_conv
            ? "a smaller 'quantization.block' or 'quantization.patch_fraction' or fewer samples need less"
        : layer.form != Form::gram ? "a smaller 'quantization.block' or fewer samples need less"
        : layer.problems == 1
            ? "'quantization.form': \"residual\" may need less"
            : fmt::format(
                  "it keeps G and C of {} problems and {} samples of its inputs; 'skip' in 'quantization.layers' "
                  "leaves it out",
                  layer.problems, layer.window_samples);
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

Index model_file_bytes(const net::Graph& graph) {
  Index bytes = file_overhead_bytes + 2 * static_cast<Index>(net::to_json(graph).size());
  for (const auto& [name, shape] : graph.tensors) bytes += element_count(shape) * float_bytes + dataset_overhead_bytes;
  return bytes;
}

Index code_bytes(const JobPlan& plan) {
  Index bytes = 0;
  std::set<std::string> counted;  // layers may have a weight in common
  for (const LayerPlan* layer : plan.quantized_layers())
    if (counted.insert(layer->tensor).second) bytes += layer->neurons * layer->inputs;
  return bytes;
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
    plan.layers.push_back(shape_layer(graph, index, plan.layers.size(), config, samples, shared));
    quantized[static_cast<std::size_t>(index)] = plan.layers.back().quantized;
  }
  plan_layers(graph, config, plan.layers);
  if (plan.quantized_layers().empty())
    throw_input("there is nothing to quantize: the network has {} linear layers, {} of them skipped by the config",
                plan.layers.size(), plan.layers.size());
  Index before = 0;
  for (const LayerPlan* layer : plan.quantized_layers()) {
    Index bytes = 0;
    for (const int live : net::live_at(graph, layer->node))
      bytes += element_count(graph.node(live).shape) * samples * float_bytes + file_overhead_bytes;
    // The old and the new activations stand side by side while they are propagated.
    plan.store_bytes = std::max(plan.store_bytes, 2 * (before + bytes));
    before = bytes;
  }
  plan.output_bytes = result_bytes(graph, plan);
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
  plan.store_bytes = layer.path.networks() * (layer.inputs * plan.samples * float_bytes + file_overhead_bytes);
  return plan;
}

JobPlan make_layers_plan(const net::Graph& graph, const Config& config, const std::vector<LayerInputs>& inputs) {
  require(2 * static_cast<int>(inputs.size()) == graph.size(), "make_layers_plan: inputs of every layer");
  check_rules(graph, config);
  JobPlan plan;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const int node = 2 * static_cast<int>(i) + 1;
    plan.layers.push_back(shape_layer(graph, node, i, config, inputs[i].samples, inputs[i].shared));
    plan_layers(graph, config, {&plan.layers.back(), 1});
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
  plan.output_bytes = result_bytes(graph, plan);
  check_memory(plan, config);
  return plan;
}

std::string plan_table(const JobPlan& plan, const Config& config, int ranks, int nodes) {
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
    const bool is_gram = layer.form == Form::gram;
    const StreamShares stream = stream_shares(layer, config, ranks, nodes);
    const GramShares gram = is_gram ? gram_shares(layer, config.threads, config.memory_per_rank) : GramShares();
    text += fmt::format("{:<{}} {:>8} {:>8} {:>10} {:>6} {:<9} {:>7} {:>6} {:>5} {:>6} {:>10.2f} {:>10}  {}\n", layer.name,
                        width, layer.inputs, layer.neurons, layer.path.samples, config.settings_for(layer.name).levels,
                        form_name(layer.form), is_gram ? "rows" : fmt::format("{}x{}", stream.grid.neurons, stream.grid.samples),
                        layer.path.block_width, layer.tile_width,
                        waves_of(layer, config, ranks, nodes), layer.flops * 1e-9,
                        format_bytes(is_gram ? gram.bytes : stream.bytes), layer.reason);
    if (const int idle = idle_ranks(layer, config, ranks); idle > 0)
      text += fmt::format("{:<{}} {} of {} ranks without tiles\n", "", width, idle, ranks);
  }
  std::string reason;
  const Index smallest = plan.smallest_memory(&reason);
  text += fmt::format("{} ranks; smallest memory_per_rank {} ({} bytes: {}); scratch on disk {}, results {}\n", ranks,
                      format_bytes(smallest), smallest, reason, format_bytes(plan.store_bytes + plan.model_copy_bytes),
                      format_bytes(plan.output_bytes));
  return text;
}

}  // namespace gpfq::job
