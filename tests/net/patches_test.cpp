// SPDX-License-Identifier: Apache-2.0
// Patch matrices against their definition: every geometry, group, range of inputs and selection of
// positions, and nothing written elsewhere.
#include "gpfq/net/patches.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "support/errors.hpp"
#include "net/window_reference.hpp"

namespace gpfq::test {
namespace {

using test::fault;
using test::mentions;

constexpr float untouched = -1234.5F;

net::ConvGeometry geometry_of(const WindowCase& c) {
  GraphBuilder builder(c.input_shape());
  Attributes attributes = c.attributes();
  attributes["groups"] = {static_cast<double>(c.groups)};
  builder.linear(net::Op::conv, 0, c.weight_shape(),
                 std::vector<float>(static_cast<std::size_t>(c.filters * c.inputs())), {}, attributes);
  return net::conv_geometry(builder.graph(), builder.graph().node(1));
}

/// Entry (position, t) of one sample and group.
float reference_patch(const WindowCase& c, const std::vector<float>& maps, Index sample, Index group, Index position,
                      Index t) {
  const Index kernel_size = c.kernel[0] * c.kernel[1];
  const Index map = sample * c.channels + group * (c.channels / c.groups) + t / kernel_size;
  return c.at(maps, map, position / c.extent(1), position % c.extent(1), t % kernel_size / c.kernel[1],
              t % c.kernel[1]);
}

/// Compares columns first .. first+count−1 at the positions of each sample (all where there are none).
void expect_patches(const WindowCase& c, Index samples, Index group, const std::vector<std::vector<Index>>& chosen,
                    Index first, Index count) {
  Random random(21);
  const auto maps = random.normals(samples * c.input_size(), 1);
  std::vector<Index> positions;
  for (const auto& of_sample : chosen) positions.insert(positions.end(), of_sample.begin(), of_sample.end());
  const Index per_sample = chosen.empty() ? c.positions() : static_cast<Index>(chosen.front().size());
  const Index rows = samples * per_sample;
  const Index stride = rows + 3;
  std::vector<float> out(static_cast<std::size_t>(stride * count + 5), untouched);
  net::extract_patches(geometry_of(c), group, maps.data(), samples, positions, first, count, out.data(), stride);
  for (Index t = 0; t < count; ++t)
    for (Index row = 0; row < stride; ++row) {
      const float found = out[static_cast<std::size_t>(t * stride + row)];
      if (row >= rows) {
        ASSERT_EQ(found, untouched) << "beyond column " << t;
        continue;
      }
      const Index sample = row / per_sample;
      const Index at = row % per_sample;
      const Index position =
          chosen.empty() ? at : chosen[static_cast<std::size_t>(sample)][static_cast<std::size_t>(at)];
      ASSERT_EQ(found, reference_patch(c, maps, sample, group, position, first + t))
          << "row " << row << ", " << first + t;
    }
  for (std::size_t i = out.size() - 5; i < out.size(); ++i) ASSERT_EQ(out[i], untouched);
}

/// Every combination of kernel, stride, dilation, padding and groups that fits maps of 5 × 6.
std::vector<WindowCase> all_combinations() {
  std::vector<WindowCase> cases;
  for (const auto& [kernel_height, kernel_width] : {std::pair<Index, Index>{1, 1}, {3, 3}, {2, 3}, {5, 1}})
    for (const auto& [stride_height, stride_width] : {std::pair<Index, Index>{1, 1}, {2, 2}, {1, 3}})
      for (const Index dilation : {1, 2})
        for (const auto& [top, left, bottom, right] :
             {std::array<Index, 4>{0, 0, 0, 0}, {1, 1, 1, 1}, {0, 0, 1, 1}, {7, 5, 6, 8}})
          for (const Index groups : {1, 2, 4}) {
            WindowCase c{.name = "", .channels = 4, .height = 5, .width = 6, .filters = 4, .groups = groups};
            c.kernel[0] = kernel_height;
            c.kernel[1] = kernel_width;
            c.stride[0] = stride_height;
            c.stride[1] = stride_width;
            c.dilation[0] = c.dilation[1] = dilation;
            c.pads[0] = top, c.pads[1] = left, c.pads[2] = bottom, c.pads[3] = right;
            if (c.extent(0) > 0 && c.extent(1) > 0) cases.push_back(c);
          }
  return cases;
}

TEST(Patches, AllPositionsOfEveryGeometry) {
  const auto cases = all_combinations();
  ASSERT_GT(cases.size(), 250U);
  for (const WindowCase& c : cases)
    for (Index group = 0; group < c.groups; ++group)
      ASSERT_NO_FATAL_FAILURE(expect_patches(c, 3, group, {}, 0, c.inputs()));
}

TEST(Patches, SomePositionsOfEveryGeometry) {
  Random random(22);
  for (const WindowCase& c : all_combinations()) {
    std::vector<std::vector<Index>> chosen(2);
    const Index first = random.integer(0, c.positions() - 1);
    chosen[0] = {0, first};
    chosen[1] = {first, c.positions() - 1};
    ASSERT_NO_FATAL_FAILURE(expect_patches(c, 2, c.groups - 1, chosen, 0, c.inputs()));
  }
}

TEST(Patches, RangesOfInputs) {
  WindowCase c{
      .name = "", .channels = 3, .height = 5, .width = 6, .filters = 1, .kernel = {2, 3}, .pads = {1, 0, 0, 1}};
  for (Index first = 0; first <= c.inputs(); ++first)
    for (Index count = 0; first + count <= c.inputs(); ++count) {
      ASSERT_NO_FATAL_FAILURE(expect_patches(c, 2, 0, {}, first, count));
      ASSERT_NO_FATAL_FAILURE(expect_patches(c, 2, 0, {{1, 4, 9}, {0, 3, 20}}, first, count));
    }
}

TEST(Patches, TimesWeightsAreTheConvolution) {
  WindowCase c{.name = "",
               .channels = 4,
               .height = 6,
               .width = 5,
               .filters = 6,
               .groups = 2,
               .kernel = {3, 2},
               .stride = {2, 1},
               .pads = {1, 1, 0, 1}};
  Random random(23);
  const auto maps = whole_numbers(random, c.input_size(), 3);
  const auto weight = whole_numbers(random, c.filters * c.inputs(), 3);
  const auto sums = reference_conv(c, maps, weight).sums;
  std::vector<float> patches(static_cast<std::size_t>(c.inputs() * c.positions()));
  for (Index filter = 0; filter < c.filters; ++filter) {
    net::extract_patches(geometry_of(c), filter / 3, maps.data(), 1, {}, 0, c.inputs(), patches.data(), c.positions());
    for (Index position = 0; position < c.positions(); ++position) {
      double sum = 0;
      for (Index t = 0; t < c.inputs(); ++t)
        sum += static_cast<double>(weight[static_cast<std::size_t>(filter * c.inputs() + t)]) *
               static_cast<double>(patches[static_cast<std::size_t>(t * c.positions() + position)]);
      ASSERT_EQ(sum, sums[static_cast<std::size_t>(filter * c.positions() + position)]);
    }
  }
}

TEST(Patches, WhatTheyAreAskedForIsChecked) {
  const WindowCase c{.name = "", .channels = 2, .height = 3, .width = 3, .filters = 2, .groups = 2, .kernel = {2, 2}};
  const net::ConvGeometry geometry = geometry_of(c);
  const std::vector<float> maps(36);
  std::vector<float> out(64);
  const auto extract = [&](Index group, std::vector<Index> positions, Index first, Index count, Index stride) {
    net::extract_patches(geometry, group, maps.data(), 2, positions, first, count, out.data(), stride);
  };
  extract(1, {}, 0, 4, 8);
  EXPECT_TRUE(mentions(fault([&] { extract(2, {}, 0, 4, 8); }), "group"));
  EXPECT_TRUE(mentions(fault([&] { extract(0, {}, 1, 4, 8); }), "inputs"));
  EXPECT_TRUE(mentions(fault([&] { extract(0, {}, 0, 4, 7); }), "overlap"));
  EXPECT_TRUE(mentions(fault([&] { extract(0, {1, 2, 3}, 0, 4, 8); }), "uneven"));
  EXPECT_TRUE(mentions(fault([&] { extract(0, {1, 4}, 0, 4, 8); }), "position"));
}

}  // namespace
}  // namespace gpfq::test
