// SPDX-License-Identifier: Apache-2.0
// Strips are sized so that the maps and the outputs of one fit the cache of a core; what comes out
// does not depend on it.
#include "net/conv_layout.hpp"

#include <algorithm>

#include "gpfq/base/aligned_buffer.hpp"
#include "net/conv_kernel.hpp"

namespace gpfq::net {
namespace {

/// Most floats of a strip's maps, and of its outputs. VGG16's layers run at the same speed with 2 and 4 MiB, up to
/// twice slower with 512 KiB, where strips are one row and its halo is copied again and again.
constexpr Index strip_floats = 512 * 1024;

/// Every stride-th value; 1 and 2 are spelled out for the compiler to make vectors of.
void copy_strided(const float* from, Index stride, Index count, float* to) {
  if (stride == 1)
    std::copy_n(from, count, to);
  else if (stride == 2)
    for (Index i = 0; i < count; ++i) to[i] = from[2 * i];
  else
    for (Index i = 0; i < count; ++i) to[i] = from[i * stride];
}

/// Columns of a copy whose first is column `first` of the map.
CopiedColumns copied_columns(const ConvGeometry& g, Index first, Index row_width) {
  const Index stride = g.stride_width;
  const Index begin = first >= 0 ? 0 : std::min(row_width, ceil_div(-first, stride));
  const Index end = first >= g.width ? begin : std::max(begin, std::min(row_width, (g.width - 1 - first) / stride + 1));
  return {begin, end, first + begin * stride};
}

/// One row of one phase, zeros where the map has none.
void fill_row(const float* map_row, const CopiedColumns& columns, Index stride, Index row_width, float* out) {
  std::fill(out, out + columns.begin, 0.0F);
  if (columns.begin < columns.end)
    copy_strided(map_row + columns.from, stride, columns.end - columns.begin, out + columns.begin);
  std::fill(out + columns.end, out + row_width, 0.0F);
}

bool reads_maps_themselves(const ConvGeometry& g) {
  const Index rows_read = g.output_height + (g.kernel_height - 1) * g.dilation_height;
  const Index columns_read = g.output_width + (g.kernel_width - 1) * g.dilation_width;
  return g.stride_height == 1 && g.stride_width == 1 && g.pad_top == 0 && g.pad_left == 0 && columns_read == g.width &&
         rows_read == g.height;
}

/// Positions between rows cost filters · kernel / 16 cycles each, a copied value about half a cycle.
bool copies_cost_less(const ConvGeometry& g) {
  const AxisPhases shared(g.kernel_width, g.dilation_width, g.stride_width, false);
  const Index more_copies = g.kernel_width - static_cast<Index>(shared.phases.size());
  const Index unused = g.filters / g.groups * g.kernel_height * g.kernel_width * shared.halo;
  return unused > 8 * more_copies * g.output_width;
}

}  // namespace

AxisPhases::AxisPhases(Index kernel, Index dilation, Index stride, bool one_per_tap) {
  for (Index tap = 0; tap < kernel; ++tap) {
    const Index phase = one_per_tap ? tap * dilation : tap * dilation % stride;
    const auto found = std::find(phases.begin(), phases.end(), phase);
    slots.push_back(found - phases.begin());
    if (found == phases.end()) phases.push_back(phase);
    shifts.push_back(one_per_tap ? 0 : tap * dilation / stride);
  }
  halo = shifts.back();
}

ConvLayout::ConvLayout(const ConvGeometry& geometry)
    : geometry_(geometry),
      in_place_(reads_maps_themselves(geometry)),
      vertical_(geometry.kernel_height, geometry.dilation_height, geometry.stride_height, false),
      horizontal_(geometry.kernel_width, geometry.dilation_width, geometry.stride_width,
                  !in_place_ && copies_cost_less(geometry)) {
  const Index channels = geometry.channels_per_group();
  row_width_ = geometry.output_width + horizontal_.halo;
  panel_width_ = panel_vectors(std::min(filters_per_group(), filter_block)) * lane_count;

  const Index phase_count = static_cast<Index>(vertical_.phases.size() * horizontal_.phases.size());
  const Index by_outputs = strip_floats / row_width_ / filters_per_group();
  const Index by_maps = strip_floats / row_width_ / phase_count / channels - vertical_.halo;
  strip_rows_ = std::clamp(in_place_ ? by_outputs : std::min(by_outputs, by_maps), Index{1}, geometry.output_height);
  const Index phase_size = (strip_rows_ + vertical_.halo) * row_width_;
  // An odd number of cache lines between channels keeps them from the same places of the cache.
  channel_stride_ = (round_up(phase_count * phase_size, alignment_floats) / alignment_floats | 1) * alignment_floats;
  map_floats_ = in_place_ ? 0 : channels * channel_stride_ + panel_width_;

  for (const Index phase : horizontal_.phases)
    columns_.push_back(copied_columns(geometry, phase - geometry.pad_left, row_width_));
  for (Index channel = 0; channel < channels; ++channel)
    for (std::size_t row = 0; row < vertical_.slots.size(); ++row)
      for (std::size_t column = 0; column < horizontal_.slots.size(); ++column) {
        const Index phase =
            vertical_.slots[row] * static_cast<Index>(horizontal_.phases.size()) + horizontal_.slots[column];
        const Index within = vertical_.shifts[row] * row_width_ + horizontal_.shifts[column];
        offsets_.push_back(in_place_ ? channel * geometry.height * geometry.width + within
                                     : channel * channel_stride_ + phase * phase_size + within);
      }
}

Index ConvLayout::scratch_floats(Index filters) const {
  return round_up(map_floats_, alignment_floats) + round_up(filters * sum_floats(), alignment_floats) +
         (packs_panels() ? input_block * panel_width_ : 0);
}

void ConvLayout::fill(const float* group_maps, Index first_row, Index rows, float* out) const {
  const ConvGeometry& g = geometry_;
  const Index phase_rows = strip_rows_ + vertical_.halo;
  const Index map_size = g.height * g.width;
  for (Index channel = 0; channel < g.channels_per_group(); ++channel) {
    float* to = out + channel * channel_stride_;
    for (const Index vertical_phase : vertical_.phases)
      for (const CopiedColumns& columns : columns_) {
        for (Index row = 0; row < rows + vertical_.halo; ++row) {
          const Index map_row = (first_row + row) * g.stride_height + vertical_phase - g.pad_top;
          if (map_row < 0 || map_row >= g.height)
            std::fill(to + row * row_width_, to + (row + 1) * row_width_, 0.0F);
          else
            fill_row(group_maps + channel * map_size + map_row * g.width, columns, g.stride_width, row_width_,
                     to + row * row_width_);
        }
        to += phase_rows * row_width_;
      }
  }
}

}  // namespace gpfq::net
