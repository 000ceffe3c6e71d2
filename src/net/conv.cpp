// SPDX-License-Identifier: Apache-2.0
// Convolution without patch matrices: the kernel reads shifted lines of the laid out maps, which is
// the product W · patches with the patches' columns never written down.
#include "net/conv.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "gpfq/base/error.hpp"
#include "gpfq/base/parallel.hpp"
#include "net/conv_kernel.hpp"
#include "net/conv_layout.hpp"

namespace gpfq::net {
namespace {

/// Filters first .. first+count−1: whole groups, or a part of one.
struct FilterTile {
  Index first = 0;
  Index count = 0;
  Index per_group = 0;  ///< of this tile's filters
  AlignedBuffer<float> weights;

  [[nodiscard]] Index groups() const { return count / per_group; }
};

/// Filters of the tile that starts at `first`.
Index tile_size(const ConvGeometry& geometry, Index first, Index neuron_tile) {
  const Index per_group = geometry.filters / geometry.groups;
  if (per_group > neuron_tile) return std::min(neuron_tile, per_group - first % per_group);
  return std::min(geometry.filters - first, neuron_tile / per_group * per_group);
}

/// Rows of weights in the kernel's order: block of inputs, block of filters, input, filter.
void pack_weights(const float* rows, Index filters, Index inputs, float* packed) {
  for (Index begin = 0; begin < inputs; begin += ConvLayout::input_block) {
    const Index end = std::min(inputs, begin + ConvLayout::input_block);
    for (Index first = 0; first < filters; first += filter_block) {
      const Index last = std::min(filters, first + filter_block);
      for (Index t = begin; t < end; ++t)
        for (Index f = first; f < last; ++f) *packed++ = rows[f * inputs + t];
    }
  }
}

FilterTile read_tile(const ConvGeometry& geometry, const std::string& tensor, Index first, Index neuron_tile,
                     const Parameters& parameters) {
  FilterTile tile;
  tile.first = first;
  tile.count = tile_size(geometry, first, neuron_tile);
  tile.per_group = std::min(tile.count, geometry.filters / geometry.groups);
  const Index inputs = geometry.inputs();
  AlignedBuffer<float> rows(tile.count * inputs);
  parameters.read_rows(tensor, first, tile.count, rows.data());
  tile.weights = AlignedBuffer<float>(tile.count * inputs);
  for (Index filter = 0; filter < tile.count; filter += tile.per_group)
    pack_weights(rows.data() + filter * inputs, tile.per_group, inputs, tile.weights.data() + filter * inputs);
  return tile;
}

/// One strip of one group and sample at a time, in buffers of its own: one worker per thread.
class StripWorker {
 public:
  StripWorker(const ConvLayout& layout, Index filters)
      : layout_(layout),
        filters_(filters),
        maps_(layout.map_floats()),
        sums_(filters * layout.sum_floats()),
        panel_(layout.packs_panels() ? ConvLayout::input_block * layout.panel_width() : 0) {
    for (Index t = 0; layout.packs_panels() && t < ConvLayout::input_block; ++t)
      panel_offsets_.push_back(t * layout.panel_width());
  }

  /// Output rows first_row .. first_row+rows−1; `out` is the output of the worker's filters, all positions of each.
  void run(const float* group_maps, const float* weights, Index first_row, Index rows, float* out) {
    const ConvGeometry& geometry = layout_.geometry();
    const float* values = group_maps + first_row * geometry.width;
    if (!layout_.in_place()) {
      layout_.fill(group_maps, first_row, rows, maps_.data());
      values = maps_.data();
    }
    float* strip = out + first_row * geometry.output_width;
    multiply(values, weights, layout_.flat_positions(rows), strip);
    if (!layout_.contiguous()) copy_rows(rows, strip);
  }

 private:
  void multiply(const float* values, const float* weights, Index positions, float* strip) {
    const Index inputs = layout_.geometry().inputs();
    const Index width = layout_.panel_width();
    for (Index begin = 0; begin < inputs; begin += ConvLayout::input_block) {
      ConvBlock block;
      block.inputs = std::min(ConvLayout::input_block, inputs - begin);
      block.accumulate = begin > 0;
      for (Index position = 0; position < positions; position += width) {
        const Index count = std::min(width, positions - position);
        block.vectors = ceil_div(count, lane_count);
        block.values = values + position;
        block.offsets = layout_.offsets().data() + begin;
        if (layout_.packs_panels()) {
          pack_panel(block, count);
          block.values = panel_.data();
          block.offsets = panel_offsets_.data();
        }
        // A whole panel goes to its place where rows follow each other; a part of one would write beyond it.
        const bool in_output = layout_.contiguous() && count == width;
        block.stride = in_output ? layout_.geometry().positions() : layout_.sum_floats();
        float* sums = sums_.data() + (layout_.contiguous() ? 0 : position);
        multiply_panel(block, weights + begin * filters_, in_output ? strip + position : sums);
      }
    }
    if (layout_.contiguous()) copy_last_panel(positions, strip);
  }

  void multiply_panel(ConvBlock& block, const float* weights, float* sums) const {
    for (Index filter = 0; filter < filters_; filter += filter_block) {
      block.filters = std::min(filter_block, filters_ - filter);
      block.weights = weights + filter * block.inputs;
      block.out = sums + filter * block.stride;
      multiply_block(block);
    }
  }

  /// The panel's `count` positions of each input of the block; the rest of its last vector stays what it was.
  void pack_panel(const ConvBlock& block, Index count) {
    const Index width = layout_.panel_width();
    float* to = panel_.data();
    for (Index t = 0; t < block.inputs; ++t, to += width) {
      const float* from = block.values + block.offsets[t];
      const Index whole = count / lane_count * lane_count;
      for (Index i = 0; i < whole; i += lane_count) std::memcpy(to + i, from + i, lane_count * sizeof(float));
      for (Index i = whole; i < count; ++i) to[i] = from[i];
    }
  }

  void copy_last_panel(Index positions, float* strip) const {
    const Index count = positions % layout_.panel_width();
    for (Index filter = 0; filter < filters_; ++filter)
      std::copy_n(sums_.data() + filter * layout_.sum_floats(), count,
                  strip + filter * layout_.geometry().positions() + positions - count);
  }

  void copy_rows(Index rows, float* strip) const {
    const Index width = layout_.geometry().output_width;
    for (Index filter = 0; filter < filters_; ++filter) {
      const float* from = sums_.data() + filter * layout_.sum_floats();
      float* to = strip + filter * layout_.geometry().positions();
      for (Index row = 0; row < rows; ++row) std::copy_n(from + row * layout_.row_width(), width, to + row * width);
    }
  }

  const ConvLayout& layout_;
  Index filters_;
  AlignedBuffer<float> maps_;
  AlignedBuffer<float> sums_;
  AlignedBuffer<float> panel_;
  std::vector<Index> panel_offsets_;
};

/// All samples with one tile of filters.
void multiply_tile(const ConvLayout& layout, const FilterTile& tile, const Batch& input, int threads, Batch& output) {
  const ConvGeometry& geometry = layout.geometry();
  const Index first_group = tile.first / layout.filters_per_group();
  const Index group_maps_size = geometry.channels_per_group() * geometry.height * geometry.width;
  const Index strips = ceil_div(geometry.output_height, layout.strip_rows());
  const Index pieces = input.samples * tile.groups() * strips;
  const Index workers = std::min<Index>(threads, pieces);
  std::atomic<Index> next{0};
  parallel_for(workers, threads, [&](Index) {
    StripWorker worker(layout, tile.per_group);
    for (Index piece = next++; piece < pieces; piece = next++) {
      const Index sample = piece / (tile.groups() * strips);
      const Index group = piece / strips % tile.groups();
      const Index first_row = piece % strips * layout.strip_rows();
      const Index filter = tile.first + group * tile.per_group;
      worker.run(input.values.data() + sample * input.sample_size() + (first_group + group) * group_maps_size,
                 tile.weights.data() + group * tile.per_group * geometry.inputs(), first_row,
                 std::min(layout.strip_rows(), geometry.output_height - first_row),
                 output.values.data() + sample * output.sample_size() + filter * geometry.positions());
    }
  });
}

}  // namespace

Batch conv_output(const Graph& graph, const Node& node, const Batch& input, const Parameters& parameters,
                  const PropagationOptions& options) {
  const ConvLayout layout(conv_geometry(graph, node));
  const ConvGeometry& geometry = layout.geometry();
  require(input.sample_size() == geometry.channels * geometry.height * geometry.width,
          "conv_output: input and geometry disagree");
  require(options.neuron_tile >= 1, "conv_output: no filters in a tile");
  Batch output(input.samples, node.shape);
  for (Index first = 0; first < geometry.filters;) {
    const FilterTile tile = read_tile(geometry, node.parameters.at("weight"), first, options.neuron_tile, parameters);
    multiply_tile(layout, tile, input, options.threads, output);
    first += tile.count;
  }
  return output;
}

Index conv_scratch_floats(const Graph& graph, const Node& node) {
  const ConvLayout layout(conv_geometry(graph, node));
  return layout.scratch_floats(layout.filters_per_group());
}

}  // namespace gpfq::net
