// SPDX-License-Identifier: Apache-2.0
// Convolutions and pools as their definitions read: one loop per index, double precision, every
// input asked whether it exists.
#pragma once

#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "gpfq/base/types.hpp"
#include "net/operator_testing.hpp"

namespace gpfq::test {

struct WindowCase {
  std::string name;
  Index channels = 1;
  Index height = 1;
  Index width = 1;
  Index filters = 1;  ///< of convolutions
  Index groups = 1;   ///< of convolutions
  Index kernel[2] = {1, 1};
  Index stride[2] = {1, 1};
  Index dilation[2] = {1, 1};
  Index pads[4] = {0, 0, 0, 0};  ///< top, left, bottom, right
  bool ceil_mode = false;

  [[nodiscard]] Shape input_shape() const { return {channels, height, width}; }
  [[nodiscard]] Index input_size() const { return channels * height * width; }
  [[nodiscard]] Index inputs() const { return channels / groups * kernel[0] * kernel[1]; }
  [[nodiscard]] Shape weight_shape() const { return {filters, channels / groups, kernel[0], kernel[1]}; }
  [[nodiscard]] Index extent(int axis) const;
  [[nodiscard]] Index positions() const { return extent(0) * extent(1); }
  [[nodiscard]] Attributes attributes() const;

  /// The input at a place of the kernel for an output; 0 in the padding. `inside` tells which it was.
  [[nodiscard]] float at(const std::vector<float>& maps, Index map, Index row, Index column, Index kernel_row,
                         Index kernel_column, bool* inside = nullptr) const;
};

inline std::ostream& operator<<(std::ostream& stream, const WindowCase& c) { return stream << c.name; }

inline Index WindowCase::extent(int axis) const {
  const Index input = axis == 0 ? height : width;
  const Index padded = input + pads[axis] + pads[axis + 2];
  Index extent = 0;  // windows are laid down one by one
  for (Index start = 0; ceil_mode ? start < input + pads[axis] : true; start += stride[axis]) {
    const Index end = start + (kernel[axis] - 1) * dilation[axis] + 1;
    const bool previous_reached_the_end = start > 0 && end - stride[axis] >= padded;
    if (end > padded && (!ceil_mode || previous_reached_the_end)) break;
    ++extent;
  }
  return extent;
}

inline Attributes WindowCase::attributes() const {
  const auto numbers = [](auto& values) { return std::vector<double>(std::begin(values), std::end(values)); };
  return {{"strides", numbers(stride)}, {"dilations", numbers(dilation)}, {"pads", numbers(pads)}};
}

inline float WindowCase::at(const std::vector<float>& maps, Index map, Index row, Index column, Index kernel_row,
                            Index kernel_column, bool* inside) const {
  const Index y = row * stride[0] - pads[0] + kernel_row * dilation[0];
  const Index x = column * stride[1] - pads[1] + kernel_column * dilation[1];
  const bool exists = y >= 0 && y < height && x >= 0 && x < width;
  if (inside != nullptr) *inside = exists;
  return exists ? maps[static_cast<std::size_t>((map * height + y) * width + x)] : 0.0F;
}

struct ConvResult {
  std::vector<double> sums;
  std::vector<double> magnitudes;  ///< sums of absolute values: the scale of rounding errors
};

inline ConvResult reference_conv(const WindowCase& c, const std::vector<float>& maps,
                                 const std::vector<float>& weight) {
  ConvResult result;
  const Index samples = static_cast<Index>(maps.size()) / c.input_size();
  const Index per_group = c.filters / c.groups;
  for (Index sample = 0; sample < samples; ++sample)
    for (Index filter = 0; filter < c.filters; ++filter)
      for (Index row = 0; row < c.extent(0); ++row)
        for (Index column = 0; column < c.extent(1); ++column) {
          double sum = 0;
          double magnitude = 0;
          Index t = filter * c.inputs();
          for (Index channel = 0; channel < c.channels / c.groups; ++channel)
            for (Index i = 0; i < c.kernel[0]; ++i)
              for (Index j = 0; j < c.kernel[1]; ++j, ++t) {
                const Index map = sample * c.channels + filter / per_group * (c.channels / c.groups) + channel;
                const double product = static_cast<double>(weight[static_cast<std::size_t>(t)]) *
                                       static_cast<double>(c.at(maps, map, row, column, i, j));
                sum += product;
                magnitude += std::abs(product);
              }
          result.sums.push_back(sum);
          result.magnitudes.push_back(magnitude);
        }
  return result;
}

}  // namespace gpfq::test
