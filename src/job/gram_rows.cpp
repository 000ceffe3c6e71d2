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
               Products& products, RankReport& report) {
  const LayerPlan& layer = task.layer;
  const Index stride = round_up(rows.rows_of(chunk).size(), alignment_floats);
  const auto add = [&](Index problem, int own_threads) {
    ChunkColumns columns = make_columns(layer, stride);
    extract_both(task, rows, window, problem, chunk, own_threads, stride, columns);
    products[static_cast<std::size_t>(problem)].add(columns.quantized.data(), columns.analog.data(), stride, stride,
                                                    own_threads);
    if (problem == 0 && report.proportional_memory == 0) report.proportional_memory = proportional_memory_bytes();
  };
  if (layer.problems == 1) return add(0, threads);
  parallel_for(layer.problems, threads, [&](Index problem) { add(problem, 1); });
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
      const LayerRows::Window window = rows.read_window({begin, std::min(mine.end, begin + window_chunks)});
      find_large(window.analog, window.first_sample, found);
      find_large(window.quantized, window.first_sample, found);
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
  const Stopwatch reading;
  const LayerRows::Window window = rows.read_window(chunks);
  report.seconds["read"] += reading.seconds();
  const Stopwatch adding;
  for (Index chunk = chunks.begin; chunk < chunks.end; ++chunk) add_chunk(task, rows, window, chunk, threads, products, report);
  report.seconds["products"] += adding.seconds();
}

}  // namespace gpfq::job
