// SPDX-License-Identifier: Apache-2.0
// Residual form: blocks of inputs stream past a wave of tiles. No rank ever holds a whole activation or weight matrix.
#include "job/layer_path.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include "gpfq/base/digest.hpp"
#include "gpfq/base/parallel.hpp"
#include "gpfq/base/system.hpp"
#include "gpfq/quant/tile_path.hpp"

namespace gpfq::job {
namespace {

/// One rank's place in the grid and its part of the layer.
struct Shard {
  mpi::Communicator row;     ///< ranks with the same tiles and other rows
  Range tiles;
  quant::PathShape shape;    ///< with this rank's rows
};

Shard make_shard(const LayerTask& task) {
  const int neuron_group = task.comm.rank() / task.grid.samples;
  const int sample_group = task.comm.rank() % task.grid.samples;
  quant::PathShape shape = task.layer.path;
  const Range chunks = ShardPlan(shape.chunk_total(), 1, task.grid.samples).pieces_of(sample_group);
  shape.first_chunk = chunks.begin;
  shape.local_chunks = chunks.size();
  return {task.comm.split(neuron_group, sample_group),
          ShardPlan(task.layer.tile_count(), 1, task.grid.neurons).pieces_of(neuron_group), shape};
}

void read_block(const LayerTask& task, const LayerRows& rows, Index first, Index count, quant::InputBlock& block) {
  rows.fill(first, count, block);
  if (const auto found = block.find_unusable())
    throw_input("layer '{}': input {} is not usable at sample {}: expected finite activations below 1e15",
                task.layer.name, first + found->second, found->first / task.layer.rows_per_sample);
}

/// All blocks past the tiles of one wave.
void run_wave(const LayerTask& task, const Shard& shard, const LayerRows& rows,
              std::vector<std::unique_ptr<quant::TilePath>>& tiles, quant::InputBlock& block, RankReport& report,
              bool is_first) {
  RankReducer reducer(shard.row);
  const Index inputs = shard.shape.inputs;
  const auto for_tiles = [&](const std::function<void(quant::TilePath&)>& work) {
    parallel_for(static_cast<Index>(tiles.size()), task.threads,
                 [&](Index i) { work(*tiles[static_cast<std::size_t>(i)]); });
  };
  for (Index first = 0; first < inputs; first += shard.shape.block_width) {
    Stopwatch reading;
    shard.row.agree([&] { read_block(task, rows, first, std::min(shard.shape.block_width, inputs - first), block); });
    report.seconds["read"] += reading.seconds();
    Stopwatch forming;
    block.form_products(task.threads, reducer);
    report.seconds["products"] += forming.seconds();
    Stopwatch advancing;
    for_tiles([&](quant::TilePath& tile) { tile.project(block); });
    if (shard.row.size() > 1)
      for (auto& tile : tiles) reducer.sum(tile->sums());
    for_tiles([&](quant::TilePath& tile) { tile.quantize(block); });
    report.seconds["path"] += advancing.seconds();
    if (is_first) report.dead_inputs += block.dead_count();
  }
}

}  // namespace

std::vector<quant::Alphabet> alphabets_of(const LayerTask& task, const TileBox& box) {
  const auto first = task.alphabets.alphabets.begin() + box.first_neuron;
  return {first, first + box.neurons};
}

void read_tile_weights(const LayerTask& task, const TileBox& box, std::span<float> weights) {
  const LayerPlan& layer = task.layer;
  if (!layer.channelwise) return task.weights.read_rows(layer.tensor, box.first_neuron, box.neurons, weights.data());
  std::vector<float> rows(static_cast<std::size_t>(box.neurons * layer.inputs));
  task.weights.read_rows(layer.tensor, box.first_neuron, box.neurons, rows.data());
  for (Index neuron = 0; neuron < box.neurons; ++neuron)
    std::copy_n(rows.data() + neuron * layer.inputs + box.first_input, layer.path.inputs,
                weights.data() + neuron * layer.path.inputs);
}

void finish_tile(const LayerTask& task, const TileBox& box, std::span<const std::uint8_t> codes, Index saturated,
                 Index zeros, RankReport& report) {
  const LayerPlan& layer = task.layer;
  task.result.write_codes(layer.name, {box.first_neuron, box.neurons, box.first_input, layer.path.inputs}, codes.data());
  TileReport& tile = report.tiles.emplace_back();
  tile.first_neuron = box.first_neuron;
  tile.neurons = box.neurons;
  tile.first_input = box.first_input;
  tile.inputs = layer.path.inputs;
  tile.codes_sha256 = sha256(codes.data(), static_cast<Index>(codes.size()));
  tile.saturated = saturated;
  tile.zeros = zeros;
}

void quantize_by_path(const LayerTask& task, RankReport& report) {
  const LayerPlan& layer = task.layer;
  const Shard shard = make_shard(task);
  if (shard.tiles.empty()) return;
  const Index wave_tiles = tiles_per_wave(layer, task.memory_per_rank);
  const LayerRows rows(task.graph, layer, task.inputs);
  quant::InputBlock block(shard.shape);
  for (Index begin = shard.tiles.begin; begin < shard.tiles.end; begin += wave_tiles) {
    const Range wave{begin, std::min(shard.tiles.end, begin + wave_tiles)};
    std::vector<std::unique_ptr<quant::TilePath>> tiles;
    Stopwatch reading;
    shard.row.agree([&] {
      for (Index tile = wave.begin; tile < wave.end; ++tile) {
        const TileBox box = tile_box(layer, tile);
        tiles.push_back(std::make_unique<quant::TilePath>(shard.shape, layer.tile_width, alphabets_of(task, box)));
        read_tile_weights(task, box, tiles.back()->weights());
      }
    });
    report.seconds["read"] += reading.seconds();
    run_wave(task, shard, rows, tiles, block, report, begin == shard.tiles.begin);
    report.proportional_memory = std::max(report.proportional_memory, proportional_memory_bytes());
    Stopwatch writing;
    shard.row.agree([&] {
      if (!shard.row.is_root()) return;  // the row's ranks all have the same codes
      for (Index tile = wave.begin; tile < wave.end; ++tile) {
        const quant::Tile& path = tiles[static_cast<std::size_t>(tile - wave.begin)]->tile();
        finish_tile(task, tile_box(layer, tile), path.codes(), path.saturated(), path.zeros(), report);
      }
    });
    report.seconds["write"] += writing.seconds();
  }
}

void quantize_by_rounding(const LayerTask& task, RankReport& report) {
  const LayerPlan& layer = task.layer;
  const Stopwatch rounding;
  const Range tiles = ShardPlan(layer.tile_count(), 1, task.comm.size()).pieces_of(task.comm.rank());
  for (Index tile = tiles.begin; tile < tiles.end; ++tile) {
    const TileBox box = tile_box(layer, tile);
    const std::vector<quant::Alphabet> alphabets = alphabets_of(task, box);
    std::vector<float> values(static_cast<std::size_t>(box.neurons * layer.path.inputs));
    std::vector<std::uint8_t> codes(values.size());
    read_tile_weights(task, box, values);
    Index saturated = 0;
    Index zeros = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const quant::Alphabet& alphabet = alphabets[i / static_cast<std::size_t>(layer.path.inputs)];
      const int code = alphabet.nearest(values[i]);
      codes[i] = static_cast<std::uint8_t>(code);
      saturated += std::abs(values[i]) > static_cast<float>(alphabet.levels()) * alphabet.step() ? 1 : 0;
      zeros += 2 * code == alphabet.levels() - 1 ? 1 : 0;
    }
    finish_tile(task, box, codes, saturated, zeros, report);
  }
  report.seconds["path"] += rounding.seconds();
}

}  // namespace gpfq::job
