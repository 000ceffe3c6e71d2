// SPDX-License-Identifier: Apache-2.0
// Windows are taken tap by tap over whole rows of outputs: the bounds are known before each row,
// so that nothing is asked per value.
#include "net/pooling.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "net/sample_loop.hpp"
#include "net/window.hpp"

namespace gpfq::net {
namespace {

/// take(out[i], row[i·stride + shift]) for every output whose tap exists.
template <class Value, class Take>
void take_tap(const Window& window, Index tap, const float* row, Value* out, Take take) {
  const auto [begin, end] = window.outputs_inside(tap);
  const Index shift = tap * window.dilation - window.pad_before;
  if (window.stride == 1)
    for (Index i = begin; i < end; ++i) take(out[i], row[i + shift]);
  else
    for (Index i = begin; i < end; ++i) take(out[i], row[i * window.stride + shift]);
}

/// All taps of one row of outputs.
template <class Value, class Take>
void take_row(const Windows& windows, Index output_row, const float* map, Value* out, Take take) {
  const auto& [vertical, horizontal] = windows;
  for (Index tap_row = 0; tap_row < vertical.kernel; ++tap_row) {
    const Index row = output_row * vertical.stride + tap_row * vertical.dilation - vertical.pad_before;
    if (row < 0 || row >= vertical.input) continue;
    for (Index tap = 0; tap < horizontal.kernel; ++tap)
      take_tap(horizontal, tap, map + row * horizontal.input, out, take);
  }
}

/// work(map, output map) for every channel of every sample.
template <class Work>
void for_maps(const Windows& windows, const Batch& input, int threads, Batch& output, const Work& work) {
  const Index map_size = windows[0].input * windows[1].input;
  const Index map_size_out = windows[0].output * windows[1].output;
  const Index channels = input.sample_size() / map_size;
  for_samples(input.samples, input.sample_size(), threads, [&](Index begin, Index end) {
    for (Index map = begin * channels; map < end * channels; ++map)
      work(input.values.data() + map * map_size, output.values.data() + map * map_size_out);
  });
}

/// How many taps of each window count.
std::vector<double> tap_counts(const Window& window, bool include_padding) {
  const Index first = include_padding ? -window.pad_before : 0;
  const Index end = window.input + (include_padding ? window.pad_after : 0);
  std::vector<double> counts;
  for (Index output = 0; output < window.output; ++output) {
    Index count = 0;
    for (Index tap = 0; tap < window.kernel; ++tap) {
      const Index at = output * window.stride + tap * window.dilation - window.pad_before;
      count += at >= first && at < end ? 1 : 0;
    }
    counts.push_back(static_cast<double>(count));
  }
  return counts;
}

}  // namespace

void max_pool(const Node& node, const Batch& input, int threads, Batch& output) {
  const Windows windows = pool_windows(node, input.shape);
  const Index width = windows[1].output;
  for_maps(windows, input, threads, output, [&](const float* map, float* out) {
    std::fill(out, out + windows[0].output * width, -std::numeric_limits<float>::infinity());
    for (Index row = 0; row < windows[0].output; ++row)
      take_row(windows, row, map, out + row * width,
               [](float& top, float value) { top = value > top || value != value ? value : top; });
  });
}

void average_pool(const Node& node, const Batch& input, int threads, Batch& output) {
  const Windows windows = pool_windows(node, input.shape);
  const bool include_padding = flag_attribute(node, "count_include_pad", false);
  const auto row_counts = tap_counts(windows[0], include_padding);
  const auto column_counts = tap_counts(windows[1], include_padding);
  for_maps(windows, input, threads, output, [&](const float* map, float* out) {
    std::vector<double> sums(column_counts.size());
    for (std::size_t row = 0; row < row_counts.size(); ++row) {
      std::fill(sums.begin(), sums.end(), 0.0);
      take_row(windows, static_cast<Index>(row), map, sums.data(), [](double& sum, float value) { sum += value; });
      for (std::size_t column = 0; column < sums.size(); ++column)
        *out++ = static_cast<float>(sums[column] / std::max(1.0, row_counts[row] * column_counts[column]));
    }
  });
}

}  // namespace gpfq::net
