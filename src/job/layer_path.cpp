// SPDX-License-Identifier: Apache-2.0
// Residual form: blocks of inputs stream past a wave of tiles. No rank ever holds a whole activation or weight matrix.
#include "job/layer_path.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <memory>

#include "gpfq/base/digest.hpp"
#include "gpfq/base/parallel.hpp"
#include "gpfq/base/system.hpp"
#include "gpfq/quant/tile_path.hpp"
#include "job/block_stream.hpp"
#include "job/checkpointer.hpp"
#include "job/tile_states.hpp"

namespace gpfq::job {
namespace {

/// This rank's place in the grid.
struct Place {
  int neuron_group;
  quant::PathShape shape;  ///< with its rows
};

Place place_of(const LayerTask& task) {
  quant::PathShape shape = task.layer.path;
  const Range chunks = ShardPlan(shape.chunk_total(), 1, task.grid.samples).pieces_of(task.comm.rank() % task.grid.samples);
  shape.first_chunk = chunks.begin;
  shape.local_chunks = chunks.size();
  return {task.comm.rank() / task.grid.samples, shape};
}

/// Tiles that stand at the same input.
struct TileGroup {
  Index next_input = 0;
  std::vector<Index> tiles;  ///< ascending
};

/// What is left of the layer, tiles that are furthest on first.
std::vector<TileGroup> groups_of(const LayerPlan& layer, const LayerProgress& progress) {
  std::vector<Index> next(static_cast<std::size_t>(layer.tile_count()), 0);
  for (const TileRecord& tile : progress.tiles) next.at(static_cast<std::size_t>(tile.tile)) = tile.next_input;
  for (const TileReport& tile : progress.report.tiles)
    next.at(static_cast<std::size_t>(tile.first_neuron / layer.tile_width)) = layer.path.inputs;
  std::map<Index, TileGroup, std::greater<>> groups;
  for (std::size_t tile = 0; tile < next.size(); ++tile) {
    if (next[tile] == layer.path.inputs) continue;
    groups[next[tile]].next_input = next[tile];
    groups[next[tile]].tiles.push_back(static_cast<Index>(tile));
  }
  std::vector<TileGroup> ordered;
  for (auto& group : groups) ordered.push_back(std::move(group.second));
  return ordered;
}

/// The path of one layer on one rank.
class PathRun {
 public:
  PathRun(const LayerTask& task, RankReport& report);
  void run();

 private:
  void run_group(const TileGroup& group);
  [[nodiscard]] TileWave wave_of(const TileGroup& group, Index index) const;
  void begin_tiles(const TileWave& wave, Index next_input);
  void run_blocks(const TileWave& wave, Index first_block);
  void finish_tiles(const TileWave& wave);

  const LayerTask& task_;
  RankReport& report_;
  const LayerProgress resumed_;  ///< of an earlier run
  const Place place_;
  const StreamRanks ranks_;
  const TileStates states_;
  const LayerRows rows_;
  StreamMemory memory_;
  std::unique_ptr<BlockStream> stream_;
  Tiles tiles_;
  Index dead_counted_;
};

PathRun::PathRun(const LayerTask& task, RankReport& report)
    : task_(task),
      report_(report),
      resumed_(task.checkpointer.state().progress),
      place_(place_of(task)),
      ranks_(task.comm, task.grid, task.stream.ranks_per_node),
      states_(task, resumed_.tiles),
      rows_(task.graph, task.layer, task.inputs),
      dead_counted_(resumed_.dead_counted) {
  const quant::PathShape& shape = place_.shape;
  const Index window_bytes = 2 * quant::InputBlock::value_count(shape) * static_cast<Index>(sizeof(float));
  const bool lacks_room = mpi::SharedWindow::room() < window_bytes * ranks_.columns_on_node;
  const bool share = task.comm.max(lacks_room ? Index{1} : Index{0}) == 0;
  memory_ = divide_memory(task.layer, shape, share ? ranks_.node.size() : 1, task.memory_per_rank);
  // The ranks of a row work on the same tiles at the same time, and all take part in every wave.
  memory_.wave_tiles = -task.comm.max(-memory_.wave_tiles);
  memory_.read_ahead = task.comm.max(memory_.read_ahead ? Index{0} : Index{1}) == 0;
  report.copies_blocks = !share && ranks_.node.size() > 1;
  stream_ = std::make_unique<BlockStream>(
      task.comm, ranks_, rows_, shape, task.layer.name,
      StreamOptions{task.stream.exchange, share, memory_.read_ahead, task.threads});
}

void PathRun::run() {
  for (const TileGroup& group : groups_of(task_.layer, resumed_)) run_group(group);
}

void PathRun::run_group(const TileGroup& group) {
  const ShardPlan shard(static_cast<Index>(group.tiles.size()), 1, task_.grid.neurons);
  const Index waves = ceil_div(shard.most_pieces(), memory_.wave_tiles);
  for (Index index = 0; index < waves; ++index) {
    const TileWave wave = wave_of(group, index);
    begin_tiles(wave, group.next_input);
    run_blocks(wave, group.next_input / place_.shape.block_width);
    report_.proportional_memory = std::max(report_.proportional_memory, proportional_memory_bytes());
    finish_tiles(wave);
  }
}

/// The tiles that all ranks take next: a part of each neuron group's share of the group.
TileWave PathRun::wave_of(const TileGroup& group, Index index) const {
  const ShardPlan shard(static_cast<Index>(group.tiles.size()), 1, task_.grid.neurons);
  TileWave wave;
  for (int neurons = 0; neurons < task_.grid.neurons; ++neurons) {
    const Range share = shard.pieces_of(neurons);
    const Index begin = std::min(share.end, share.begin + index * memory_.wave_tiles);
    const Index end = std::min(share.end, begin + memory_.wave_tiles);
    wave.all.insert(wave.all.end(), group.tiles.begin() + begin, group.tiles.begin() + end);
    if (neurons == place_.neuron_group) wave.mine.assign(group.tiles.begin() + begin, group.tiles.begin() + end);
  }
  return wave;
}

void PathRun::begin_tiles(const TileWave& wave, Index next_input) {
  const Stopwatch reading;
  tiles_.clear();
  task_.comm.agree([&] {
    for (const Index tile : wave.mine) {
      const TileBox box = tile_box(task_.layer, tile);
      tiles_.push_back(std::make_unique<quant::TilePath>(place_.shape, task_.layer.tile_width, alphabets_of(task_, box)));
      read_tile_weights(task_, box, tiles_.back()->weights());
      if (next_input == 0) continue;
      const auto record = std::find_if(resumed_.tiles.begin(), resumed_.tiles.end(),
                                       [&](const TileRecord& candidate) { return candidate.tile == tile; });
      states_.restore(*record, place_.shape, *tiles_.back());
    }
  });
  report_.seconds["read"] += reading.seconds();
}

/// All blocks past the tiles of one wave. A rank without tiles takes its share of reading and of G and C.
void PathRun::run_blocks(const TileWave& wave, Index first_block) {
  RankReducer reducer(ranks_.row);
  const auto for_tiles = [&](const std::function<void(quant::TilePath&)>& work) {
    parallel_for(static_cast<Index>(tiles_.size()), task_.threads,
                 [&](Index i) { work(*tiles_[static_cast<std::size_t>(i)]); });
  };
  for (Index index = first_block; index < stream_->block_count(); ++index) {
    if (index > first_block && task_.checkpointer.is_due()) {
      const Stopwatch saving;
      stream_->settle();
      save_tiles(task_, ranks_, place_.shape, wave, tiles_, dead_counted_, report_);
      report_.seconds["checkpoint"] += saving.seconds();
      task_.checkpointer.stop_if_asked();
    }
    const quant::InputBlock& block = stream_->block(index, report_);
    const Stopwatch advancing;
    for_tiles([&](quant::TilePath& tile) { tile.project(block); });
    for (auto& tile : tiles_) reducer.sum(tile->sums());
    for_tiles([&](quant::TilePath& tile) { tile.quantize(block); });
    report_.seconds["path"] += advancing.seconds();
    const Index end = std::min(place_.shape.inputs, (index + 1) * place_.shape.block_width);
    if (end > dead_counted_) {
      report_.dead_inputs += block.dead_count();
      dead_counted_ = end;
    }
  }
}

void PathRun::finish_tiles(const TileWave& wave) {
  const Stopwatch writing;
  const int output_threads = static_cast<int>(std::min<Index>(task_.threads, memory_.pieces));
  task_.comm.agree([&] {
    for (std::size_t i = 0; i < wave.mine.size(); ++i) {
      const quant::TilePath& path = *tiles_[i];
      if (task_.outputs != nullptr) task_.outputs->take(wave.mine[i], path, place_.shape, output_threads);
      if (!ranks_.row.is_root()) continue;  // the row's ranks all have the same codes
      finish_tile(task_, tile_box(task_.layer, wave.mine[i]), path.codes(), path.tile().saturated(), path.tile().zeros(),
                  report_);
    }
  });
  report_.seconds["write"] += writing.seconds();
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

void quantize_by_path(const LayerTask& task, RankReport& report) { PathRun(task, report).run(); }

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
