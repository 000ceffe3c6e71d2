// SPDX-License-Identifier: Apache-2.0
// Residual form: blocks of inputs stream past a wave of tiles. No rank ever holds a whole activation or weight matrix.
#include "job/layer_path.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <utility>

#include "gpfq/base/digest.hpp"
#include "gpfq/base/parallel.hpp"
#include "gpfq/base/random.hpp"
#include "gpfq/base/system.hpp"
#include "gpfq/quant/tile_path.hpp"
#include "job/block_stream.hpp"

namespace gpfq::job {
namespace {

using Tiles = std::vector<std::unique_ptr<quant::TilePath>>;

/// Of the inputs of one block, behind those of the blocks before.
void add_column_sums(const quant::InputBlock& block, bool is_first, RankReport& report) {
  if (block.column_sums().empty()) return;
  if (is_first) report.column_sums.assign(static_cast<std::size_t>(block.shape().networks()), {});
  for (std::size_t network = 0; network < report.column_sums.size(); ++network) {
    const auto sums = block.column_sums().subspan(network * static_cast<std::size_t>(block.count()),
                                                  static_cast<std::size_t>(block.count()));
    report.column_sums[network].insert(report.column_sums[network].end(), sums.begin(), sums.end());
  }
}

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

void for_tiles(const LayerTask& task, Tiles& tiles, const std::function<void(quant::TilePath&)>& work) {
  parallel_for(static_cast<Index>(tiles.size()), task.threads,
               [&](Index i) { work(*tiles[static_cast<std::size_t>(i)]); });
}

/// All blocks past the tiles of one wave. A rank without tiles takes its share of reading and of G and C.
void run_pass(const LayerTask& task, const StreamRanks& ranks, Tiles& tiles, BlockStream& stream, RankReport& report,
              bool is_first) {
  RankReducer reducer(ranks.row);
  for (Index index = 0; index < stream.block_count(); ++index) {
    const quant::InputBlock& block = stream.block(index, report);
    const Stopwatch advancing;
    for_tiles(task, tiles, [&](quant::TilePath& tile) { tile.project(block); });
    for (auto& tile : tiles) reducer.sum(tile->sums());
    for_tiles(task, tiles, [&](quant::TilePath& tile) { tile.quantize(block); });
    report.seconds["path"] += advancing.seconds();
    if (!is_first) continue;
    report.dead_inputs += block.dead_count();
    add_column_sums(block, index == 0, report);
  }
}

/// ‖u‖² of every neuron, the same on all ranks of a row.
void measure_norms(const LayerTask& task, const StreamRanks& ranks, Tiles& tiles, RankReport& report) {
  const Stopwatch measuring;
  RankReducer reducer(ranks.row);
  for_tiles(task, tiles, [](quant::TilePath& tile) { tile.measure_norms(); });
  for (auto& tile : tiles) tile->join_norms(reducer);
  report.seconds["path"] += measuring.seconds();
}

void set_scores(const LayerTask& task, Range wave, const Tiles& tiles, CandidateScores& scores) {
  const std::size_t candidates = task.alphabets.candidates.size();
  for (std::size_t i = 0; i < tiles.size(); ++i) {
    const TileBox box = tile_box(task.layer, wave.begin + static_cast<Index>(i / candidates));
    for (Index j = 0; j < box.neurons; ++j)
      scores.set(0, box.first_neuron + j, i % candidates, tiles[i]->squared_norm(j));
  }
}

/// Of each tile's candidates, the neurons that were chosen go together into the first; the others are dropped.
void keep_chosen(const LayerTask& task, Range wave, const std::vector<int>& chosen, Tiles& tiles) {
  const std::size_t candidates = task.alphabets.candidates.size();
  Tiles kept;
  for (std::size_t i = 0; i < tiles.size(); i += candidates) {
    const TileBox box = tile_box(task.layer, wave.begin + static_cast<Index>(i / candidates));
    for (Index j = 0; j < box.neurons; ++j) {
      const int which = chosen[static_cast<std::size_t>(box.first_neuron + j)];
      if (which > 0) tiles[i]->take(j, *tiles[i + static_cast<std::size_t>(which)]);
    }
    kept.push_back(std::move(tiles[i]));
  }
  tiles = std::move(kept);
}

/// Sweeps over a wave's tiles until one changes nothing on any rank. @returns what each took off, by tile.
std::vector<std::vector<double>> run_sweeps(const LayerTask& task, const StreamRanks& ranks, Tiles& tiles,
                                            BlockStream& stream, RankReport& report) {
  std::vector<std::vector<double>> gains(tiles.size());
  if (task.layer.sweeps == 0) return gains;
  measure_norms(task, ranks, tiles, report);
  std::vector<double> before(tiles.size(), 0.0);
  for (int sweep = 0; sweep < task.layer.sweeps; ++sweep) {
    for (auto& tile : tiles) tile->begin_sweep();
    stream.begin_pass(true);
    run_pass(task, ranks, tiles, stream, report, false);
    Index changes = 0;
    for (std::size_t i = 0; i < tiles.size(); ++i) {
      changes += tiles[i]->changes();
      gains[i].push_back(tiles[i]->tile().gain() - before[i]);
      before[i] = tiles[i]->tile().gain();
    }
    if (task.comm.sum(changes) == 0) break;
  }
  stream.begin_pass(false);
  return gains;
}

Tiles read_tiles(const LayerTask& task, const Shard& shard, Range wave) {
  Tiles tiles;
  for (Index tile = wave.begin; tile < wave.end; ++tile) {
    const TileBox box = tile_box(task.layer, tile);
    for (std::size_t candidate = 0; candidate < task.alphabets.candidates.size(); ++candidate) {
      tiles.push_back(std::make_unique<quant::TilePath>(shard.shape, task.layer.tile_width,
                                                        alphabets_of(task, box, candidate)));
      tiles.back()->set_visit(visit_of(task, box));
      if (candidate == 0)
        read_tile_weights(task, box, tiles.back()->weights());
      else
        std::copy(tiles[tiles.size() - 1 - candidate]->weights().begin(),
                  tiles[tiles.size() - 1 - candidate]->weights().end(), tiles.back()->weights().begin());
    }
  }
  return tiles;
}

}  // namespace

std::vector<quant::Alphabet> alphabets_of(const LayerTask& task, const TileBox& box, std::size_t candidate) {
  std::vector<quant::Alphabet> alphabets;
  for (Index j = 0; j < box.neurons; ++j)
    alphabets.push_back(task.alphabets.candidate(box.first_neuron + j, candidate));
  return alphabets;
}

quant::Visit visit_of(const LayerTask& task, const TileBox& box) {
  quant::Visit visit;
  visit.threshold = task.layer.threshold;
  if (task.layer.threshold > 0) visit.rounding = quant::RoundingKind::soft;
  if (task.layer.method == Method::spfq) visit.rounding = quant::RoundingKind::stochastic;
  visit.seed = random_bits(task.layer.rounding_seed, static_cast<std::uint64_t>(box.problem));
  visit.first_neuron = box.first_neuron;
  return visit;
}

CandidateScores::CandidateScores(Index parts, Index neurons, std::size_t candidates)
    : parts_(parts),
      neurons_(neurons),
      candidates_(candidates),
      scores_(static_cast<std::size_t>(parts * neurons) * candidates, -HUGE_VAL) {}

void CandidateScores::set(Index part, Index neuron, std::size_t candidate, double score) {
  scores_[static_cast<std::size_t>(part * neurons_ + neuron) * candidates_ + candidate] = score;
}

std::vector<int> CandidateScores::choose(const mpi::Communicator& comm, bool for_layer) {
  comm.max(scores_);
  std::vector<double> sums(static_cast<std::size_t>(for_layer ? 1 : neurons_) * candidates_, 0.0);
  for (std::size_t i = 0; i < scores_.size(); ++i)
    sums[i % (for_layer ? candidates_ : static_cast<std::size_t>(neurons_) * candidates_)] += scores_[i];
  std::vector<int> chosen;
  for (Index j = 0; j < neurons_; ++j) {
    const auto first = sums.begin() + (for_layer ? 0 : j * static_cast<Index>(candidates_));
    chosen.push_back(static_cast<int>(std::min_element(first, first + static_cast<Index>(candidates_)) - first));
  }
  return chosen;
}

void read_tile_weights(const LayerTask& task, const TileBox& box, std::span<float> weights) {
  task.weights.read_rows(task.layer.tensor, box.first_neuron, box.neurons, weights.data());
}

void finish_tile(const LayerTask& task, const TileBox& box, std::span<const std::uint8_t> codes, Index saturated,
                 Index zeros, RankReport& report, std::vector<double> gains) {
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
  tile.gains = std::move(gains);
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
                     {task.stream.exchange, share, read_ahead, task.layer.sweeps > 0, task.threads});
  const auto wave_at = [&](Index index) {
    const Index begin = std::min(shard.tiles.end, shard.tiles.begin + index * wave_tiles);
    return Range{begin, std::min(shard.tiles.end, begin + wave_tiles)};
  };
  const auto run_path = [&](Range wave, bool is_first) {
    Tiles tiles;
    const Stopwatch reading;
    task.comm.agree([&] { tiles = read_tiles(task, shard, wave); });
    report.seconds["read"] += reading.seconds();
    run_pass(task, ranks, tiles, stream, report, is_first);
    if (is_first && report.column_sums.size() == 2) {  // of Xq, then of X
      std::vector<double>& sums = report.column_sums.front();
      sums.insert(sums.end(), report.column_sums.back().begin(), report.column_sums.back().end());
      report.column_sums.pop_back();
    }
    report.proportional_memory = std::max(report.proportional_memory, proportional_memory_bytes());
    return tiles;
  };
  const std::size_t candidates = task.alphabets.candidates.size();
  CandidateScores scores(1, candidates > 1 ? task.layer.neurons : 0, candidates);
  std::vector<int> chosen(static_cast<std::size_t>(task.layer.neurons), 0);
  // A radius for the whole layer is known after all waves: where there are several, the path runs again with it.
  const bool searches_first = candidates > 1 && task.layer.searches_layer && waves > 1;
  for (Index index = 0; searches_first && index < waves; ++index) {
    Tiles tiles = run_path(wave_at(index), index == 0);
    measure_norms(task, ranks, tiles, report);
    set_scores(task, wave_at(index), tiles, scores);
  }
  if (searches_first) task.alphabets.choose(scores.choose(task.comm, true));
  const bool searches = task.alphabets.candidates.size() > 1;
  for (Index index = 0; index < waves; ++index) {
    const Range wave = wave_at(index);
    Tiles tiles = run_path(wave, index == 0 && !searches_first);
    if (searches) {
      measure_norms(task, ranks, tiles, report);
      CandidateScores of_wave(1, task.layer.neurons, candidates);
      set_scores(task, wave, tiles, of_wave);
      const std::vector<int> best = of_wave.choose(task.comm, task.layer.searches_layer);
      keep_chosen(task, wave, best, tiles);
      for (Index tile = shard.tiles.begin; tile < shard.tiles.end; ++tile) {
        const TileBox box = tile_box(task.layer, tile);
        const bool here = tile >= wave.begin && tile < wave.end;
        for (Index j = box.first_neuron; here && j < box.first_neuron + box.neurons; ++j)
          chosen[static_cast<std::size_t>(j)] = best[static_cast<std::size_t>(j)];
      }
    }
    const std::vector<std::vector<double>> gains = run_sweeps(task, ranks, tiles, stream, report);
    const Stopwatch writing;
    task.comm.agree([&] {
      for (Index tile = wave.begin; tile < wave.end; ++tile) {
        const quant::TilePath& path = *tiles[static_cast<std::size_t>(tile - wave.begin)];
        if (task.correct_bias && task.outputs != nullptr) task.correct_bias(tile_box(task.layer, tile), path.tile(), report);
        if (task.outputs != nullptr) task.outputs->take(tile, path, shard.shape, output_threads);
        if (!ranks.row.is_root()) continue;  // the row's ranks all have the same codes
        finish_tile(task, tile_box(task.layer, tile), path.codes(), path.tile().saturated(), path.tile().zeros(), report,
                    gains[static_cast<std::size_t>(tile - wave.begin)]);
      }
    });
    report.seconds["write"] += writing.seconds();
  }
  if (searches) {  // each rank knows those of its tiles
    std::vector<double> all(chosen.begin(), chosen.end());
    task.comm.max(all);
    std::copy(all.begin(), all.end(), chosen.begin());
    task.alphabets.choose(chosen);
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
