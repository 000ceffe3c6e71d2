// SPDX-License-Identifier: Apache-2.0
// Gram form on ranks: first everybody's rows, then everybody's neurons.
#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "gpfq/base/parallel.hpp"
#include "gpfq/base/system.hpp"
#include "gpfq/quant/gram_sweeps.hpp"
#include "gpfq/quant/output_norms.hpp"
#include "job/checkpointer.hpp"
#include "job/gram_states.hpp"
#include "job/layer_path.hpp"
#include "job/tile_rows.hpp"
#include "job/work_dealer.hpp"

namespace gpfq::job {
namespace {

// Sums that took less than this share of the time between checkpoints are not kept for their own sake.
constexpr double lost_share = 0.05;

/// What is the same for all tiles of a problem.
struct Problem {
  const quant::GramProducts& products;
  std::vector<Index> order;
  quant::DiffusionFactor factor;
};
using Problems = std::vector<Problem>;

/// Root makes a problem's factor, all get it.
quant::DiffusionFactor make_factor(const LayerTask& task, const quant::GramProducts& products) {
  quant::DiffusionFactor factor;
  task.comm.agree([&] {
    factor = task.comm.is_root()
                 ? quant::DiffusionFactor(products, task.layer.damping, task.layer.corrects_target)
                 : quant::DiffusionFactor::empty(products, task.layer.corrects_target);
  });
  for (const std::span<float> part : factor.parts()) {
    std::string bytes(task.comm.is_root() ? reinterpret_cast<const char*>(part.data()) : nullptr,
                      task.comm.is_root() ? part.size_bytes() : 0);
    task.comm.broadcast_bytes(bytes);
    std::memcpy(part.data(), bytes.data(), part.size_bytes());
  }
  return factor;
}

quant::Tile make_tile(const LayerTask& task, const TileBox& box, const Problem& problem, std::size_t candidate,
                      std::span<const float> weights) {
  const LayerPlan& layer = task.layer;
  quant::Tile tile(layer.path.inputs, layer.path.block_width, layer.tile_width, alphabets_of(task, box, static_cast<int>(candidate)));
  quant::Visit visit = visit_of(task, box);
  visit.order = problem.order;
  tile.set_visit(std::move(visit));
  std::copy(weights.begin(), weights.end(), tile.weights().begin());
  return tile;
}

void quantize_tile(const LayerTask& task, const Problem& problem, quant::Tile& tile) {
  if (task.layer.diffuses)
    quant::diffuse_by_gram(problem.products, problem.factor, tile);
  else
    quant::quantize_by_gram(problem.products, tile);
}

/// Sweeps over a tile until one changes nothing. @returns what each took off ‖U‖²_F.
std::vector<double> sweep_tile(const LayerTask& task, const Problem& problem, quant::Tile& tile) {
  std::vector<double> gains;
  if (task.layer.sweeps == 0) return gains;
  quant::GramResidual residual(problem.products, tile);
  double before = 0;
  for (int sweep = 0; sweep < task.layer.sweeps; ++sweep) {
    const Index changes = residual.sweep(tile);
    gains.push_back(tile.gain() - before);
    before = tile.gain();
    if (changes == 0) break;
  }
  return gains;
}

/// The Gram form of one layer on one rank.
class GramRun {
 public:
  GramRun(const LayerTask& task, RankReport& report)
      : task_(task),
        report_(report),
        resumed_(task.checkpointer.state().progress),
        rows_(task.graph, task.layer, task.inputs),
        shares_(gram_shares(task.layer, task.threads, task.memory_per_rank)),
        known_(resumed_.known) {}
  void run(const std::vector<double>& quantized_bounds, const std::vector<double>& analog_bounds);

 private:
  void add_rows();
  void finish_sums();
  void solve_problems();
  void search();
  void run_tiles();
  void run_wave(Range wave, TileRows& shared_rows);
  void pause_if_due(const std::function<void()>& save, double share = 1);
  void for_steps(Index steps, const std::function<void(Index)>& step, const std::function<void()>& save);
  [[nodiscard]] std::vector<Index> tiles_without(const std::vector<Index>& done) const;
  [[nodiscard]] std::vector<float> weights_of(const TileBox& box, TileRows& shared_rows);

  const LayerTask& task_;
  RankReport& report_;
  const LayerProgress resumed_;  ///< of an earlier run
  const LayerRows rows_;
  const GramShares shares_;
  Products products_;
  Problems problems_;
  PathKnowledge known_;
};

void GramRun::run(const std::vector<double>& quantized_bounds, const std::vector<double>& analog_bounds) {
  refuse_large_inputs(task_, rows_, shares_.window_chunks, quantized_bounds, analog_bounds);
  task_.comm.agree([&] { products_ = start_products(task_, rows_, quantized_bounds, analog_bounds); });
  restore_sums(task_, products_);
  add_rows();
  finish_sums();
  solve_problems();
  if (task_.alphabets.candidates.size() > 1) search();
  run_tiles();
}

void GramRun::pause_if_due(const std::function<void()>& save, double share) {
  if (!task_.checkpointer.is_due(share)) return;
  const Stopwatch saving;
  save();
  report_.seconds["checkpoint"] += saving.seconds();
  task_.checkpointer.stop_if_asked();
}

/// This rank's steps of work; between two of them, in step with the other ranks, a checkpoint may be due.
void GramRun::for_steps(Index steps, const std::function<void(Index)>& step, const std::function<void()>& save) {
  const Index most = task_.comm.max(steps);
  for (Index index = 0; index < most; ++index) {
    if (index > 0) pause_if_due(save);
    task_.comm.agree([&] {
      if (index < steps) step(index);
    });
  }
}

void GramRun::add_rows() {
  const std::vector<Index> missing = missing_from(resumed_.sums.done, task_.layer.path.chunk_total());
  std::map<Index, Index> added;
  const auto save = [&] { save_sums(task_, products_, added, report_); };
  const auto add = [&](Range window) {
    add_chunks(task_, rows_, window, shares_.threads, products_, report_);
    added[window.begin] = window.end;
  };
  task_.dealer.deal(missing, shares_.window_chunks, add, [&] { pause_if_due(save); });
  // What is not kept now is lost to every later checkpoint of the layer.
  if (task_.comm.max(static_cast<Index>(added.size())) > 0) pause_if_due(save, lost_share);
}

void GramRun::finish_sums() {
  const Stopwatch summing;
  RankReducer reducer(task_.comm);
  report_.dead_inputs = 0;
  for (quant::GramProducts& product : products_) {
    product.finish(reducer);
    report_.dead_inputs += product.dead_count();
    const std::span<const double> sums = product.column_sums();
    report_.column_sums.emplace_back(sums.begin(), sums.end());
  }
  report_.seconds["sum"] += summing.seconds();
}

/// Order and factor of each problem, where the method has them.
void GramRun::solve_problems() {
  const Stopwatch factoring;
  for (quant::GramProducts& product : products_) {
    std::vector<Index> order;
    if (task_.layer.orders_by_activation) order = product.order_by_norm();
    problems_.push_back({product, std::move(order), {}});
    if (!task_.layer.diffuses) continue;
    problems_.back().factor = make_factor(task_, product);
    pause_if_due([&] { save_gram_tiles(task_, known_, report_); });
  }
  if (task_.layer.diffuses) report_.seconds["factor"] += factoring.seconds();
  report_.proportional_memory = std::max(report_.proportional_memory, proportional_memory_bytes());
}

bool covers(const TileReport& report, const TileBox& box) {
  const auto holds = [](Index outer, Index outer_count, Index inner, Index inner_count) {
    return outer <= inner && inner + inner_count <= outer + outer_count;
  };
  return holds(report.first_neuron, report.neurons, box.first_neuron, box.neurons) &&
         holds(report.first_input, report.inputs, box.first_input, box.inputs);
}

/// Tiles whose codes are reported, several in one box where they adjoin.
std::vector<Index> reported_tiles(const LayerPlan& layer, const std::vector<TileReport>& reports) {
  std::vector<Index> tiles;
  if (reports.empty()) return tiles;
  for (Index tile = 0; tile < layer.tile_count(); ++tile) {
    const TileBox box = tile_box(layer, tile);
    if (std::ranges::any_of(reports, [&](const TileReport& report) { return covers(report, box); })) tiles.push_back(tile);
  }
  return tiles;
}

/// Those that are left, in order.
std::vector<Index> GramRun::tiles_without(const std::vector<Index>& done) const {
  std::vector<Index> tiles;
  for (Index tile = 0; tile < task_.layer.tile_count(); ++tile)
    if (!std::binary_search(done.begin(), done.end(), tile)) tiles.push_back(tile);
  return tiles;
}

std::vector<float> GramRun::weights_of(const TileBox& box, TileRows& shared_rows) {
  std::vector<float> weights(static_cast<std::size_t>(box.neurons * box.inputs));
  if (task_.layer.problems > 1)
    shared_rows.read(box, weights);
  else
    read_tile_weights(task_, box, weights);
  return weights;
}

/// The path with every candidate, tile by tile; then the best one is known, of each neuron or of all.
void GramRun::search() {
  const LayerPlan& layer = task_.layer;
  const std::size_t candidates = task_.alphabets.candidates.size();
  if (known_.chosen.empty()) {
    const Index channels = layer.channelwise ? layer.problems / layer.groups : 1;
    CandidateScores scores(channels, layer.neurons, candidates);
    if (!known_.scores.empty()) scores.restore(known_.scores);
    std::ranges::sort(known_.scored);
    const std::vector<Index> left = tiles_without(known_.scored);
    const std::span<const Index> mine = share_of(left, task_.comm.rank(), task_.comm.size());
    TileRows shared_rows(task_, report_);
    Index done = 0;
    const auto score = [&](Index index) {
      const TileBox box = tile_box(layer, mine[static_cast<std::size_t>(index)]);
      const Problem& problem = problems_[static_cast<std::size_t>(box.problem)];
      const Stopwatch reading;
      const std::vector<float> weights = weights_of(box, shared_rows);
      report_.seconds["read"] += reading.seconds();
      const Stopwatch searching;
      parallel_for(static_cast<Index>(candidates), static_cast<int>(shares_.tiles), [&](Index i) {
        const auto candidate = static_cast<std::size_t>(i);
        quant::Tile tile = make_tile(task_, box, problem, candidate, weights);
        quantize_tile(task_, problem, tile);
        const quant::GramResidual residual(problem.products, tile);
        for (Index j = 0; j < box.neurons; ++j)
          scores.set(box.problem % channels, box.first_neuron + j, candidate, residual.relative_norm(j));
      });
      report_.seconds["path"] += searching.seconds();
      ++done;
    };
    const auto save = [&] {
      scores.join(task_.comm);
      known_.scores = scores.values();
      PathKnowledge known = known_;
      const std::vector<Index> scored(mine.begin(), mine.begin() + done);
      for (const std::vector<Index>& part : task_.comm.gather(scored))
        known.scored.insert(known.scored.end(), part.begin(), part.end());
      save_gram_tiles(task_, known, report_);
    };
    for_steps(static_cast<Index>(mine.size()), score, save);
    known_.chosen = scores.choose(task_.comm, layer.searches_layer);
    known_.scores.clear();
    known_.scored.clear();
  }
  task_.alphabets.choose(known_.chosen);
}

void GramRun::run_tiles() {
  const std::vector<Index> left = tiles_without(reported_tiles(task_.layer, resumed_.report.tiles));
  const std::vector<Range> waves = runs_of(share_of(left, task_.comm.rank(), task_.comm.size()), shares_.tiles);
  TileRows shared_rows(task_, report_);
  const auto save = [&] {
    task_.comm.agree([&] { shared_rows.flush(); });
    save_gram_tiles(task_, known_, report_);
  };
  for_steps(static_cast<Index>(waves.size()),
            [&](Index index) { run_wave(waves[static_cast<std::size_t>(index)], shared_rows); }, save);
  task_.comm.agree([&] { shared_rows.flush(); });
}

void GramRun::run_wave(Range wave, TileRows& shared_rows) {
  const LayerPlan& layer = task_.layer;
  const Stopwatch reading;
  std::vector<std::unique_ptr<quant::Tile>> tiles;
  for (Index tile = wave.begin; tile < wave.end; ++tile) {
    const TileBox box = tile_box(layer, tile);
    tiles.push_back(std::make_unique<quant::Tile>(
        make_tile(task_, box, problems_[static_cast<std::size_t>(box.problem)], 0, weights_of(box, shared_rows))));
  }
  report_.seconds["read"] += reading.seconds();
  const Stopwatch advancing;
  std::vector<std::vector<double>> gains(static_cast<std::size_t>(wave.size()));
  std::vector<quant::OutputNorms> norms(gains.size());
  parallel_for(wave.size(), task_.threads, [&](Index i) {
    const Problem& problem = problems_[static_cast<std::size_t>(tile_box(layer, wave.begin + i).problem)];
    quant::Tile& tile = *tiles[static_cast<std::size_t>(i)];
    quantize_tile(task_, problem, tile);
    gains[static_cast<std::size_t>(i)] = sweep_tile(task_, problem, tile);
    if (layer.error_from_products) norms[static_cast<std::size_t>(i)] = quant::output_norms(problem.products, tile);
  });
  report_.seconds["path"] += advancing.seconds();
  const Stopwatch writing;
  for (Index i = 0; i < wave.size(); ++i) {
    const quant::Tile& tile = *tiles[static_cast<std::size_t>(i)];
    const TileBox box = tile_box(layer, wave.begin + i);
    if (layer.problems > 1) {
      shared_rows.finish(box, tile, gains[static_cast<std::size_t>(i)]);
      continue;
    }
    TileReport& report = finish_tile(task_, box, tile.codes(), tile.saturated(), tile.zeros(), report_);
    report.gains = std::move(gains[static_cast<std::size_t>(i)]);
    report.difference = norms[static_cast<std::size_t>(i)].difference;
    report.reference = norms[static_cast<std::size_t>(i)].reference;
  }
  report_.seconds["write"] += writing.seconds();
}

}  // namespace

void quantize_by_gram(const LayerTask& task, const std::vector<double>& quantized_bounds,
                      const std::vector<double>& analog_bounds, RankReport& report) {
  GramRun(task, report).run(quantized_bounds, analog_bounds);
}

}  // namespace gpfq::job
