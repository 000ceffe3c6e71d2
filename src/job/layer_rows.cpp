// SPDX-License-Identifier: Apache-2.0
// Chunks of rows know nothing of samples: a chunk may begin and end in the middle of an image.
#include "job/layer_rows.hpp"

#include <algorithm>
#include <numeric>
#include <span>

#include "gpfq/base/error.hpp"
#include "gpfq/base/random.hpp"

namespace gpfq::job {
namespace {

using store::Network;

}  // namespace

LayerRows::LayerRows(const net::Graph& graph, const LayerPlan& layer, const store::ActivationStore& store)
    : layer_(layer), store_(store), input_node_(graph.node(layer.node).inputs.front()) {
  if (layer.is_conv) geometry_ = net::conv_geometry(graph, graph.node(layer.node));
}

Range LayerRows::rows_of(Index chunk) const {
  const quant::PathShape& shape = layer_.path;
  return {chunk * shape.sample_chunk, std::min(shape.samples, (chunk + 1) * shape.sample_chunk)};
}

Range LayerRows::samples_of(Range rows) const {
  return {rows.begin / layer_.rows_per_sample, ceil_div(rows.end, layer_.rows_per_sample)};
}

Range LayerRows::rows_within(Range rows, Range samples) const {
  const Index K = layer_.rows_per_sample;
  return {std::max(rows.begin, samples.begin * K), std::min(rows.end, samples.end * K)};
}

Index LayerRows::channel_of(Index problem, Index input) const {
  if (!layer_.is_conv) return input;
  const Index kernel = geometry_.kernel_height * geometry_.kernel_width;
  return layer_.channelwise ? problem : problem * geometry_.channels_per_group() + input / kernel;
}

/// Keyed by layer and sample, the same for both networks.
LayerRows::Positions LayerRows::positions_of(Range samples) const {
  Positions positions;
  if (layer_.rows_per_sample == geometry_.positions()) return positions;
  for (Index sample = samples.begin; sample < samples.end; ++sample)
    positions.push_back(random_subset(geometry_.positions(), layer_.rows_per_sample,
                                      random_bits(layer_.patch_seed, static_cast<std::uint64_t>(sample))));
  return positions;
}

void LayerRows::extract_rows(const net::ConvGeometry& geometry, Index group, Index first_input, Index count,
                             const float* maps, const Positions& positions, Index first_sample, Range rows, float* out,
                             Index stride) const {
  const Index K = layer_.rows_per_sample;
  const Index sample_size = geometry.channels * geometry.height * geometry.width;
  const bool uses_all = K == geometry.positions();
  for (Index row = rows.begin; row < rows.end;) {
    const Index sample = row / K;
    const float* at = maps + (sample - first_sample) * sample_size;
    if (uses_all && row % K == 0 && rows.end - row >= K) {  // whole samples in one go
      const Index samples = (rows.end - row) / K;
      net::extract_patches(geometry, group, at, samples, {}, first_input, count, out + (row - rows.begin), stride);
      row += samples * K;
      continue;
    }
    const Range within{row % K, std::min(K, row % K + rows.end - row)};
    std::vector<Index> all(uses_all ? static_cast<std::size_t>(K) : 0);
    std::iota(all.begin(), all.end(), Index{0});
    const std::vector<Index>& used = uses_all ? all : positions[static_cast<std::size_t>(sample - first_sample)];
    const auto part =
        std::span(used).subspan(static_cast<std::size_t>(within.begin), static_cast<std::size_t>(within.size()));
    net::extract_patches(geometry, group, at, 1, part, first_input, count, out + (row - rows.begin), stride);
    row += within.size();
  }
}

void LayerRows::fill_dense(Network network, Range inputs, const quant::PathShape& shape, float* out) const {
  const Index begin = shape.first_chunk * shape.sample_chunk;
  const Index samples = std::min(shape.samples - begin, shape.chunk_count() * shape.sample_chunk);
  store_.read_inputs(input_node_, network, inputs.begin, inputs.size(), begin, samples, out, shape.stride());
}

void LayerRows::fill_patches(Network network, Range inputs, const quant::PathShape& shape, float* out) const {
  const Index kernel = geometry_.kernel_height * geometry_.kernel_width;
  net::ConvGeometry part = geometry_;
  const Range channels{inputs.begin / kernel, ceil_div(inputs.end, kernel)};
  part.channels = channels.size();
  const Range rows = rows_of({shape.first_chunk, shape.first_chunk + shape.chunk_count()});
  const Range all = samples_of(rows);
  for (Index begin = all.begin; begin < all.end; begin += layer_.patch_samples) {
    const Range samples{begin, std::min(all.end, begin + layer_.patch_samples)};
    const net::Batch maps = store_.read_channels(input_node_, network, samples.begin, samples.size(), channels.begin,
                                                 channels.size());
    const Positions positions = positions_of(samples);
    const Range here = rows_within(rows, samples);
    for (Index row = here.begin; row < here.end;) {  // chunk by chunk
      const Index chunk = row / shape.sample_chunk;
      const Range piece{row, std::min(here.end, rows_of(chunk).end)};
      float* at = out + shape.offset(chunk - shape.first_chunk) + row - rows_of(chunk).begin;
      extract_rows(part, 0, inputs.begin - channels.begin * kernel, inputs.size(), maps.values.data(), positions,
                   samples.begin, piece, at, shape.stride());
      row = piece.end;
    }
  }
}

/// Inputs that follow each other in the layer and in the order of visits, from the one that is visited at `at` on.
Range LayerRows::run_of(Index at, Index end) const {
  const Index first = input_at(at);
  Index count = order_.empty() ? end - at : 1;
  while (at + count < end && input_at(at + count) == first + count) ++count;
  return {first, first + count};
}

void LayerRows::fill(Index first, Range part, quant::InputBlock& block) const {
  require(layer_.problems == 1, "LayerRows::fill: one problem");
  if (block.shape().chunk_count() == 0 || part.empty()) return;
  const auto fill_network = [&](Network network, float* out) {
    for (Index t = part.begin; t < part.end;) {
      const Range inputs = run_of(first + t, first + part.end);
      if (layer_.is_conv)
        fill_patches(network, inputs, block.shape(), out + t * block.shape().stride());
      else
        fill_dense(network, inputs, block.shape(), out + t * block.shape().stride());
      t += inputs.size();
    }
  };
  fill_network(layer_.path.shared ? Network::analog : Network::quantized, block.quantized());
  if (!block.shape().shared) fill_network(Network::analog, block.analog());
}

LayerRows::Window LayerRows::read_window(Range samples) const {
  Window window;
  window.first_sample = samples.begin;
  window.analog = store_.read_samples(input_node_, Network::analog, samples.begin, samples.size());
  if (!layer_.path.shared)
    window.quantized = store_.read_samples(input_node_, Network::quantized, samples.begin, samples.size());
  if (layer_.is_conv) window.positions = positions_of(samples);
  return window;
}

void LayerRows::read_columns(Network network, Range rows, float* out, Index stride) const {
  store_.read_inputs(input_node_, network, 0, layer_.path.inputs, rows.begin, rows.size(), out, stride);
}

void LayerRows::extract(const Window& window, const net::Batch& maps, Index problem, Range rows, Range columns,
                        float* out, Index stride) const {
  const Index per_group = layer_.problems / layer_.groups;
  const Index first_input = (layer_.channelwise ? problem % per_group * layer_.path.inputs : 0) + columns.begin;
  extract_rows(geometry_, problem / per_group, first_input, columns.size(), maps.values.data(), window.positions,
               window.first_sample, rows, out, stride);
}

}  // namespace gpfq::job
