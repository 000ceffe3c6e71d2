// SPDX-License-Identifier: Apache-2.0
// Residual form: blocks of inputs stream past a wave of tiles. No rank ever holds a whole activation or weight matrix.
#include "job/layer_path.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "gpfq/base/parallel.hpp"
#include "gpfq/base/system.hpp"
#include "gpfq/quant/tile_path.hpp"
#include "job/block_stream.hpp"
#include "job/checkpointer.hpp"
#include "job/input_order.hpp"
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

/// Tiles that stand at the same place.
struct TileGroup {
  TilePosition at;
  std::vector<Index> tiles;  ///< ascending
};

/// The path of one layer on one rank.
class PathRun {
 public:
  PathRun(const LayerTask& task, RankReport& report);
  void run();

 private:
  [[nodiscard]] std::vector<TileGroup> groups(TilePosition begin, const std::vector<Index>& done) const;
  [[nodiscard]] Index waves_of(const TileGroup& group) const;
  [[nodiscard]] TileWave wave_of(const TileGroup& group, Index index) const;
  bool search_layer();
  void run_group(const TileGroup& group);
  void begin_tiles(const TileWave& wave, TilePosition at);
  void run_pass(const TileWave& wave, TilePosition from);
  void for_tiles(const std::function<void(quant::TilePath&)>& work);
  void count_inputs(Index index, const quant::InputBlock& block);
  void measure_norms();
  void set_scores(const TileWave& wave, CandidateScores& scores) const;
  void choose(const TileWave& wave, const std::vector<int>& best);
  void sweep(const TileWave& wave, TilePosition from);
  void finish_tiles(const TileWave& wave);

  const LayerTask& task_;
  RankReport& report_;
  const LayerProgress resumed_;  ///< of an earlier run
  const Place place_;
  const StreamRanks ranks_;
  const TileStates states_;
  LayerRows rows_;
  const Index candidates_;
  StreamMemory memory_;
  std::unique_ptr<BlockStream> stream_;
  Tiles tiles_;            ///< of the wave; with several alphabets each, in turn, until one is chosen
  Index alphabets_ = 1;    ///< ... how many
  PathKnowledge known_;
  CandidateScores scores_;  ///< of a search for the whole layer
};

PathRun::PathRun(const LayerTask& task, RankReport& report)
    : task_(task),
      report_(report),
      resumed_(task.checkpointer.state().progress),
      place_(place_of(task)),
      ranks_(task.comm, task.grid, task.stream.ranks_per_node),
      states_(task, resumed_.tiles),
      rows_(task.graph, task.layer, task.inputs),
      candidates_(static_cast<Index>(task.alphabets.candidates.size())),
      known_(resumed_.known),
      scores_(1, task.layer.searches_layer ? task.layer.neurons : 0, task.alphabets.candidates.size()) {
  if (task.layer.orders_by_activation) {
    const Stopwatch reading;
    rows_.set_order(order_by_norm(task.comm, task.layer, rows_));
    report_.seconds["read"] += reading.seconds();
  }
  const quant::PathShape& shape = place_.shape;
  const Index block_bytes = quant::InputBlock::value_count(shape) * static_cast<Index>(sizeof(float));
  // Two blocks in the shared memory of every node, else one, else a copy for every rank, in memory of its own.
  const Index room = ranks_.node.size() > 1 ? shared_blocks(mpi::SharedWindow::room(), block_bytes, ranks_.columns_on_node) : 2;
  const Index fit = -task.comm.max(-room);
  const bool share = fit > 0;
  const Index tiles = ShardPlan(task.layer.tile_count(), 1, task.grid.neurons).most_pieces();
  memory_ = divide_memory(task.layer, shape, share ? ranks_.node.size() : 1, tiles, task.memory_per_rank, share ? fit : 2);
  // The ranks of a row work on the same tiles at the same time, and all take part in every wave.
  memory_.wave_tiles = -task.comm.max(-memory_.wave_tiles);
  memory_.read_ahead = task.comm.max(memory_.read_ahead ? Index{0} : Index{1}) == 0;
  report.copies_blocks = !share && ranks_.node.size() > 1;
  stream_ = std::make_unique<BlockStream>(
      task.comm, ranks_, rows_, shape, task.layer.name,
      StreamOptions{task.stream.exchange, share, memory_.read_ahead, task.layer.sweeps > 0, task.threads});
  report_.column_sums = known_.column_sums;
  if (known_.chosen.empty()) known_.chosen.assign(static_cast<std::size_t>(task.layer.neurons), candidates_ > 1 ? -1 : 0);
  if (!known_.scores.empty()) scores_.restore(known_.scores);
}

void PathRun::run() {
  if (!(task_.layer.searches_layer && candidates_ > 1 && search_layer())) {
    std::vector<Index> done;
    for (const TileReport& tile : resumed_.report.tiles) done.push_back(tile.first_neuron / task_.layer.tile_width);
    for (const TileGroup& group : groups({TilePosition::path, 0}, done)) run_group(group);
  }
  if (candidates_ > 1) task_.alphabets.choose(known_.chosen);
}

/// What is left of the layer: tiles that are furthest on first, those without a record at `begin`.
std::vector<TileGroup> PathRun::groups(TilePosition begin, const std::vector<Index>& done) const {
  std::map<Index, TilePosition> positions;
  for (Index tile = 0; tile < task_.layer.tile_count(); ++tile) positions[tile] = begin;
  for (const TileRecord& record : resumed_.tiles) {
    const TilePosition at{record.pass, record.state.next_input};
    if (at >= begin) positions.at(record.tile) = at;
  }
  for (const Index tile : done) positions.erase(tile);
  std::map<TilePosition, TileGroup, std::greater<>> groups;
  for (const auto& [tile, at] : positions) {
    groups[at].at = at;
    groups[at].tiles.push_back(tile);
  }
  std::vector<TileGroup> ordered;
  for (auto& group : groups) ordered.push_back(std::move(group.second));
  return ordered;
}

Index PathRun::waves_of(const TileGroup& group) const {
  const ShardPlan shard(static_cast<Index>(group.tiles.size()), 1, task_.grid.neurons);
  return ceil_div(shard.most_pieces(), memory_.wave_tiles);
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

/// A radius for the whole layer is known after the paths of all tiles, with each candidate. Where they fit memory together
/// the chosen ones go on from there; else all begin again with it. @returns whether the layer is finished
bool PathRun::search_layer() {
  if (known_.chosen.front() >= 0) return false;
  for (const TileGroup& group : groups({TilePosition::search, 0}, known_.scored)) {
    const Index waves = waves_of(group);
    for (Index index = 0; index < waves; ++index) {
      const TileWave wave = wave_of(group, index);
      begin_tiles(wave, group.at);
      run_pass(wave, group.at);
      measure_norms();
      set_scores(wave, scores_);
      scores_.join(task_.comm);
      known_.scores = scores_.values();
      known_.scored.insert(known_.scored.end(), wave.all.begin(), wave.all.end());
      if (static_cast<Index>(wave.all.size()) < task_.layer.tile_count()) continue;
      choose(wave, scores_.choose(task_.comm, true));
      sweep(wave, {1, 0});
      finish_tiles(wave);
      return true;
    }
  }
  known_.chosen = scores_.choose(task_.comm, true);
  return false;
}

void PathRun::run_group(const TileGroup& group) {
  for (Index index = 0; index < waves_of(group); ++index) {
    const TileWave wave = wave_of(group, index);
    begin_tiles(wave, group.at);
    if (group.at.pass == TilePosition::path) {
      run_pass(wave, group.at);
      if (alphabets_ > 1 || task_.layer.sweeps > 0) measure_norms();
      if (alphabets_ > 1) {
        CandidateScores scores(1, task_.layer.neurons, static_cast<std::size_t>(candidates_));
        set_scores(wave, scores);
        choose(wave, scores.choose(task_.comm, false));
      }
    }
    sweep(wave, std::max(group.at, TilePosition{1, 0}));
    report_.proportional_memory = std::max(report_.proportional_memory, proportional_memory_bytes());
    finish_tiles(wave);
  }
}

void PathRun::begin_tiles(const TileWave& wave, TilePosition at) {
  const Stopwatch reading;
  tiles_.clear();
  // Neurons of a wave are all chosen for, or none.
  alphabets_ = at.pass <= TilePosition::path && !wave.all.empty() &&
                       known_.chosen[static_cast<std::size_t>(tile_box(task_.layer, wave.all.front()).first_neuron)] < 0
                   ? candidates_
                   : 1;
  task_.comm.agree([&] {
    tiles_.resize(wave.mine.size() * static_cast<std::size_t>(alphabets_));
    parallel_for(static_cast<Index>(tiles_.size()), task_.threads, [&](Index i) {  // what they hold is cleared by all threads
      const TileBox box = tile_box(task_.layer, wave.mine[static_cast<std::size_t>(i / alphabets_)]);
      std::vector<int> which(static_cast<std::size_t>(box.neurons), static_cast<int>(i % alphabets_));
      if (alphabets_ == 1) std::copy_n(known_.chosen.begin() + box.first_neuron, box.neurons, which.begin());
      auto path = std::make_unique<quant::TilePath>(place_.shape, task_.layer.tile_width, alphabets_of(task_, box, which));
      quant::Visit visit = visit_of(task_, box);
      visit.order = rows_.order();
      path->set_visit(std::move(visit));
      tiles_[static_cast<std::size_t>(i)] = std::move(path);
    });
    for (std::size_t i = 0; i < tiles_.size(); ++i) {
      const Index tile = wave.mine[i / static_cast<std::size_t>(alphabets_)];
      const Index candidate = static_cast<Index>(i) % alphabets_;
      if (candidate == 0)
        read_tile_weights(task_, tile_box(task_.layer, tile), tiles_[i]->weights());
      else
        std::ranges::copy(tiles_[i - 1]->weights(), tiles_[i]->weights().begin());
      const auto record = std::ranges::find_if(resumed_.tiles, [&](const TileRecord& of) {
        return of.tile == tile && of.candidate == candidate && TilePosition{of.pass, of.state.next_input} == at;
      });
      if (record != resumed_.tiles.end()) states_.restore(*record, place_.shape, *tiles_[i]);
    }
  });
  report_.seconds["read"] += reading.seconds();
}

void PathRun::for_tiles(const std::function<void(quant::TilePath&)>& work) {
  parallel_for(static_cast<Index>(tiles_.size()), task_.threads,
               [&](Index i) { work(*tiles_[static_cast<std::size_t>(i)]); });
}

/// What is left of a pass of all blocks past the tiles of one wave. A rank without tiles takes its share of reading and
/// of G and C.
void PathRun::run_pass(const TileWave& wave, TilePosition from) {
  RankReducer reducer(ranks_.row);
  const Index first_block = from.next_input / place_.shape.block_width;
  const bool follows_another = from.pass > TilePosition::path && from.next_input == 0;
  for (Index index = first_block; index < stream_->block_count(); ++index) {
    if ((index > first_block || follows_another) && task_.checkpointer.is_due()) {
      const Stopwatch saving;
      stream_->settle();
      save_tiles(task_, ranks_, place_.shape, wave, from.pass, alphabets_, tiles_, known_, report_);
      report_.seconds["checkpoint"] += saving.seconds();
      task_.checkpointer.stop_if_asked();
    }
    const quant::InputBlock& block = stream_->block(index, report_);
    const Stopwatch advancing;
    for_tiles([&](quant::TilePath& tile) { tile.project(block); });
    for (auto& tile : tiles_) reducer.sum(tile->sums());
    for_tiles([&](quant::TilePath& tile) { tile.quantize(block); });
    report_.seconds["path"] += advancing.seconds();
    if (from.pass <= TilePosition::path) count_inputs(index, block);
  }
}

/// Dead directions, and the sums of columns, of a block that passes for the first time.
void PathRun::count_inputs(Index index, const quant::InputBlock& block) {
  const Index end = std::min(place_.shape.inputs, (index + 1) * place_.shape.block_width);
  if (end <= known_.counted) return;
  known_.counted = end;
  report_.dead_inputs += block.dead_count();
  if (block.column_sums().empty()) return;
  std::vector<std::vector<double>>& sums = report_.column_sums;
  sums.resize(static_cast<std::size_t>(block.shape().networks()));
  for (std::size_t network = 0; network < sums.size(); ++network) {
    const auto of_block = block.column_sums().subspan(network * static_cast<std::size_t>(block.count()),
                                                      static_cast<std::size_t>(block.count()));
    sums[network].insert(sums[network].end(), of_block.begin(), of_block.end());
  }
  if (end == place_.shape.inputs) {
    for (std::vector<double>& of_network : sums) {  // from the order of visits to the inputs' own
      const std::vector<double> visited = of_network;
      for (std::size_t t = 0; t < visited.size(); ++t)
        of_network[static_cast<std::size_t>(rows_.input_at(static_cast<Index>(t)))] = visited[t];
    }
    if (sums.size() == 2) {  // of Xq, then of X
      sums.front().insert(sums.front().end(), sums.back().begin(), sums.back().end());
      sums.pop_back();
    }
  }
  known_.column_sums = sums;
}

/// ‖u‖² of every neuron, the same on all ranks of a row.
void PathRun::measure_norms() {
  const Stopwatch measuring;
  RankReducer reducer(ranks_.row);
  for_tiles([](quant::TilePath& tile) { tile.measure_norms(); });
  for (auto& tile : tiles_) tile->join_norms(reducer);
  report_.seconds["path"] += measuring.seconds();
}

void PathRun::set_scores(const TileWave& wave, CandidateScores& scores) const {
  const auto count = static_cast<std::size_t>(alphabets_);
  for (std::size_t i = 0; i < tiles_.size(); ++i) {
    const TileBox box = tile_box(task_.layer, wave.mine[i / count]);
    for (Index j = 0; j < box.neurons; ++j)
      scores.set(0, box.first_neuron + j, i % count, tiles_[i]->squared_norm(j));
  }
}

/// Of each tile's candidates, the neurons that were chosen go together into the first; the others are dropped. One that
/// all neurons chose stays as it is, bounds included: as if there had been no other.
void PathRun::choose(const TileWave& wave, const std::vector<int>& best) {
  const auto count = static_cast<std::size_t>(alphabets_);
  for (const Index tile : wave.all) {
    const TileBox box = tile_box(task_.layer, tile);
    std::copy_n(best.begin() + box.first_neuron, box.neurons, known_.chosen.begin() + box.first_neuron);
  }
  Tiles kept;
  for (std::size_t i = 0; i < tiles_.size(); i += count) {
    const TileBox box = tile_box(task_.layer, wave.mine[i / count]);
    const auto of_tile = std::span(best).subspan(static_cast<std::size_t>(box.first_neuron), static_cast<std::size_t>(box.neurons));
    const auto first = static_cast<std::size_t>(of_tile.front());
    if (std::all_of(of_tile.begin(), of_tile.end(), [&](int which) { return which == of_tile.front(); })) {
      kept.push_back(std::move(tiles_[i + first]));
      continue;
    }
    for (Index j = 0; j < box.neurons; ++j) {
      const int which = of_tile[static_cast<std::size_t>(j)];
      if (which > 0) tiles_[i]->take(j, *tiles_[i + static_cast<std::size_t>(which)]);
    }
    kept.push_back(std::move(tiles_[i]));
  }
  tiles_ = std::move(kept);
  alphabets_ = 1;
}

/// Sweeps over a wave's tiles until one changes nothing on any rank.
void PathRun::sweep(const TileWave& wave, TilePosition from) {
  stream_->begin_pass(true);
  for (int pass = from.pass; pass <= task_.layer.sweeps; ++pass) {
    for (auto& tile : tiles_)
      if (!tile->is_sweeping()) tile->begin_sweep();
    run_pass(wave, {pass, pass == from.pass ? from.next_input : 0});
    Index changes = 0;
    for (auto& tile : tiles_) {
      changes += tile->changes();
      tile->end_sweep();
    }
    if (task_.comm.sum(changes) == 0) break;
  }
  stream_->begin_pass(false);
}

void PathRun::finish_tiles(const TileWave& wave) {
  const Stopwatch writing;
  const int output_threads = static_cast<int>(std::min<Index>(task_.threads, memory_.pieces));
  task_.comm.agree([&] {
    for (std::size_t i = 0; i < wave.mine.size(); ++i) {
      const quant::TilePath& path = *tiles_[i];
      const TileBox box = tile_box(task_.layer, wave.mine[i]);
      std::vector<float> bias;
      if (task_.outputs != nullptr) {
        if (task_.correct_bias) bias = task_.correct_bias(box, path.tile(), report_);
        task_.outputs->take(wave.mine[i], path, place_.shape, output_threads);
      }
      if (!ranks_.row.is_root()) continue;  // the row's ranks all have the same codes
      TileReport& report = finish_tile(task_, box, path.codes(), path.tile().saturated(), path.tile().zeros(), report_);
      report.gains = path.sweep_gains();
      report.bias = std::move(bias);
    }
  });
  report_.seconds["write"] += writing.seconds();
}

}  // namespace

void quantize_by_path(const LayerTask& task, RankReport& report) { PathRun(task, report).run(); }

}  // namespace gpfq::job
