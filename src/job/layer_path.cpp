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
#include "job/block_stream.hpp"

namespace gpfq::job {
namespace {

using Tiles = std::vector<std::unique_ptr<quant::TilePath>>;

/// One rank's part of the layer.
struct Shard {
  Range tiles;
  quant::PathShape shape;  ///< with this rank's rows
};

Shard make_shard(const LayerTask& task) {
  const int neuron_group = task.comm.rank() / task.grid.samples;
  const int sample_group = task.comm.rank() % task.grid.samples;
  quant::PathShape shape = task.layer.path;
  const Range chunks = ShardPlan(shape.chunk_total(), 1, task.grid.samples).pieces_of(sample_group);
  shape.first_chunk = chunks.begin;
  shape.local_chunks = chunks.size();
  return {ShardPlan(task.layer.tile_count(), 1, task.grid.neurons).pieces_of(neuron_group), shape};
}

/// All blocks past the tiles of one wave. A rank without tiles takes its share of reading and of G and C.
void run_wave(const LayerTask& task, const StreamRanks& ranks, Tiles& tiles, BlockStream& stream, RankReport& report,
              bool is_first) {
  RankReducer reducer(ranks.row);
  const auto for_tiles = [&](const std::function<void(quant::TilePath&)>& work) {
    parallel_for(static_cast<Index>(tiles.size()), task.threads,
                 [&](Index i) { work(*tiles[static_cast<std::size_t>(i)]); });
  };
  for (Index index = 0; index < stream.block_count(); ++index) {
    const quant::InputBlock& block = stream.block(index, report);
    const Stopwatch advancing;
    for_tiles([&](quant::TilePath& tile) { tile.project(block); });
    for (auto& tile : tiles) reducer.sum(tile->sums());
    for_tiles([&](quant::TilePath& tile) { tile.quantize(block); });
    report.seconds["path"] += advancing.seconds();
    if (is_first) report.dead_inputs += block.dead_count();
  }
}

Tiles read_tiles(const LayerTask& task, const Shard& shard, Range wave) {
  Tiles tiles;
  for (Index tile = wave.begin; tile < wave.end; ++tile) {
    const TileBox box = tile_box(task.layer, tile);
    tiles.push_back(std::make_unique<quant::TilePath>(shard.shape, task.layer.tile_width, alphabets_of(task, box)));
    read_tile_weights(task, box, tiles.back()->weights());
  }
  return tiles;
}

}  // namespace

std::vector<quant::Alphabet> alphabets_of(const LayerTask& task, const TileBox& box) {
  const auto first = task.alphabets.alphabets.begin() + box.first_neuron;
  return {first, first + box.neurons};
}

void read_tile_weights(const LayerTask& task, const TileBox& box, std::span<float> weights) {
  task.weights.read_rows(task.layer.tensor, box.first_neuron, box.neurons, weights.data());
}

void finish_tile(const LayerTask& task, const TileBox& box, std::span<const std::uint8_t> codes, Index saturated,
                 Index zeros, RankReport& report) {
  const LayerPlan& layer = task.layer;
  task.result.write_codes(layer.name, {box.first_neuron, box.neurons, box.first_input, box.inputs}, codes.data());
  TileReport& tile = report.tiles.emplace_back();
  tile.first_neuron = box.first_neuron;
  tile.neurons = box.neurons;
  tile.first_input = box.first_input;
  tile.inputs = box.inputs;
  tile.codes_sha256 = sha256(codes.data(), static_cast<Index>(codes.size()));
  tile.saturated = saturated;
  tile.zeros = zeros;
}

void quantize_by_path(const LayerTask& task, RankReport& report) {
  const Shard shard = make_shard(task);
  const StreamRanks ranks(task.comm, task.grid, task.stream.ranks_per_node);
  const Index window_bytes = 2 * quant::InputBlock::value_count(shard.shape) * static_cast<Index>(sizeof(float));
  const bool lacks_room = mpi::SharedWindow::room() < window_bytes * ranks.columns_on_node;
  const bool share = task.comm.max(lacks_room ? Index{1} : Index{0}) == 0;
  const StreamMemory memory =
      divide_memory(task.layer, shard.shape, share ? ranks.node.size() : 1, task.memory_per_rank);
  // The ranks of a row work on the same tiles at the same time, and all take part in every wave.
  const Index wave_tiles = -task.comm.max(-memory.wave_tiles);
  const bool read_ahead = task.comm.max(memory.read_ahead ? Index{0} : Index{1}) == 0;
  const Index waves = task.comm.max(ceil_div(shard.tiles.size(), wave_tiles));
  const int output_threads = static_cast<int>(std::min<Index>(task.threads, memory.pieces));
  const LayerRows rows(task.graph, task.layer, task.inputs);
  report.copies_blocks = !share && ranks.node.size() > 1;
  BlockStream stream(task.comm, ranks, rows, shard.shape, task.layer.name,
                     {task.stream.exchange, share, read_ahead, task.threads});
  for (Index index = 0; index < waves; ++index) {
    const Index begin = std::min(shard.tiles.end, shard.tiles.begin + index * wave_tiles);
    const Range wave{begin, std::min(shard.tiles.end, begin + wave_tiles)};
    Tiles tiles;
    const Stopwatch reading;
    task.comm.agree([&] { tiles = read_tiles(task, shard, wave); });
    report.seconds["read"] += reading.seconds();
    run_wave(task, ranks, tiles, stream, report, index == 0);
    report.proportional_memory = std::max(report.proportional_memory, proportional_memory_bytes());
    const Stopwatch writing;
    task.comm.agree([&] {
      for (Index tile = wave.begin; tile < wave.end; ++tile) {
        const quant::TilePath& path = *tiles[static_cast<std::size_t>(tile - wave.begin)];
        if (task.outputs != nullptr) task.outputs->take(tile, path, shard.shape, output_threads);
        if (!ranks.row.is_root()) continue;  // the row's ranks all have the same codes
        finish_tile(task, tile_box(task.layer, tile), path.codes(), path.tile().saturated(), path.tile().zeros(), report);
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
