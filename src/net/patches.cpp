// SPDX-License-Identifier: Apache-2.0
// Extents of convolutions and their patch matrices: whole rows are copied, the padding left and
// right of them is filled, and nothing is asked per value.
#include "gpfq/net/patches.hpp"

#include <algorithm>
#include <vector>

#include "gpfq/base/error.hpp"
#include "net/window.hpp"

namespace gpfq::net {
namespace {

/// One input of a filter: channel within its group, row and column in the kernel.
struct Tap {
  Index channel = 0;
  Index row = 0;
  Index column = 0;
};

Tap tap_of(const ConvGeometry& geometry, Index input) {
  const Index kernel_size = geometry.kernel_height * geometry.kernel_width;
  const Index in_kernel = input % kernel_size;
  return {input / kernel_size, in_kernel / geometry.kernel_width, in_kernel % geometry.kernel_width};
}

/// output_width values of one patch column from one row of the map.
void copy_row(const ConvGeometry& geometry, const float* map_row, Index shift, Window::Outputs inside, float* out) {
  std::fill(out, out + inside.begin, 0.0F);
  std::fill(out + inside.end, out + geometry.output_width, 0.0F);
  const Index stride = geometry.stride_width;
  if (stride == 1) {
    std::copy_n(map_row + (inside.begin + shift), inside.end - inside.begin, out + inside.begin);
    return;
  }
  for (Index column = inside.begin; column < inside.end; ++column) out[column] = map_row[column * stride + shift];
}

Window vertical_window(const ConvGeometry& geometry) {
  return {geometry.height,          geometry.kernel_height, geometry.stride_height,
          geometry.dilation_height, geometry.pad_top,       0,
          geometry.output_height};
}

Window horizontal_window(const ConvGeometry& geometry) {
  return {geometry.width,          geometry.kernel_width, geometry.stride_width,
          geometry.dilation_width, geometry.pad_left,     0,
          geometry.output_width};
}

/// One patch column of one sample, all positions.
void copy_column(const ConvGeometry& geometry, const float* map, const Tap& tap, float* out) {
  Window::Outputs rows = vertical_window(geometry).outputs_inside(tap.row);
  Window::Outputs columns = horizontal_window(geometry).outputs_inside(tap.column);
  if (columns.begin >= columns.end || rows.begin >= rows.end) {
    std::fill(out, out + geometry.positions(), 0.0F);
    return;
  }
  const Index row_shift = tap.row * geometry.dilation_height - geometry.pad_top;
  const Index column_shift = tap.column * geometry.dilation_width - geometry.pad_left;
  std::fill(out, out + rows.begin * geometry.output_width, 0.0F);
  for (Index row = rows.begin; row < rows.end; ++row)
    copy_row(geometry, map + (row * geometry.stride_height + row_shift) * geometry.width, column_shift, columns,
             out + row * geometry.output_width);
  std::fill(out + rows.end * geometry.output_width, out + geometry.positions(), 0.0F);
}

/// Where the window of one position begins; outside of the map where there is padding.
struct Corner {
  Index row = 0;
  Index column = 0;
};

void corners_of(const ConvGeometry& geometry, std::span<const Index> positions, std::vector<Corner>& corners) {
  corners.clear();
  for (const Index position : positions)
    corners.push_back({position / geometry.output_width * geometry.stride_height - geometry.pad_top,
                       position % geometry.output_width * geometry.stride_width - geometry.pad_left});
}

/// One patch column of one sample at the positions with these corners.
void gather_column(const ConvGeometry& geometry, const float* map, const Tap& tap, const std::vector<Corner>& corners,
                   float* out) {
  const Index row_shift = tap.row * geometry.dilation_height;
  const Index column_shift = tap.column * geometry.dilation_width;
  for (const Corner& corner : corners) {
    const Index row = corner.row + row_shift;
    const Index column = corner.column + column_shift;
    const bool inside = row >= 0 && row < geometry.height && column >= 0 && column < geometry.width;
    *out++ = inside ? map[row * geometry.width + column] : 0.0F;
  }
}

}  // namespace

ConvGeometry conv_geometry(const Graph& graph, const Node& node) {
  require(node.op == Op::conv && node.inputs.size() == 1, "conv_geometry: not a convolution");
  const Shape& input = graph.node(node.inputs.front()).shape;
  const auto found = node.parameters.find("weight");
  if (found == node.parameters.end()) throw_input("node '{}' (conv) has no weight", node.name);
  const Shape& weight = graph.tensor_shape(found->second);
  if (weight.size() != 4 || element_count(weight) < 1)
    throw_input("node '{}' (conv): weight has shape {}, expected filters x channels/groups x height x width", node.name,
                to_string(weight));
  const Windows windows = windows_of(node, input, {weight[2], weight[3]}, false);
  const Index groups = integer_attribute(node, "groups", 1, 1, {1}).front();
  if (input[0] % groups != 0 || weight[0] % groups != 0)
    throw_input("node '{}' (conv): {} groups do not divide its {} channels and {} filters", node.name, groups, input[0],
                weight[0]);
  if (weight[1] != input[0] / groups)
    throw_input("node '{}' (conv): its weight of shape {} expects {} channels per group, its input has {} in {} groups",
                node.name, to_string(weight), weight[1], input[0], groups);
  const auto& [rows, columns] = windows;
  ConvGeometry geometry;
  geometry.channels = input[0];
  geometry.height = input[1];
  geometry.width = input[2];
  geometry.filters = weight[0];
  geometry.groups = groups;
  geometry.kernel_height = weight[2];
  geometry.kernel_width = weight[3];
  geometry.stride_height = rows.stride;
  geometry.stride_width = columns.stride;
  geometry.dilation_height = rows.dilation;
  geometry.dilation_width = columns.dilation;
  geometry.pad_top = rows.pad_before;
  geometry.pad_left = columns.pad_before;
  geometry.output_height = rows.output;
  geometry.output_width = columns.output;
  return geometry;
}

void extract_patches(const ConvGeometry& geometry, Index group, const float* maps, Index samples,
                     std::span<const Index> positions, Index first_input, Index count, float* out, Index stride) {
  require(group >= 0 && group < geometry.groups, "extract_patches: no such group");
  require(first_input >= 0 && count >= 0 && first_input + count <= geometry.inputs(),
          "extract_patches: inputs out of range");
  if (samples == 0) return;
  const Index selected = static_cast<Index>(positions.size()) / samples;
  require(selected * samples == static_cast<Index>(positions.size()), "extract_patches: uneven selection of positions");
  for (const Index position : positions)
    require(position >= 0 && position < geometry.positions(), "extract_patches: position out of range");
  const Index rows = positions.empty() ? geometry.positions() : selected;
  require(stride >= samples * rows, "extract_patches: columns would overlap");

  const Index map_size = geometry.height * geometry.width;
  std::vector<Corner> corners;
  for (Index sample = 0; sample < samples; ++sample) {
    const float* group_maps = maps + (sample * geometry.channels + group * geometry.channels_per_group()) * map_size;
    if (!positions.empty())
      corners_of(geometry,
                 positions.subspan(static_cast<std::size_t>(sample * selected), static_cast<std::size_t>(selected)),
                 corners);
    for (Index t = 0; t < count; ++t) {
      const Tap tap = tap_of(geometry, first_input + t);
      const float* map = group_maps + tap.channel * map_size;
      float* column = out + t * stride + sample * rows;
      if (positions.empty())
        copy_column(geometry, map, tap, column);
      else
        gather_column(geometry, map, tap, corners, column);
    }
  }
}

}  // namespace gpfq::net
