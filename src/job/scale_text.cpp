// SPDX-License-Identifier: Apache-2.0
// The model of scale as tables and as JSON.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "gpfq/base/error.hpp"
#include "job/scale.hpp"

namespace gpfq::job {
namespace {

using OrderedJson = nlohmann::ordered_json;
using Reading = ScaleDesign::Reading;
using Products = ScaleDesign::Products;

constexpr int most_ranks = 4096;

const char* name_of(Reading reading) { return reading == Reading::once ? "once" : "each"; }
const char* name_of(Products products) {
  return products == Products::each_rank ? "rank" : products == Products::node ? "node" : "all";
}

std::string title(const LayerPlan& layer, const ScaleMachine& machine) {
  return fmt::format(
      "m = {}, N = {}, n = {}, {}; blocks of {}, tiles of {}\n"
      "nodes of {} cores at {:g} Gflop/s, {:g} GB, memory {:g} GB/s; network {:g} us, {:g} GB/s per node; files {:g} "
      "GB/s, "
      "{:g} GB/s per node\n",
      layer.path.samples, layer.path.inputs, layer.neurons, layer.path.shared ? "X = Xq" : "X and Xq differ",
      layer.path.block_width, layer.tile_width, machine.cores_per_node, machine.gflops, machine.node_memory_gb,
      machine.memory_gb, machine.latency_us, machine.network_gb, machine.files_gb, machine.node_files_gb);
}

std::string points_table(const LayerPlan& layer, const ScaleMachine& machine, const ScaleDesign& design) {
  std::string text = fmt::format(
      "\nblocks read by {}, G and C formed by {}{}; seconds\n{:>5} {:>5} {:>8} {:>5} {:>9} {:>8} {:>7} {:>7} {:>8} "
      "{:>8} "
      "{:>7} {:>7} {:>6} {:>9} {:>6}  limit\n",
      design.reading == Reading::once ? "one node each" : "each node",
      design.products == Products::each_rank ? "each rank"
      : design.products == Products::node    ? "each node"
                                             : "all ranks",
      design.read_ahead ? ", read ahead" : "", "ranks", "nodes", "grid", "waves", "path", "G, C", "kernel", "sums",
      "reading", "exchange", "weights", "output", "root", "total", "eff.");
  for (int ranks = 2; ranks <= most_ranks; ranks *= 2) {
    const ScalePoint p = predict_scale(layer, machine, design, ranks);
    text += fmt::format(
        "{:>5} {:>5} {:>8} {:>5} {:>9.1f} {:>8.1f} {:>7.1f} {:>7.2f} {:>8.1f} {:>8.1f} {:>7.1f} {:>7.1f} {:>6.1f} "
        "{:>9.1f} "
        "{:>5.0f}%  {}\n",
        p.ranks, p.nodes, fmt::format("{}x{}", p.grid.neurons, p.grid.samples), p.waves, p.path, p.products, p.kernel,
        p.sums, p.reading, p.exchange, p.weights, p.output, p.root, p.total, 100 * p.efficiency, p.limit);
  }
  return text;
}

/// Totals of all designs.
std::string design_table(const LayerPlan& layer, const ScaleMachine& machine, const ScaleDesign& given) {
  std::vector<ScaleDesign> designs;
  for (const Reading reading : {Reading::each_node, Reading::once})
    for (const Products products : {Products::each_rank, Products::node, Products::all_ranks})
      designs.push_back({reading, products, given.read_ahead, given.copies_model});
  std::string text = "\nall designs (read by, G and C by): total seconds, efficiency\nranks";
  for (const ScaleDesign& design : designs)
    text += fmt::format(" {:>15}", fmt::format("{}, {}", name_of(design.reading), name_of(design.products)));
  text += "\n";
  for (int ranks = 2; ranks <= most_ranks; ranks *= 2) {
    text += fmt::format("{:>5}", ranks);
    for (const ScaleDesign& design : designs) {
      const ScalePoint p = predict_scale(layer, machine, design, ranks);
      text += fmt::format(" {:>10.1f} {:>3.0f}%", p.total, 100 * p.efficiency);
    }
    text += "\n";
  }
  return text;
}

OrderedJson point_json(const ScalePoint& p) {
  return {{"ranks", p.ranks},
          {"nodes", p.nodes},
          {"grid", fmt::format("{}x{}", p.grid.neurons, p.grid.samples)},
          {"waves", p.waves},
          {"seconds",
           {{"path", p.path},
            {"products", p.products},
            {"kernel", p.kernel},
            {"sums", p.sums},
            {"reading", p.reading},
            {"exchange", p.exchange},
            {"weights", p.weights},
            {"output", p.output},
            {"root", p.root}}},
          {"seconds_total", p.total},
          {"efficiency", p.efficiency},
          {"limit", p.limit}};
}

/// @throws Error (input) where nodes of so little memory do not hold their ranks
LayerPlan plan_on_nodes(const ScaleShape& shape, const ScaleMachine& machine) {
  LayerPlan layer = plan_of_shape(shape);
  double needed = 0;
  for (int ranks = 2; ranks <= most_ranks; ranks *= 2) needed = std::max(needed, node_memory_needed(layer, machine, ranks));
  if (machine.node_memory_gb < needed)
    throw_input("scale: --node-memory-gb is {:g}; expected at least {:.3f}: a block and a tile for each of a node's ranks, {} of them",
                machine.node_memory_gb, needed + 0.001, machine.cores_per_node);
  return layer;
}

}  // namespace

std::string scale_table(const ScaleShape& shape, const ScaleMachine& machine, const ScaleDesign& design) {
  const LayerPlan layer = plan_on_nodes(shape, machine);
  return title(layer, machine) + points_table(layer, machine, design) + design_table(layer, machine, design);
}

std::string scale_json(const ScaleShape& shape, const ScaleMachine& machine, const ScaleDesign& design) {
  const LayerPlan layer = plan_on_nodes(shape, machine);
  OrderedJson json = {{"inputs", layer.path.inputs},     {"neurons", layer.neurons},
                      {"samples", layer.path.samples},   {"shared_inputs", layer.path.shared},
                      {"block", layer.path.block_width}, {"tile", layer.tile_width},
                      {"read", name_of(design.reading)}, {"products", name_of(design.products)},
                      {"points", OrderedJson::array()}};
  for (int ranks = 2; ranks <= most_ranks; ranks *= 2)
    json["points"].push_back(point_json(predict_scale(layer, machine, design, ranks)));
  return json.dump(2) + "\n";
}

}  // namespace gpfq::job
