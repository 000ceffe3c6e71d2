// SPDX-License-Identifier: Apache-2.0
// Per block of b inputs: read (or read and exchange), form G and C, project, sum over the ranks with other rows, run
// the kernel, update U. The network's terms are those of R. Thakur et al., IJHPCA 19(1), 2005.
#include "job/scale.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "gpfq/base/error.hpp"
#include "gpfq/quant/radius.hpp"
#include "gpfq/quant/tile_path.hpp"
#include "job/estimate.hpp"
#include "job/form_choice.hpp"
#include "job/grid.hpp"
#include "job/units.hpp"

namespace gpfq::job {
namespace {

constexpr double micro = 1e-6;
constexpr double memory_share_of_ranks = 0.9;
// A read through HDF5 and an agreement of the ranks that read together, per block.
constexpr double block_call_seconds = 1.5e-4;

/// The layer's work on the slowest rank.
class ScaleModel {
 public:
  ScaleModel(const LayerPlan& layer, const ScaleMachine& machine, const ScaleDesign& design, int ranks)
      : layer_(layer),
        machine_(machine),
        design_(design),
        ranks_(ranks),
        per_node_(std::min(ranks, machine.cores_per_node)) {
    nodes_ = (ranks + per_node_ - 1) / per_node_;
    grid_ = choose_grid(layer, Config(), ranks);
    const quant::PathShape& path = layer.path;
    chunks_ = ShardPlan(path.chunk_total(), 1, grid_.samples).most_pieces();
    rows_ = real(std::min(path.samples, chunks_ * path.sample_chunk));
    inputs_ = real(path.inputs);
    b_ = path.block_width;
    blocks_ = real(ceil_div(path.inputs, b_));
    networks_ = path.shared ? 1 : 2;
    tiles_ = ShardPlan(layer.tile_count(), 1, grid_.neurons).most_pieces();
    quant::PathShape local = path;
    local.local_chunks = chunks_;
    const double room = machine.node_memory_gb * giga * memory_share_of_ranks / per_node_ - real(own_base_memory);
    const double windows = 2 * real(quant::InputBlock::bytes(local)) / per_node_;  // this block and the next, per node
    const double tile_bytes = real(quant::TilePath::bytes(local, layer.tile_width));
    needed_gb_ = (windows + tile_bytes + real(own_base_memory)) * per_node_ / memory_share_of_ranks / giga;
    wave_ = std::clamp<Index>(static_cast<Index>((room - windows) / tile_bytes), 1, tiles_);
    waves_ = ceil_div(tiles_, wave_);
  }

  [[nodiscard]] ScalePoint point() const;
  [[nodiscard]] double needed_gb() const { return needed_gb_; }

 private:
  [[nodiscard]] double flop_rate() const { return machine_.gflops * giga; }
  /// What a rank has of its node's memory while all ranks use it.
  [[nodiscard]] double memory_rate() const { return machine_.memory_gb * giga / per_node_; }
  [[nodiscard]] double path_seconds() const;
  [[nodiscard]] double product_seconds() const;
  [[nodiscard]] double sum_seconds() const;
  [[nodiscard]] double pass_bytes_of_node() const;

  const LayerPlan& layer_;
  const ScaleMachine& machine_;
  const ScaleDesign& design_;
  int ranks_;
  int per_node_;
  int nodes_ = 1;
  RankGrid grid_;
  Index chunks_ = 0;  ///< of rows, of a rank
  double rows_ = 0;
  double inputs_ = 0;
  Index b_ = 0;
  double blocks_ = 0;
  double networks_ = 1;
  Index tiles_ = 0;  ///< of a rank
  Index wave_ = 1;   ///< of them at a time
  Index waves_ = 1;
  double needed_gb_ = 0;  ///< of a node's memory
};

/// The slower of arithmetic and memory: a block passes U once for P and twice for the update, both outputs where they
/// are kept instead, and every tile passes the block's columns.
double ScaleModel::path_seconds() const {
  const double width = real(layer_.tile_width);
  const double flops = 2 * rows_ * inputs_ * width;
  const bool keeps = layer_.path.keeps_outputs;
  const double updates = keeps ? 2 * flops / shallow_share(b_)
                               : networks_ * flops / shallow_share(static_cast<Index>(networks_) * b_);
  const double computing = flops / narrow_share(b_) + updates;
  const double bytes = blocks_ * rows_ * float_bytes * ((keeps ? 6 : 3) * width + (1 + networks_) * real(b_));
  return real(tiles_) * std::max(computing / flop_rate(), bytes / memory_rate());
}

/// Of a block's chunks of rows, those that one rank forms G and C of; at least one.
double ScaleModel::product_seconds() const {
  // Ranks of a row of the grid are neighbours, so a node holds every `grid.samples`-th rank with the same rows.
  const int same_rows_on_node = std::max(1, per_node_ / grid_.samples);
  const Index sharers = design_.products == ScaleDesign::Products::each_rank ? 1
                        : design_.products == ScaleDesign::Products::node    ? same_rows_on_node
                                                                             : grid_.neurons;
  const double rows = std::min(rows_, real(ceil_div(chunks_, sharers) * layer_.path.sample_chunk));
  const double flops = rows * inputs_ * block_products_cost(b_, static_cast<int>(networks_));
  const double bounds = networks_ * rows * inputs_ * float_bytes / memory_rate();
  return real(waves_) * (flops / flop_rate() + bounds);
}

double ScaleModel::sum_seconds() const {
  const double tile_bytes = real(b_ * layer_.tile_width) * sum_bytes;
  const double square_bytes = networks_ * real(b_ * b_) * sum_bytes;
  const int rows_per_node = std::min(grid_.samples, per_node_);
  const int groups_per_node = std::max(1, per_node_ / rows_per_node);
  const double tile = allreduce_seconds(tile_bytes, grid_.samples, rows_per_node, groups_per_node, machine_);
  double products = 0;
  if (design_.products == ScaleDesign::Products::all_ranks)
    products = allreduce_seconds(square_bytes, ranks_, per_node_, 1, machine_);
  else if (design_.products == ScaleDesign::Products::node)
    products = allreduce_seconds(square_bytes, std::max(grid_.samples, per_node_), per_node_, 1, machine_);
  else
    products = allreduce_seconds(square_bytes, grid_.samples, rows_per_node, groups_per_node, machine_);
  return blocks_ * (real(tiles_) * tile + real(waves_) * products);
}

/// Bytes of one pass over the inputs that a node needs: its ranks' rows.
double ScaleModel::pass_bytes_of_node() const {
  const double share = std::min(1.0, static_cast<double>(per_node_) / grid_.samples);
  return networks_ * real(layer_.path.samples) * inputs_ * float_bytes * share;
}

ScalePoint ScaleModel::point() const {
  ScalePoint point;
  point.ranks = ranks_;
  point.nodes = nodes_;
  point.grid = grid_;
  point.waves = waves_;
  point.path = path_seconds();
  point.products = product_seconds();
  point.kernel = real(tiles_) * inputs_ * real(layer_.tile_width) * kernel_seconds_per_weight(b_);
  point.sums = sum_seconds();

  const double passes = real(waves_);
  const double node_bytes = pass_bytes_of_node();
  const double all_nodes_bytes = node_bytes * nodes_;
  const double once_bytes = networks_ * real(layer_.path.samples) * inputs_ * float_bytes;
  const auto reading_seconds = [&](double of_node, double of_all) {
    return std::max(of_node / (machine_.node_files_gb * giga), of_all / (machine_.files_gb * giga));
  };
  if (design_.reading == ScaleDesign::Reading::each_node) {
    point.reading = passes * reading_seconds(node_bytes, all_nodes_bytes);
  } else {
    const int copies =
        std::max(1, static_cast<int>(std::lround(all_nodes_bytes / once_bytes)));  // nodes with equal rows
    point.reading = passes * reading_seconds(once_bytes / nodes_, once_bytes);
    point.exchange = passes * blocks_ * allgather_seconds(node_bytes / blocks_, copies, machine_);
  }
  point.reading += passes * blocks_ * block_call_seconds * (design_.read_ahead ? 0.0 : 1.0);

  const double weight_bytes = real(layer_.neurons) * inputs_ * float_bytes;
  const int weight_passes = 1 + quant::MagnitudeSelection::pass_count() + (design_.copies_model ? 2 : 0);
  point.weights = weight_passes * reading_seconds(weight_bytes / nodes_, weight_bytes);
  const double output_bytes =
      real(layer_.neurons) * inputs_ + 2 * real(layer_.path.samples) * real(layer_.neurons) * float_bytes;
  point.output = reading_seconds(output_bytes / nodes_, output_bytes);

  const double codes = real(layer_.neurons) * inputs_;
  point.root = codes / (machine_.digest_gb * giga) + codes / (machine_.node_files_gb * giga);

  const double computing = point.path + point.products + point.kernel + point.sums;
  const double first_block = point.reading / (passes * blocks_);
  // Reading hides behind computing, exchanging does not: ranks that wait for others would take the core.
  const double shown = point.exchange + (design_.read_ahead ? first_block + std::max(0.0, point.reading - computing)
                                                            : point.reading);
  point.total = computing + shown + point.weights + point.output + point.root;
  const double flops = 2 * (1 + networks_) * real(layer_.path.samples) * inputs_ * real(layer_.neurons);
  const double ideal = flops / (flop_rate() * ranks_);
  point.efficiency = ideal / point.total;

  const std::pair<double, const char*> losses[] = {
      {point.path - ideal, "products below the peak rate"},
      {point.products, "G and C"},
      {point.kernel, "block kernel"},
      {point.sums, "sums over ranks"},
      {shown, point.exchange > point.reading ? "exchange between nodes" : "reading"},
      {point.weights, "weights"},
      {point.output, "output"},
      {point.root, "root alone"}};
  point.limit = std::max_element(std::begin(losses), std::end(losses))->second;
  return point;
}

}  // namespace

double allreduce_seconds(double bytes, int ranks, int per_node, int at_once, const ScaleMachine& machine) {
  if (ranks <= 1) return 0;
  const auto level = [&](int places, double latency, double rate) {
    if (places <= 1) return 0.0;
    const double steps = std::ceil(std::log2(places));
    const double doubling = steps * (latency + bytes / rate);
    const double halving = 2 * steps * latency + 2 * bytes * (places - 1) / places / rate;
    return std::min(doubling, halving);
  };
  const int inside = std::min(ranks, per_node);
  const int nodes = (ranks + inside - 1) / inside;
  // Inside a node every byte is read twice and written once by each rank.
  const double memory_rate = machine.memory_gb * giga / (3.0 * inside * at_once);
  return level(inside, machine.node_latency_us * micro, memory_rate) +
         level(nodes, machine.latency_us * micro, machine.network_gb * giga / at_once);
}

double allgather_seconds(double bytes, int nodes, const ScaleMachine& machine) {
  if (nodes <= 1) return 0;
  return std::ceil(std::log2(nodes)) * machine.latency_us * micro +
         bytes * (nodes - 1) / nodes / (machine.network_gb * giga);
}

LayerPlan plan_of_shape(const ScaleShape& shape) {
  if (shape.inputs <= 0 || shape.neurons <= 0 || shape.samples <= 0)
    throw_input("scale: inputs, neurons and samples are to be positive, found {}, {} and {}", shape.inputs,
                shape.neurons, shape.samples);
  // The layer after one that makes X and Xq differ, or alone.
  net::Graph graph;
  const std::vector<Index> widths =
      shape.shared ? std::vector{shape.inputs, shape.neurons} : std::vector{shape.inputs, shape.inputs, shape.neurons};
  for (std::size_t i = 0; i < widths.size(); ++i) {
    net::Node& node = graph.nodes.emplace_back();
    node.name = fmt::format("layer{}", i);
    node.shape = {widths[i]};
    if (i == 0) continue;
    node.op = net::Op::dense;
    node.inputs = {static_cast<int>(i) - 1};
    node.parameters["weight"] = node.name;
    graph.tensors[node.name] = {widths[i], widths[i - 1]};
  }
  graph.output = graph.size() - 1;
  Config config = parse_config(R"({"model": "-", "calibration": {"file": "-", "inputs": "-"},
                                    "quantization": {"preset": "paper", "form": "residual"}})",
                               "/", "scale");
  config.memory_per_rank = Index{1} << 60;
  config.block = shape.block;
  return make_plan(graph, config, shape.samples).layers.back();
}

ScalePoint predict_scale(const LayerPlan& layer, const ScaleMachine& machine, const ScaleDesign& design, int ranks) {
  require(layer.form == Form::residual && !layer.is_conv, "predict_scale: a dense layer in residual form");
  require(ranks >= 1, "predict_scale: at least one rank");
  return ScaleModel(layer, machine, design, ranks).point();
}

double node_memory_needed(const LayerPlan& layer, const ScaleMachine& machine, int ranks) {
  return ScaleModel(layer, machine, {}, ranks).needed_gb();
}

}  // namespace gpfq::job
