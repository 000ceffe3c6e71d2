// SPDX-License-Identifier: Apache-2.0
// Each function mirrors one step of the job: layer_path, layer_gram, propagation, evaluation. Where a step changes, its
// function here does.
#include "job/estimate.hpp"

#include <algorithm>
#include <cmath>

#include "gpfq/net/patches.hpp"
#include "gpfq/quant/gram_sweeps.hpp"
#include "gpfq/quant/radius.hpp"
#include "gpfq/quant/tile_path.hpp"
#include "job/form_choice.hpp"
#include "job/grid.hpp"
#include "job/layer_list.hpp"
#include "job/radius_rule.hpp"
#include "job/scale.hpp"
#include "job/tile_states.hpp"
#include "job/units.hpp"

namespace gpfq::job {
namespace {

// One core of an AMD EPYC at 84 Gflop/s (OpenBLAS Zen), 4096 samples, 1024 neurons. Kernel: 9, 11, 15 ns per weight at
// b = 32, 128, 256, of which weights and codes on their way from and to memory take 7.
constexpr double kernel_seconds_fixed = 7.5e-9;
constexpr double kernel_seconds_per_input = 0.03e-9;
// The products of propagation, 256 samples by 256 neurons over all inputs.
constexpr double propagation_share = 0.75;
// The factor of optq and qronos: double precision, at half the rate of single, by solves with a triangle.
constexpr double factor_share = 0.5 * 0.5;
// Passes that look at every value: bounds, finiteness, squared differences (7.3 GB/s measured).
constexpr double scan_bytes_per_second = 7e9;
// Turning samples × inputs into inputs × samples.
constexpr double transposed_bytes_per_second = 1.1e9;
// Making a patch's entry from a map, and adding an entry of a product in fixed point.
constexpr double patch_seconds_per_entry = 0.6e-9;
constexpr double fixed_point_seconds_per_entry = 1e-9;
// Counting a weight's magnitude, once per pass, and decoding or rounding one.
constexpr double weight_seconds = 2e-9;
// A read or write through HDF5 beside the bytes; an agreement of the ranks of one node.
constexpr double call_seconds = 1.5e-4;
constexpr double agree_seconds = 1e-5;
// Opening, creating and closing a file by all ranks.
constexpr double file_seconds = 5e-3;
constexpr double start_seconds = 0.1;
// Between two layers: their files, what is read of memory's use, and the checkpoint on its way to the disk. 200 and 800
// layers of 67 x 33 took 17 and 30 ms each.
constexpr double layer_seconds = 0.015;
// Maps that are at hand while patches are made.
constexpr Index window_bytes = Index{8} << 20;

/// What a rank holds of the products of a layer in Gram form, all problems together: sums while rows are added, what is
/// beside them while they become numbers, and these.
struct GramMemory {
  Index sums = 0;
  Index turning = 0;
  Index numbers = 0;

  explicit GramMemory(const LayerPlan& layer) {
    const quant::GramExtent extent = layer.gram_extent();
    sums = layer.problems * quant::GramProducts::sum_bytes(extent);
    turning = quant::GramProducts::turning_bytes(extent);
    numbers = layer.problems * quant::GramProducts::number_bytes(extent);
  }
};

/// The job's steps in seconds and bytes.
class Estimator {
 public:
  Estimator(const JobPlan& plan, const net::Graph& graph, const Config& config, const MachineRates& rates,
            const Placement& placement)
      : plan_(plan),
        graph_(graph),
        config_(config),
        rates_(rates),
        threads_(std::max(1, config.threads)),
        ranks_(placement.ranks),
        nodes_(placement.nodes),
        per_node_(placement.ranks_per_node()) {
    crowding_ = placement.crowding(threads_);
    const double node_share = rates.node_memory_bytes_per_second / placement.ranks_per_node();
    memory_rate_ = std::min(rates.memory_bytes_per_second / crowding_, node_share);
    // What is read goes into new memory: cleared first.
    const double into_new = 1 / (1 / rates.read_bytes_per_second + 1 / rates.memory_bytes_per_second);
    read_rate_ = std::min(into_new / crowding_, node_share);
    write_rate_ = rates.write_bytes_per_second;
    root_read_rate_ = into_new;
    root_write_rate_ = write_rate_;
    if (nodes_ > 1) {  // files that all of them see
      const double to_node = giga * std::min(rates.cluster.node_files_gb, rates.cluster.files_gb / nodes_);
      read_rate_ = std::min(read_rate_, to_node / per_node_);
      const double to_root = giga * std::min(rates.cluster.node_files_gb, rates.cluster.files_gb);
      root_read_rate_ = std::min(root_read_rate_, to_root);
      root_write_rate_ = std::min(write_rate_, to_root);
      write_rate_ = std::min(write_rate_, to_node);
    }
    std::vector<bool> quantized(graph.nodes.size(), false);
    for (const LayerPlan* layer : plan.quantized_layers()) quantized[static_cast<std::size_t>(layer->node)] = true;
    differs_ = differing_nodes(graph, quantized);
    if (!graph.is_network())
      for (const LayerPlan& layer : plan.layers)
        differs_[static_cast<std::size_t>(graph.node(layer.node).inputs.front())] = !layer.path.shared;
  }

  [[nodiscard]] LayerEstimate layer(const LayerPlan& layer, const LayerPlan* next) const {
    LayerEstimate estimate;
    add_radius(layer, estimate);
    if (layer.form == Form::residual) add_residual(layer, estimate);
    if (layer.form == Form::gram) add_gram(layer, estimate);
    if (layer.form == Form::rounding) add_rounding(layer, estimate);
    estimate.proportional_memory = estimate.rank_memory;
    estimate.disk_bytes = stored_bytes(layer.node) + (next != nullptr ? stored_bytes(next->node) : 0);
    if (layer.path.keeps_outputs)
      add_outputs(layer, next != nullptr, estimate);
    else if (!layer.error_from_products)
      add_propagation(layer.node, layer.next_cut, next != nullptr, estimate);
    return estimate;
  }

  /// Calibration samples to the first layer.
  [[nodiscard]] LayerEstimate start(int cut) const {
    LayerEstimate estimate;
    add_stored_cut(0, cut, true, estimate);
    return estimate;
  }

  /// Without a network: a layer's activations from its files to the store, beside the layer itself.
  [[nodiscard]] LayerEstimate layer_alone(const LayerPlan& layer) const {
    LayerEstimate estimate = this->layer(layer, nullptr);
    const double bytes = real(networks_of(layer) * layer.path.samples * layer.inputs * float_bytes);
    estimate.bytes_written += static_cast<Index>(bytes);
    estimate.seconds["load"] =
        bytes / ranks_ * (1 / read_rate_ + 1 / memory_rate_ + crowding_ / rates_.digest_bytes_per_second / threads_ +
                          crowding_ / transposed_bytes_per_second + 2 * crowding_ / scan_bytes_per_second) +
        bytes / write_rate_ / nodes_;
    const LoadShares shares = load_shares(layer, config_.memory_per_rank);
    const Index mine = ShardPlan(layer.inputs, shares.unit, ranks_).most_pieces() * shares.unit;
    hold(std::min(shares.inputs, mine) * layer.path.samples * float_bytes, 0, estimate);
    return estimate;
  }

  [[nodiscard]] double evaluation_seconds(Index samples) const {
    constexpr int networks = 3;
    const Index mine = ShardPlan(samples, plan_.sample_unit, ranks_).items_of(0).size();
    return samples == 0 ? 0 : networks * node_seconds(0, graph_.size(), mine);
  }

  /// Root reads all codes in order for the job's digest; alone, it also compares them tile by tile.
  [[nodiscard]] double digest_seconds(const LayerPlan& layer) const {
    const double codes = real(layer.neurons * layer.inputs);
    const double per_code = crowding_ / rates_.digest_bytes_per_second + 1 / root_read_rate_;
    return (ranks_ > 1 ? 1 : 2) * codes * per_code + 2 * call_seconds;
  }

  /// Writing by one rank of each node, all at the same time.
  [[nodiscard]] double write_seconds(Index bytes) const { return real(bytes) / write_rate_ / nodes_; }
  /// Writing by root, while the others wait.
  [[nodiscard]] double root_write_seconds(Index bytes) const { return real(bytes) / root_write_rate_; }

 private:
  [[nodiscard]] double product_seconds(double flops, double share) const {
    return flops / (rates_.flops_per_second * share) * crowding_;
  }
  [[nodiscard]] double scan_seconds(double bytes) const { return bytes / scan_bytes_per_second * crowding_; }
  [[nodiscard]] double over_threads(Index pieces) const {  // rounds that the threads of a rank take
    return real(ceil_div(pieces, threads_));
  }
  /// A sum over `ranks` ranks, of which `inside` at a time are neighbours on a node, while all of a node's ranks take part
  /// in such sums. Inside a node every doubling passes the values through memory once; nodes use their network.
  [[nodiscard]] double sum_seconds(Index values, int ranks, int inside) const {
    const double bytes = real(values * sum_bytes);
    inside = std::min({ranks, inside, per_node_});
    const double in_node =
        inside <= 1 ? 0 : std::ceil(std::log2(inside)) * (agree_seconds * crowding_ + bytes / memory_rate_);
    const int nodes = (ranks + inside - 1) / inside;
    return in_node + allreduce_seconds(bytes, nodes, 1, std::max(1, per_node_ / inside), rates_.cluster);
  }
  /// Memory of a phase: `bytes` by this rank's share, and what others have of the pages that it sees.
  static void hold(Index bytes, Index of_others, LayerEstimate& estimate) {
    estimate.rank_memory = std::max(estimate.rank_memory, bytes);
    estimate.peak_memory = std::max(estimate.peak_memory, bytes + of_others);
  }
  /// Activations that wait at a layer, in both networks where they differ.
  [[nodiscard]] Index stored_bytes(int cut) const {
    Index bytes = 0;
    for (const int node : net::live_at(graph_, cut))
      bytes += (differs_[static_cast<std::size_t>(node)] ? 2 : 1) * element_count(graph_.node(node).shape) * plan_.samples *
               float_bytes;
    return bytes;
  }
  [[nodiscard]] Index map_floats(const LayerPlan& layer) const {
    return element_count(graph_.node(graph_.node(layer.node).inputs.front()).shape);
  }
  static int networks_of(const LayerPlan& layer) { return layer.path.shared ? 1 : 2; }

  void add_radius(const LayerPlan& layer, LayerEstimate& estimate) const;
  void add_residual(const LayerPlan& layer, LayerEstimate& estimate) const;
  void add_gram(const LayerPlan& layer, LayerEstimate& estimate) const;
  void add_factor(const LayerPlan& layer, bool has_target, LayerEstimate& estimate) const;
  [[nodiscard]] Index gram_memory(const LayerPlan& layer) const;
  void add_rounding(const LayerPlan& layer, LayerEstimate& estimate) const;
  void add_outputs(const LayerPlan& layer, bool keep, LayerEstimate& estimate) const;
  void add_propagation(int first, int last, bool keep, LayerEstimate& estimate) const;
  void add_stored_cut(int first, int cut, bool keep, LayerEstimate& estimate) const;
  void add_weights_and_codes(const LayerPlan& layer, Index tiles, LayerEstimate& estimate) const;
  [[nodiscard]] Index residual_pass_floats(const LayerPlan& layer) const;
  [[nodiscard]] double node_seconds(int first, int last, Index samples) const;
  [[nodiscard]] Index propagation_memory(int first, int last) const;

  const JobPlan& plan_;
  const net::Graph& graph_;
  const Config& config_;
  const MachineRates& rates_;
  int threads_;
  int ranks_;
  int nodes_;
  int per_node_;
  double crowding_ = 1;
  double memory_rate_ = 0;
  double read_rate_ = 0;       // of a rank, while all of them read
  double write_rate_ = 0;      // of a node, while all of them write
  double root_read_rate_ = 0;  // of root, while the others wait
  double root_write_rate_ = 0;
  std::vector<bool> differs_;
};

void Estimator::add_radius(const LayerPlan& layer, LayerEstimate& estimate) const {
  const RadiusRule& rule = config_.settings_for(layer.name).radius;
  const Index mine = ceil_div(layer.neurons, ranks_) * layer.inputs;
  const bool counts = rule.kind == RadiusKind::median && !rule.per_neuron;
  const int passes = counts ? quant::MagnitudeSelection::pass_count() : rule.kind == RadiusKind::value ? 0 : 1;
  const int threads = counts ? counters_of(mine, threads_) : 1;
  estimate.seconds["radius"] =
      passes * (real(mine) * (float_bytes / read_rate_ + weight_seconds * crowding_ / threads) + call_seconds + 3 * agree_seconds);
}

/// Floats of one network that the ranks with the same tiles read in one pass over the inputs: a convolution's block
/// takes every channel that it touches.
Index Estimator::residual_pass_floats(const LayerPlan& layer) const {
  if (!layer.is_conv) return layer.path.samples * layer.path.inputs;
  const net::ConvGeometry geometry = net::conv_geometry(graph_, graph_.node(layer.node));
  const Index kernel = geometry.kernel_height * geometry.kernel_width;
  Index channels = 0;
  for (Index first = 0; first < layer.path.inputs; first += layer.path.block_width)
    channels += ceil_div(std::min(layer.path.inputs, first + layer.path.block_width), kernel) - first / kernel;
  return plan_.samples * channels * geometry.height * geometry.width;
}

void Estimator::add_residual(const LayerPlan& layer, LayerEstimate& estimate) const {
  const StreamShares shares = stream_shares(layer, config_, ranks_, nodes_);
  const RankGrid& grid = shares.grid;
  const quant::PathShape& shape = shares.shape;
  const int readers = shares.sharers * (config_.stream.exchange ? shares.windows : 1);
  const int copies = config_.stream.exchange ? 1 : shares.windows;
  const int networks = networks_of(layer);
  // A search for the whole layer needs the path once more where tiles take turns; sweeps read Xq alone.
  const double paths = real(shares.waves()) * (layer.searches_layer && shares.waves() > 1 ? 2 : 1);
  const double sweeps = real(shares.waves() * layer.sweeps);
  const Index network_floats = residual_pass_floats(layer);
  estimate.bytes_read += static_cast<Index>((paths * networks + sweeps) * real(network_floats * float_bytes * copies));

  const double rows = real(std::min(shape.samples, shape.local_chunks * shape.sample_chunk));
  const double inputs = real(shape.inputs);
  const double width = real(layer.tile_width);
  const Index b = shape.block_width;
  const double blocks = real(ceil_div(shape.inputs, b));
  const double share_of_rows = rows / real(shape.samples);
  const double windows_on_node = std::max(1, per_node_ / shares.sharers);  // each with rows of its own
  const auto add_pass = [&](double passes, int of) {  // all blocks, of one or both networks
    const double entries = of * rows * inputs;
    double reading = real(of * network_floats) * share_of_rows * float_bytes / read_rate_ / readers +
                     blocks * (of * call_seconds + agree_seconds * crowding_);
    if (config_.stream.exchange && shares.windows > 1)
      reading += nodes_ > 1 ? blocks * allgather_seconds(entries * float_bytes / blocks * windows_on_node,
                                                         std::min(shares.windows, nodes_), rates_.cluster)
                            : entries * float_bytes / memory_rate_;
    if (layer.is_conv) reading += entries * patch_seconds_per_entry * crowding_ / readers;
    estimate.seconds["read"] += passes * reading;
    // The ranks that share a window share the chunks of G and C, too.
    const Index most_chunks = ceil_div(shape.local_chunks, Index{shares.sharers});
    const double chunk_share = over_threads(most_chunks) / std::max(1.0, real(shape.local_chunks));
    estimate.seconds["products"] +=
        passes *
        (chunk_share * (product_seconds(rows * inputs * block_products_cost(b, of), 1) + scan_seconds(entries * float_bytes)) +
         blocks * (sum_seconds(of * b * b, shares.sharers, shares.sharers) + sum_seconds(of * b * b, grid.samples, grid.samples)));
  };
  add_pass(paths, networks);
  if (layer.sweeps > 0) add_pass(sweeps, 1);

  const bool one_update = !shape.shared && !shape.keeps_outputs;  // of depth 2b
  const double updates = shape.shared && !shape.keeps_outputs ? 2 : 4;
  const double difference = shape.keeps_outputs && !shape.shared ? 3 * blocks * rows * width * float_bytes : 0;
  const double tile = product_seconds(2 * rows * inputs * width * (1 - 1 / blocks), narrow_share(b)) +
                      product_seconds(updates * rows * inputs * width, shallow_share(one_update ? 2 * b : b)) +
                      difference / memory_rate_ + inputs * width * kernel_seconds_per_weight(b) * crowding_;
  const double swept = product_seconds(2 * rows * inputs * width, narrow_share(b)) +
                       product_seconds(2 * rows * inputs * width, shallow_share(b)) + difference / memory_rate_ +
                       inputs * width * kernel_seconds_per_weight(b) * crowding_;
  const double sums = grid.samples > 1 ? blocks * sum_seconds(b * layer.tile_width, grid.samples, grid.samples) : 0;
  const auto rounds = [&](Index each) {  // tiles, with some alphabets each, over the threads
    return real(shares.tiles / shares.wave_tiles) * over_threads(shares.wave_tiles * each) +
           over_threads(shares.tiles % shares.wave_tiles * each);
  };
  const double again = layer.searches_layer && shares.waves() > 1 ? 1 : 0;
  estimate.seconds["path"] += (rounds(layer.candidates) + again * rounds(1)) * tile + layer.sweeps * rounds(1) * swept +
                              real(shares.tiles) * (layer.candidates + again + layer.sweeps) * sums;

  add_weights_and_codes(layer, shares.tiles, estimate);
  const Index window = quant::InputBlock::value_count(shape) * float_bytes;
  const Index of_others = window - ceil_div(window, Index{shares.sharers});
  hold(shares.bytes, of_others * (shares.memory.read_ahead ? 2 : 1), estimate);
}

/// What a layer hands on instead of being propagated: norms of its outputs and, but for the last one, its next layer's
/// inputs.
void Estimator::add_outputs(const LayerPlan& layer, bool keep, LayerEstimate& estimate) const {
  const double bytes = 2 * real(layer.path.samples * layer.neurons * float_bytes);
  const double share = 1.0 / ranks_;
  double seconds = share * 2 * bytes / memory_rate_ + share * scan_seconds(2 * bytes);
  if (keep) {
    estimate.bytes_written += static_cast<Index>(bytes);
    seconds += share * bytes * (3 / memory_rate_ + crowding_ / rates_.digest_bytes_per_second / threads_) +
               bytes / write_rate_ / nodes_;
  }
  estimate.seconds["write"] += seconds;
  estimate.seconds["propagate"] += (keep ? 2 * file_seconds : 0) + 3 * agree_seconds * crowding_;
}

void Estimator::add_gram(const LayerPlan& layer, LayerEstimate& estimate) const {
  const quant::PathShape& shape = layer.path;
  const int networks = networks_of(layer);
  const Index chunks = ShardPlan(shape.chunk_total(), 1, ranks_).most_pieces();
  const double rows = real(std::min(shape.samples, chunks * shape.sample_chunk));
  const double inputs = real(shape.inputs);
  const Index b = shape.block_width;
  const double pairs = real(layer.problems * quant::GramProducts::sum_bytes(layer.gram_extent()) / sum_bytes);
  estimate.bytes_read += networks * plan_.samples * map_floats(layer) * float_bytes;
  estimate.seconds["read"] +=
      real(networks * plan_.samples * map_floats(layer) * float_bytes) * rows / real(shape.samples) / read_rate_ +
      networks * call_seconds;

  const double threads = real(std::min<Index>(threads_, layer.problems > 1 ? layer.problems : threads_));
  estimate.seconds["products"] +=
      (product_seconds(2 * rows * pairs, narrow_share(b)) +
       (layer.is_conv ? rows * inputs * networks * real(layer.problems) * patch_seconds_per_entry * crowding_ : 0.0) +
       real(chunks) * pairs * fixed_point_seconds_per_entry * crowding_) /
      threads;
  estimate.seconds["sum"] +=
      sum_seconds(static_cast<Index>(pairs), ranks_, per_node_) + pairs * fixed_point_seconds_per_entry * crowding_;
  const bool has_target = layer.corrects_target && !shape.shared;
  if (layer.diffuses) add_factor(layer, has_target, estimate);

  const Index most_tiles = ShardPlan(layer.tile_count(), 1, ranks_).most_pieces();
  const double width = real(layer.tile_width);
  const int squares = !layer.diffuses ? networks : has_target ? 3 : 1;
  const double path = product_seconds(squares * inputs * inputs * width, shallow_share(b)) +
                      inputs * width * kernel_seconds_per_weight(b) * crowding_;
  const double residual = product_seconds(4 * inputs * inputs * width, shallow_share(b));
  const double sweep = product_seconds(2 * inputs * inputs * width, shallow_share(b)) +
                       inputs * width * kernel_seconds_per_weight(b) * crowding_;
  const double error = layer.error_from_products
                           ? product_seconds(squares_of_error(layer) * inputs * inputs * width, shallow_share(b))
                           : 0.0;
  const int searched = layer.candidates > 1 ? layer.candidates : 0;
  estimate.seconds["path"] += over_threads(most_tiles * searched) * (path + residual) +
                              over_threads(most_tiles) * (path + (layer.sweeps > 0 ? residual : 0.0) + layer.sweeps * sweep + error);
  add_weights_and_codes(layer, most_tiles, estimate);

  hold(gram_memory(layer), 0, estimate);
}

/// The largest of the phases: rows are added to the sums, these become numbers, a factor is made of them, tiles use both.
Index Estimator::gram_memory(const LayerPlan& layer) const {
  const quant::PathShape& shape = layer.path;
  const GramShares shares = gram_shares(layer, threads_, config_.memory_per_rank);
  const GramMemory products(layer);
  const Index chunks = ShardPlan(shape.chunk_total(), 1, ranks_).most_pieces();
  const Index rows = std::min(shape.samples, std::min(chunks, shares.window_chunks) * shape.sample_chunk);
  const Index of_rows = std::min(plan_.samples, ceil_div(rows, layer.rows_per_sample) + (layer.is_conv ? 1 : 0));
  const Index samples = layer.needs_whole_chunks() ? of_rows : layer.window_samples;
  const Index columns =
      shape.networks() * round_up(std::min(shape.samples, shape.sample_chunk), alignment_floats) * shape.inputs * float_bytes;
  const Index partial = quant::GramProducts::partial_bytes(layer.gram_extent());
  const Index threads = std::min<Index>(shares.threads, layer.problems > 1 ? layer.problems : threads_);
  const Index adding = products.sums + samples * layer.window_sample_bytes + threads * partial +
                       (layer.gathers_chunks ? layer.problems : layer.problems > 1 ? threads : 1) * columns;
  const Index turning = products.sums + products.turning;

  const bool has_target = layer.corrects_target && !shape.shared;
  const Index factors =
      layer.diffuses ? layer.problems * quant::DiffusionFactor::bytes(shape.inputs, shape.block_width, has_target) : 0;
  const Index copy = shape.inputs * shape.inputs * float_bytes;  // while the inputs of a product are put in order
  const Index solving = layer.diffuses ? factors + quant::DiffusionFactor::work_bytes(shape.inputs, has_target)
                                       : layer.orders_by_activation ? copy : 0;
  const Index most_tiles = ShardPlan(layer.tile_count(), 1, ranks_).most_pieces();
  const Index at_once = std::min(shares.tiles, std::max<Index>(most_tiles, layer.candidates));
  const Index tiles = factors + at_once * layer.tile_bytes +
                      (layer.problems > 1 ? std::min(layer.neurons, rows_together(layer)) * layer.inputs * (float_bytes + 1) : 0);
  return std::max({adding, turning, products.numbers + std::max(solving, tiles)});
}

/// Root makes it, in double precision, and sends it to the others.
void Estimator::add_factor(const LayerPlan& layer, bool has_target, LayerEstimate& estimate) const {
  const double inputs = real(layer.path.inputs);
  const double flops = (has_target ? 10.0 : 4.0) / 3 * inputs * inputs * inputs;  // LLᵀ, its inverse, two solves
  const Index bytes = quant::DiffusionFactor::bytes(layer.path.inputs, layer.path.block_width, has_target);
  estimate.seconds["factor"] += real(layer.problems) * (product_seconds(flops, factor_share) +
                                                        sum_seconds(bytes / sum_bytes, ranks_, per_node_));
}

void Estimator::add_rounding(const LayerPlan& layer, LayerEstimate& estimate) const {
  const Index most_tiles = ShardPlan(layer.tile_count(), 1, ranks_).most_pieces();
  const double weights = real(most_tiles * layer.tile_width * layer.path.inputs);
  estimate.seconds["path"] += weights * weight_seconds * crowding_;
  add_weights_and_codes(layer, most_tiles, estimate);
  hold(layer.tile_bytes, 0, estimate);
}

void Estimator::add_weights_and_codes(const LayerPlan& layer, Index tiles, LayerEstimate& estimate) const {
  const double weights = real(std::min(tiles * layer.tile_width, layer.neurons * layer.problems) * layer.path.inputs);
  const double calls = real(tiles) * call_seconds;
  estimate.seconds["read"] += weights * float_bytes / read_rate_ + calls;
  estimate.seconds["write"] += weights * (per_node_ / write_rate_ + crowding_ / rates_.digest_bytes_per_second) + calls;
}

/// One network through nodes first .. last−1.
double Estimator::node_seconds(int first, int last, Index samples) const {
  double seconds = 0;
  for (int index = first; index < last; ++index) {
    const net::Node& node = graph_.node(index);
    const double values = real(samples * element_count(node.shape));
    seconds += 2 * values * float_bytes / memory_rate_;
    if (!net::is_linear(node.op)) continue;
    const Shape& weight = graph_.tensor_shape(node.parameters.at("weight"));
    const double inputs = real(element_count(weight) / weight.front());
    seconds += product_seconds(2 * values * inputs, propagation_share) / threads_;
    seconds += real(element_count(weight)) * float_bytes / read_rate_ + call_seconds;
    if (node.op == net::Op::conv)
      seconds += values / real(weight.front()) * inputs * patch_seconds_per_entry * crowding_ / threads_;
  }
  return seconds;
}

/// Most of a wave: both networks' values at a node, or what is read or written and its transposed copy.
Index Estimator::propagation_memory(int first, int last) const {
  const auto floats_at = [&](int cut) {
    Index floats = 0;
    for (const int node : net::live_at(graph_, cut)) floats += element_count(graph_.node(node).shape);
    return floats;
  };
  const Index floats =
      std::max({2 * net::peak_floats_per_sample(graph_, first, last), 3 * floats_at(first), 3 * floats_at(last)});
  const Index mine = ShardPlan(plan_.samples, plan_.sample_unit, ranks_).items_of(0).size();
  const Index wave = std::min(mine, samples_per_wave(plan_, graph_, first, last, config_.memory_per_rank));
  const Index bytes = plan_.weight_tile_bytes + wave * floats * float_bytes +
                      threads_ * net::scratch_floats_per_thread(graph_, first, last) * float_bytes;
  // Vectors lie input by input, so that a wave's samples are pieces of every row.
  const std::vector<int> live = net::live_at(graph_, last);
  const bool adjoins = std::all_of(live.begin(), live.end(), [&](int at) { return graph_.node(at).shape.size() > 1; });
  return adjoins ? bytes : bytes + collective_write_memory;
}

/// What propagation reads at `first`, computes, and keeps at `cut`.
void Estimator::add_stored_cut(int first, int cut, bool keep, LayerEstimate& estimate) const {
  const auto networks = [&](int node) { return differs_[static_cast<std::size_t>(node)] ? 2 : 1; };
  const Index mine = ShardPlan(plan_.samples, plan_.sample_unit, ranks_).items_of(0).size();
  const double share = real(mine) / real(std::max<Index>(1, plan_.samples));
  double seconds = 0;
  Index read = 0;
  Index written = 0;
  if (first > 0)
    for (const int node : net::live_at(graph_, first)) {
      read += plan_.samples * networks(node) * element_count(graph_.node(node).shape) * float_bytes;
      seconds += networks(node) * call_seconds;
    }
  if (keep)
    for (const int node : net::live_at(graph_, cut)) {
      if (node < first && first > 0) continue;
      written += plan_.samples * networks(node) * element_count(graph_.node(node).shape) * float_bytes;
      seconds += networks(node) * file_seconds;
    }
  estimate.bytes_read += read;
  estimate.bytes_written += written;
  seconds += share * real(read) * (1 / read_rate_ + 1 / memory_rate_);
  seconds += share * real(written) *
             (2 / memory_rate_ + crowding_ / rates_.digest_bytes_per_second / threads_ +
              2 * crowding_ / scan_bytes_per_second);
  seconds += write_seconds(written);  // collective: one rank of a node writes for all
  seconds += (first > 0 ? 2 : 1) * node_seconds(first, cut, mine);
  estimate.seconds["propagate"] += seconds;
  hold(propagation_memory(first, cut), 0, estimate);
}

void Estimator::add_propagation(int first, int last, bool keep, LayerEstimate& estimate) const {
  add_stored_cut(first, last, keep, estimate);
  const Index mine = ShardPlan(plan_.samples, plan_.sample_unit, ranks_).items_of(0).size();
  estimate.seconds["propagate"] +=  // of the layer's error
      2 * scan_seconds(real(2 * mine * element_count(graph_.node(first).shape) * float_bytes));
}

}  // namespace

double kernel_seconds_per_weight(Index block_width) {
  return kernel_seconds_fixed + kernel_seconds_per_input * real(block_width);
}

double Placement::crowding(int threads) const {
  return std::max(1.0, static_cast<double>(ranks_per_node()) * threads / cores_per_node);
}

Placement place_ranks(int ranks, int nodes, int threads, int cores_per_node) {
  const Index needed = ceil_div(static_cast<Index>(ranks) * threads, cores_per_node);
  return {ranks, nodes > 0 ? nodes : static_cast<int>(std::min<Index>(needed, ranks)), cores_per_node};
}

double LayerEstimate::total_seconds() const {
  double sum = 0;
  for (const auto& phase : seconds) sum += phase.second;
  return sum;
}

JobEstimate estimate_job(const JobPlan& plan, const net::Graph& graph, const Config& config, const MachineRates& rates,
                         const Placement& placement, const JobExtent& extent) {
  const Estimator estimator(plan, graph, config, rates, placement);
  const std::vector<const LayerPlan*> layers = plan.quantized_layers();
  JobEstimate job;
  LayerEstimate start;
  if (graph.is_network())
    start = estimator.start(layers.front()->node);
  else
    start.rank_memory = start.peak_memory = copying_bytes(config, graph, placement.ranks);
  const Index base = own_base_memory + library_memory + (placement.ranks > 1 ? collective_write_memory : 0);
  const Index per_node = placement.ranks_per_node();
  const auto of_node = [&](Index rank_memory) { return library_memory + per_node * (rank_memory - library_memory); };
  job.peak_memory = base + start.peak_memory;
  job.node_memory = of_node(base + start.rank_memory);
  job.start_seconds =
      start_seconds + start.total_seconds() + estimator.root_write_seconds(plan.output_bytes - code_bytes(plan));
  // Read and written: by root, or by all ranks where there is no network.
  if (extent.is_imported)
    job.start_seconds += 2 * (graph.is_network() ? estimator.root_write_seconds(model_file_bytes(graph))
                                                 : estimator.write_seconds(model_file_bytes(graph)));
  job.finish_seconds = estimator.evaluation_seconds(extent.evaluation_samples);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    LayerEstimate layer;
    if (graph.is_network()) {
      layer = estimator.layer(*layers[i], i + 1 < layers.size() ? layers[i + 1] : nullptr);
    } else {
      const JobPlan alone = plan_alone(graph, *layers[i]);
      layer = Estimator(alone, graph, config, rates, placement).layer_alone(*layers[i]);
    }
    job.peak_memory = layer.peak_memory = std::max(job.peak_memory, base + layer.peak_memory);
    layer.disk_bytes += plan.model_copy_bytes;
    layer.rank_memory += base;
    layer.node_memory = of_node(layer.rank_memory);
    job.node_memory = std::max(job.node_memory, layer.node_memory);
    layer.proportional_memory += base - library_memory + library_memory / placement.ranks_per_node();
    job.bytes_read += layer.bytes_read;
    job.bytes_written += layer.bytes_written;
    job.seconds += layer.total_seconds() + layer_seconds;
    job.finish_seconds += estimator.digest_seconds(*layers[i]);
    job.flops += layers[i]->flops;
    job.layers.push_back(std::move(layer));
  }
  job.seconds += job.start_seconds + job.finish_seconds;
  job.proportional_memory = job.node_memory / per_node;
  job.smallest_memory = plan.smallest_memory();
  job.checkpoint_bytes = checkpoint_bytes(plan, config, placement.ranks);
  const Index copy_bytes = extent.is_imported ? model_file_bytes(graph) : 0;
  job.disk_bytes = plan.store_bytes + plan.output_bytes + copy_bytes + job.checkpoint_bytes;
  return job;
}

}  // namespace gpfq::job
