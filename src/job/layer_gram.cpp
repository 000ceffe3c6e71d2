// SPDX-License-Identifier: Apache-2.0
// Gram form on ranks: first everybody's rows, then everybody's neurons.
#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>

#include "gpfq/base/parallel.hpp"
#include "gpfq/base/system.hpp"
#include "gpfq/quant/gram_sweeps.hpp"
#include "job/layer_path.hpp"
#include "job/tile_rows.hpp"

namespace gpfq::job {
namespace {

// Columns of patches that a thread makes at a time.
constexpr Index columns_per_piece = 32;

/// Products of all problems of a layer.
using Products = std::vector<quant::GramProducts>;

/// Columns of a problem for one chunk, in both networks.
struct ChunkColumns {
  AlignedBuffer<float> quantized;
  AlignedBuffer<float> analog;
};

ChunkColumns make_columns(const LayerPlan& layer, Index stride) {
  ChunkColumns columns;
  columns.quantized = AlignedBuffer<float>(stride * layer.path.inputs);
  if (!layer.path.shared) columns.analog = AlignedBuffer<float>(stride * layer.path.inputs);
  return columns;
}

void extract_both(const LayerTask& task, const LayerRows& rows, const LayerRows::Window& window, Index problem,
                  Index chunk, int threads, Index stride, ChunkColumns& columns) {
  const bool shared = task.layer.path.shared;
  const net::Batch& quantized = shared ? window.analog : window.quantized;
  const Index inputs = task.layer.path.inputs;
  const Index pieces = ceil_div(inputs, columns_per_piece);
  parallel_for(pieces * (shared ? 1 : 2), threads, [&](Index piece) {
    const bool is_quantized = piece < pieces;
    const Index begin = piece % pieces * columns_per_piece;
    const Range range{begin, std::min(inputs, begin + columns_per_piece)};
    float* out = (is_quantized ? columns.quantized : columns.analog).data() + begin * stride;
    rows.extract(window, is_quantized ? quantized : window.analog, problem, chunk, range, out, stride);
  });
}

/// Adds one chunk to all problems: threads share the one problem's panels, or each takes problems of its own.
void add_chunk(const LayerTask& task, const LayerRows& rows, const LayerRows::Window& window, Index chunk, int threads,
               Products& products) {
  const LayerPlan& layer = task.layer;
  const Index stride = round_up(rows.rows_of(chunk).size(), alignment_floats);
  const auto add = [&](Index problem, int own_threads) {
    ChunkColumns columns = make_columns(layer, stride);
    extract_both(task, rows, window, problem, chunk, own_threads, stride, columns);
    products[static_cast<std::size_t>(problem)].add(columns.quantized.data(), columns.analog.data(), stride, stride,
                                                    own_threads);
  };
  if (layer.problems == 1) return add(0, threads);
  parallel_for(layer.problems, threads, [&](Index problem) { add(problem, 1); });
}

Products start_products(const LayerTask& task, const LayerRows& rows, const std::vector<double>& quantized_bounds,
                        const std::vector<double>& analog_bounds) {
  const LayerPlan& layer = task.layer;
  Products products;
  for (Index problem = 0; problem < layer.problems; ++problem) {
    std::vector<double> quantized;
    std::vector<double> analog;
    for (Index t = 0; t < layer.path.inputs; ++t) {
      const auto channel = static_cast<std::size_t>(rows.channel_of(problem, t));
      quantized.push_back(quantized_bounds[channel]);
      analog.push_back(analog_bounds[channel]);
      if (std::max(quantized.back(), analog.back()) > largest_usable_input)
        throw_input("layer '{}': channel {} of its inputs reaches {:g}, expected finite activations below 1e15",
                    layer.name, channel, std::max(quantized.back(), analog.back()));
    }
    products.emplace_back(layer.gram_extent());
    products.back().start(quantized, analog, layer.path.samples);
  }
  return products;
}

void add_rows(const LayerTask& task, const LayerRows& rows, Products& products, RankReport& report) {
  const LayerPlan& layer = task.layer;
  const Range chunks = ShardPlan(layer.path.chunk_total(), 1, task.comm.size()).pieces_of(task.comm.rank());
  const GramShares shares = gram_shares(layer, task.threads, task.memory_per_rank);
  for (Index begin = chunks.begin; begin < chunks.end; begin += shares.window_chunks) {
    const Range part{begin, std::min(chunks.end, begin + shares.window_chunks)};
    Stopwatch reading;
    const LayerRows::Window window = rows.read_window(part);
    report.seconds["read"] += reading.seconds();
    Stopwatch adding;
    for (Index chunk = part.begin; chunk < part.end; ++chunk)
      add_chunk(task, rows, window, chunk, shares.threads, products);
    report.seconds["products"] += adding.seconds();
    if (begin == chunks.begin) report.proportional_memory = proportional_memory_bytes();
  }
}

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

/// The path of this rank's tiles with every candidate.
void score_tiles(const LayerTask& task, const Problems& problems, CandidateScores& scores, RankReport& report) {
  const LayerPlan& layer = task.layer;
  const Range tiles = ShardPlan(layer.tile_count(), 1, task.comm.size()).pieces_of(task.comm.rank());
  TileRows rows(task, report);
  const std::size_t candidates = task.alphabets.candidates.size();
  const Index channels = layer.channelwise ? layer.problems / layer.groups : 1;
  const Index wave_tiles = gram_shares(layer, task.threads, task.memory_per_rank).tiles;
  std::vector<float> weights;
  for (Index at = tiles.begin; at < tiles.end; ++at) {
    const TileBox box = tile_box(layer, at);
    const Problem& problem = problems[static_cast<std::size_t>(box.problem)];
    const Stopwatch reading;
    weights.resize(static_cast<std::size_t>(box.neurons * box.inputs));
    if (layer.problems > 1)
      rows.read(box, weights);
    else
      read_tile_weights(task, box, weights);
    report.seconds["read"] += reading.seconds();
    const Stopwatch searching;
    parallel_for(static_cast<Index>(candidates), static_cast<int>(wave_tiles), [&](Index i) {
      const auto candidate = static_cast<std::size_t>(i);
      quant::Tile tile = make_tile(task, box, problem, candidate, weights);
      quantize_tile(task, problem, tile);
      const quant::GramResidual residual(problem.products, tile);
      for (Index j = 0; j < box.neurons; ++j)
        scores.set(box.problem % channels, box.first_neuron + j, candidate, residual.relative_norm(j));
    });
    report.seconds["path"] += searching.seconds();
  }
}

void run_tiles(const LayerTask& task, const Problems& problems, RankReport& report) {
  const LayerPlan& layer = task.layer;
  const Range tiles = ShardPlan(layer.tile_count(), 1, task.comm.size()).pieces_of(task.comm.rank());
  const bool shares_rows = layer.problems > 1;
  TileRows shared_rows(task, report);
  const Index wave_tiles = gram_shares(layer, task.threads, task.memory_per_rank).tiles;
  for (Index begin = tiles.begin; begin < tiles.end; begin += wave_tiles) {
    const Range wave{begin, std::min(tiles.end, begin + wave_tiles)};
    Stopwatch reading;
    std::vector<std::unique_ptr<quant::Tile>> paths;
    for (Index tile = wave.begin; tile < wave.end; ++tile) {
      const TileBox box = tile_box(layer, tile);
      paths.push_back(std::make_unique<quant::Tile>(
          make_tile(task, box, problems[static_cast<std::size_t>(box.problem)], 0, {})));
      if (shares_rows)
        shared_rows.read(box, paths.back()->weights());
      else
        read_tile_weights(task, box, paths.back()->weights());
    }
    report.seconds["read"] += reading.seconds();
    Stopwatch advancing;
    std::vector<std::vector<double>> gains(static_cast<std::size_t>(wave.size()));
    parallel_for(wave.size(), task.threads, [&](Index i) {
      const TileBox box = tile_box(layer, wave.begin + i);
      const Problem& problem = problems[static_cast<std::size_t>(box.problem)];
      quant::Tile& tile = *paths[static_cast<std::size_t>(i)];
      quantize_tile(task, problem, tile);
      gains[static_cast<std::size_t>(i)] = sweep_tile(task, problem, tile);
    });
    report.seconds["path"] += advancing.seconds();
    Stopwatch writing;
    for (Index tile = wave.begin; tile < wave.end; ++tile) {
      const quant::Tile& path = *paths[static_cast<std::size_t>(tile - wave.begin)];
      const TileBox box = tile_box(layer, tile);
      if (shares_rows)
        shared_rows.finish(box, path, gains[static_cast<std::size_t>(tile - wave.begin)]);
      else
        finish_tile(task, box, path.codes(), path.saturated(), path.zeros(), report,
                    gains[static_cast<std::size_t>(tile - wave.begin)]);
    }
    report.seconds["write"] += writing.seconds();
  }
  shared_rows.flush();
}

}  // namespace

void quantize_by_gram(const LayerTask& task, const std::vector<double>& quantized_bounds,
                      const std::vector<double>& analog_bounds, RankReport& report) {
  const LayerRows rows(task.graph, task.layer, task.inputs);
  Products products;
  task.comm.agree([&] {
    products = start_products(task, rows, quantized_bounds, analog_bounds);
    add_rows(task, rows, products, report);
  });
  Stopwatch summing;
  RankReducer reducer(task.comm);
  for (quant::GramProducts& product : products) {
    product.finish(reducer);
    report.dead_inputs += product.dead_count();
    const std::span<const double> sums = product.column_sums();
    report.column_sums.emplace_back(sums.begin(), sums.end());
  }
  report.seconds["sum"] += summing.seconds();
  Problems problems;
  Stopwatch factoring;
  for (quant::GramProducts& product : products) {
    std::vector<Index> order;
    if (task.layer.orders_by_activation) order = product.order_by_norm();
    problems.push_back({product, std::move(order), {}});
    if (task.layer.diffuses) problems.back().factor = make_factor(task, product);
  }
  if (task.layer.diffuses) report.seconds["factor"] += factoring.seconds();
  if (task.alphabets.candidates.size() > 1) {
    const LayerPlan& layer = task.layer;
    CandidateScores scores(layer.channelwise ? layer.problems / layer.groups : 1, layer.neurons,
                           task.alphabets.candidates.size());
    task.comm.agree([&] { score_tiles(task, problems, scores, report); });
    task.alphabets.choose(scores.choose(task.comm, layer.searches_layer));
  }
  task.comm.agree([&] { run_tiles(task, problems, report); });
}

}  // namespace gpfq::job
