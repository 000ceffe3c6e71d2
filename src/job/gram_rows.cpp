// SPDX-License-Identifier: Apache-2.0
#include "job/gram_rows.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "gpfq/base/parallel.hpp"
#include "gpfq/base/system.hpp"

namespace gpfq::job {
namespace {

// Columns of patches that a thread makes at a time.
constexpr Index columns_per_piece = 32;

/// Columns of some problems for one chunk, in both networks.
struct ChunkColumns {
  Range problems;
  Range rows;        ///< of the chunk
  Index stride = 0;  ///< from one column to the next; what is beyond the rows is zero
  AlignedBuffer<float> quantized;
  AlignedBuffer<float> analog;

  ChunkColumns(const LayerPlan& layer, Range of_problems, Range of_chunk)
      : problems(of_problems), rows(of_chunk), stride(round_up(of_chunk.size(), alignment_floats)) {
    const Index size = problems.size() * layer.path.inputs * stride;
    const Content content = stride == rows.size() ? Content::anything : Content::zeros;
    quantized = AlignedBuffer<float>(size, content);
    if (!layer.path.shared) analog = AlignedBuffer<float>(size, content);
  }
};

/// The chunk's rows that belong to a window's samples, into their place.
void extract_both(const LayerTask& task, const LayerRows& rows, const LayerRows::Window& window, Range samples,
                  int threads, ChunkColumns& columns) {
  const bool shared = task.layer.path.shared;
  const net::Batch& quantized = shared ? window.analog : window.quantized;
  const Index inputs = task.layer.path.inputs;
  const Range here = rows.rows_within(columns.rows, samples);
  const Index per_problem = ceil_div(inputs, columns_per_piece);
  const Index pieces = per_problem * columns.problems.size();
  parallel_for(pieces * (shared ? 1 : 2), threads, [&](Index piece) {
    const bool is_quantized = piece < pieces;
    const Index problem = piece % pieces / per_problem;
    const Index begin = piece % per_problem * columns_per_piece;
    const Range range{begin, std::min(inputs, begin + columns_per_piece)};
    float* out = (is_quantized ? columns.quantized : columns.analog).data() +
                 (problem * inputs + begin) * columns.stride + here.begin - columns.rows.begin;
    rows.extract(window, is_quantized ? quantized : window.analog, columns.problems.begin + problem, here, range, out,
                 columns.stride);
  });
}

void add_columns(const LayerTask& task, ChunkColumns& columns, Index problem, int threads, Products& products) {
  const Index first = (problem - columns.problems.begin) * task.layer.path.inputs * columns.stride;
  float* analog = task.layer.path.shared ? nullptr : columns.analog.data() + first;
  products[static_cast<std::size_t>(problem)].add(columns.quantized.data() + first, analog, columns.stride,
                                                  columns.stride, threads);
}

/// `work(problem, threads)`: threads share the one problem's panels, or each takes problems of its own.
template <class Work>
void for_problems(const LayerPlan& layer, int threads, Work work) {
  if (layer.problems == 1) return work(Index{0}, threads);
  parallel_for(layer.problems, threads, [&](Index problem) { work(problem, 1); });
}

/// Adds a run of chunks of a dense layer.
void add_dense(const LayerTask& task, const LayerRows& rows, Range chunks, int threads, Products& products,
               RankReport& report) {
  for (Index chunk = chunks.begin; chunk < chunks.end; ++chunk) {
    const Stopwatch reading;
    const bool shared = task.layer.path.shared;
    ChunkColumns columns(task.layer, {0, 1}, rows.rows_of(chunk));
    rows.read_columns(shared ? store::Network::analog : store::Network::quantized, columns.rows, columns.quantized.data(),
                      columns.stride);
    if (!shared) rows.read_columns(store::Network::analog, columns.rows, columns.analog.data(), columns.stride);
    report.seconds["read"] += reading.seconds();
    const Stopwatch adding;
    add_columns(task, columns, 0, threads, products);
    report.seconds["products"] += adding.seconds();
    if (report.proportional_memory == 0) report.proportional_memory = proportional_memory_bytes();
  }
}

/// Adds a run of chunks of a convolution, whose samples are all at hand, to all problems.
void add_window(const LayerTask& task, const LayerRows& rows, Range chunks, int threads, Products& products,
                RankReport& report) {
  const Stopwatch reading;
  const Range samples = rows.samples_of(rows.rows_of(chunks));
  const LayerRows::Window window = rows.read_window(samples);
  report.seconds["read"] += reading.seconds();
  const Stopwatch adding;
  for (Index chunk = chunks.begin; chunk < chunks.end; ++chunk)
    for_problems(task.layer, threads, [&](Index problem, int own_threads) {
      ChunkColumns columns(task.layer, {problem, problem + 1}, rows.rows_of(chunk));
      extract_both(task, rows, window, samples, own_threads, columns);
      add_columns(task, columns, problem, own_threads, products);
      if (problem == 0 && report.proportional_memory == 0) report.proportional_memory = proportional_memory_bytes();
    });
  report.seconds["products"] += adding.seconds();
}

/// Adds one chunk, whose columns are gathered from a few samples at a time, to all problems.
void add_gathered(const LayerTask& task, const LayerRows& rows, Index chunk, int threads, Products& products,
                  RankReport& report) {
  const LayerPlan& layer = task.layer;
  ChunkColumns columns(layer, {0, layer.problems}, rows.rows_of(chunk));
  const Range all = rows.samples_of(columns.rows);
  for (Index begin = all.begin; begin < all.end; begin += layer.window_samples) {
    const Stopwatch reading;
    const Range samples{begin, std::min(all.end, begin + layer.window_samples)};
    const LayerRows::Window window = rows.read_window(samples);
    report.seconds["read"] += reading.seconds();
    const Stopwatch extracting;
    extract_both(task, rows, window, samples, threads, columns);
    report.seconds["products"] += extracting.seconds();
  }
  const Stopwatch adding;
  for_problems(layer, threads,
               [&](Index problem, int own_threads) { add_columns(task, columns, problem, own_threads, products); });
  report.seconds["products"] += adding.seconds();
}

/// A value that products in single precision are not safe with.
struct LargeInput {
  Index sample = std::numeric_limits<Index>::max();
  Index channel = 0;
  float value = 0;
};

void find_large(const net::Batch& batch, Index first_sample, LargeInput& found) {
  const Index size = batch.sample_size();
  for (Index i = 0; i < batch.values.size() && first_sample + i / size < found.sample; ++i)
    if (!(std::abs(batch.values[i]) <= largest_usable_input))
      found = {first_sample + i / size, i % size / (size / batch.shape.front()), batch.values[i]};
}

}  // namespace

void refuse_large_inputs(const LayerTask& task, const LayerRows& rows, Index window_chunks,
                         const std::vector<double>& quantized_bounds, const std::vector<double>& analog_bounds) {
  const auto is_small = [](double bound) { return bound <= largest_usable_input; };
  if (std::ranges::all_of(quantized_bounds, is_small) && std::ranges::all_of(analog_bounds, is_small)) return;
  LargeInput found;
  task.comm.agree([&] {
    const Range mine = ShardPlan(task.layer.path.chunk_total(), 1, task.comm.size()).pieces_of(task.comm.rank());
    for (Index begin = mine.begin; begin < mine.end; begin += window_chunks) {
      const Range samples = rows.samples_of(rows.rows_of(Range{begin, std::min(mine.end, begin + window_chunks)}));
      const Index step = task.layer.needs_whole_chunks() ? samples.size() : task.layer.window_samples;
      for (Index first = samples.begin; first < samples.end; first += step) {
        const LayerRows::Window window = rows.read_window({first, std::min(samples.end, first + step)});
        find_large(window.analog, window.first_sample, found);
        find_large(window.quantized, window.first_sample, found);
      }
    }
  });
  const Index first = -task.comm.max(-found.sample);
  task.comm.agree([&] {
    if (found.sample == first)
      throw_input("layer '{}': its inputs reach {:g} at sample {}, channel {}: expected finite activations below 1e15",
                  task.layer.name, found.value, found.sample, found.channel);
  });
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
    }
    products.emplace_back(layer.gram_extent());
    products.back().start(quantized, analog, layer.path.samples);
  }
  return products;
}

void add_chunks(const LayerTask& task, const LayerRows& rows, Range chunks, int threads, Products& products,
                RankReport& report) {
  if (!task.layer.is_conv) return add_dense(task, rows, chunks, threads, products, report);
  if (!task.layer.gathers_chunks) return add_window(task, rows, chunks, threads, products, report);
  for (Index chunk = chunks.begin; chunk < chunks.end; ++chunk)
    add_gathered(task, rows, chunk, threads, products, report);
}

}  // namespace gpfq::job
