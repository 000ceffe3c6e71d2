// SPDX-License-Identifier: Apache-2.0
// Pools and means against their definitions, ceil mode and padding as PyTorch and ONNX have them.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "net/window_reference.hpp"

namespace gpfq::test {
namespace {

const std::vector<WindowCase>& pool_cases() {
  static const std::vector<WindowCase> cases = {
      {.name = "two_by_two", .channels = 3, .height = 6, .width = 8, .kernel = {2, 2}, .stride = {2, 2}},
      {.name = "odd_size", .channels = 2, .height = 7, .width = 9, .kernel = {2, 2}, .stride = {2, 2}},
      {.name = "odd_size_ceil",
       .channels = 2,
       .height = 7,
       .width = 9,
       .kernel = {2, 2},
       .stride = {2, 2},
       .ceil_mode = true},
      {.name = "overlapping_padded",
       .channels = 2,
       .height = 8,
       .width = 9,
       .kernel = {3, 3},
       .stride = {2, 2},
       .pads = {1, 1, 1, 1}},
      {.name = "overlapping_padded_ceil",
       .channels = 2,
       .height = 8,
       .width = 10,
       .kernel = {3, 3},
       .stride = {2, 2},
       .pads = {1, 1, 1, 1},
       .ceil_mode = true},
      {.name = "ceil_last_window_in_padding",
       .channels = 1,
       .height = 5,
       .width = 3,
       .kernel = {2, 2},
       .stride = {2, 2},
       .pads = {1, 1, 1, 1},
       .ceil_mode = true},
      {.name = "ceil_last_window_in_padding_1x1",
       .channels = 1,
       .height = 4,
       .width = 6,
       .kernel = {2, 1},
       .stride = {3, 4},
       .pads = {1, 0, 1, 0},
       .ceil_mode = true},
      {.name = "ceil_stride_beyond_the_kernel",
       .channels = 1,
       .height = 8,
       .width = 9,
       .kernel = {2, 2},
       .stride = {3, 3},
       .ceil_mode = true},
      {.name = "same_asymmetric",
       .channels = 2,
       .height = 8,
       .width = 6,
       .kernel = {3, 3},
       .stride = {2, 2},
       .pads = {0, 0, 1, 1}},
      {.name = "stride_1", .channels = 2, .height = 6, .width = 7, .kernel = {3, 3}, .pads = {1, 1, 1, 1}},
      {.name = "strides_and_kernels_differ",
       .channels = 2,
       .height = 6,
       .width = 11,
       .kernel = {2, 4},
       .stride = {1, 3},
       .pads = {1, 2, 0, 3}},
      {.name = "dilated",
       .channels = 2,
       .height = 9,
       .width = 8,
       .kernel = {3, 2},
       .stride = {1, 2},
       .dilation = {2, 3},
       .pads = {1, 1, 2, 1}},
      {.name = "dilated_ceil",
       .channels = 2,
       .height = 10,
       .width = 9,
       .kernel = {2, 2},
       .stride = {3, 2},
       .dilation = {2, 2},
       .pads = {1, 0, 1, 1},
       .ceil_mode = true},
      {.name = "padding_up_to_the_kernel",
       .channels = 2,
       .height = 4,
       .width = 5,
       .kernel = {4, 3},
       .stride = {2, 2},
       .pads = {3, 2, 3, 2}},
      {.name = "subsampling", .channels = 3, .height = 8, .width = 7, .kernel = {1, 1}, .stride = {2, 2}},
      {.name = "whole_map", .channels = 3, .height = 5, .width = 6, .kernel = {5, 6}},
  };
  return cases;
}

struct PoolResult {
  std::vector<float> maxima;
  std::vector<double> means;
};

/// Whether a tap lies in the input or its padding, not beyond it as ceil mode allows.
bool in_padded_input(const WindowCase& c, Index row, Index column, Index i, Index j) {
  return row * c.stride[0] + i * c.dilation[0] < c.height + c.pads[0] + c.pads[2] &&
         column * c.stride[1] + j * c.dilation[1] < c.width + c.pads[1] + c.pads[3];
}

PoolResult reference_pool(const WindowCase& c, const std::vector<float>& maps, bool include_padding) {
  PoolResult result;
  const Index map_count = static_cast<Index>(maps.size()) / (c.height * c.width);
  for (Index map = 0; map < map_count; ++map)
    for (Index row = 0; row < c.extent(0); ++row)
      for (Index column = 0; column < c.extent(1); ++column) {
        float top = -std::numeric_limits<float>::infinity();
        double sum = 0;
        double count = 0;
        for (Index i = 0; i < c.kernel[0]; ++i)
          for (Index j = 0; j < c.kernel[1]; ++j) {
            bool inside = false;
            const float value = c.at(maps, map, row, column, i, j, &inside);
            sum += static_cast<double>(value);
            if (inside) top = std::max(top, value);
            count += inside || (include_padding && in_padded_input(c, row, column, i, j)) ? 1 : 0;
          }
        result.maxima.push_back(top);
        result.means.push_back(sum / std::max(count, 1.0));
      }
  return result;
}

net::Model pool_model(const WindowCase& c, net::Op op, bool include_padding = false) {
  GraphBuilder builder(c.input_shape());
  Attributes attributes = c.attributes();
  attributes["kernel"] = {static_cast<double>(c.kernel[0]), static_cast<double>(c.kernel[1])};
  attributes["ceil_mode"] = {c.ceil_mode ? 1.0 : 0.0};
  if (include_padding) attributes["count_include_pad"] = {1};
  builder.add(op, {0}, attributes);
  return builder.model();
}

class Pool : public ::testing::TestWithParam<WindowCase> {};

TEST_P(Pool, MaximumIsThatOfTheDefinition) {
  const WindowCase& c = GetParam();
  Random random(31);
  const auto input = random.normals(3 * c.input_size(), 1);
  const net::Model model = pool_model(c, net::Op::max_pool);
  EXPECT_EQ(model.graph.node(1).shape, (Shape{c.channels, c.extent(0), c.extent(1)}));
  const auto found = run_graph(model, input);
  EXPECT_TRUE(same_bits(found, reference_pool(c, input, false).maxima));
  EXPECT_TRUE(same_bits(run_in_groups(model, input, 2, {.threads = 2}), found));
}

// Means are summed in double precision: rounded once, they are those of the definition on any data of moderate size.
TEST_P(Pool, AverageIsThatOfTheDefinition) {
  const WindowCase& c = GetParam();
  Random random(32);
  const auto input = whole_numbers(random, 3 * c.input_size(), 1000);
  for (const bool include_padding : {false, true}) {
    const net::Model model = pool_model(c, net::Op::average_pool, include_padding);
    const auto found = run_graph(model, input);
    const auto expected = reference_pool(c, input, include_padding).means;
    EXPECT_TRUE(same_bits(found, {expected.begin(), expected.end()})) << "with padding: " << include_padding;
    EXPECT_TRUE(same_bits(run_in_groups(model, input, 2, {.threads = 2}), found));
  }
}

INSTANTIATE_TEST_SUITE_P(Windows, Pool, ::testing::ValuesIn(pool_cases()),
                         [](const auto& parameters) { return parameters.param.name; });

// Heights and widths as torch.nn.MaxPool2d gives them for these arguments.
TEST(PoolShape, CeilModeIsThatOfPyTorch) {
  const auto height = [](Index input, Index kernel, Index stride, Index pad, bool ceil_mode) {
    WindowCase c{.name = "", .channels = 1, .height = input, .width = input, .ceil_mode = ceil_mode};
    c.kernel[0] = c.kernel[1] = kernel;
    c.stride[0] = c.stride[1] = stride;
    for (Index& side : c.pads) side = pad;
    return pool_model(c, net::Op::max_pool).graph.node(1).shape[1];
  };
  EXPECT_EQ(height(112, 3, 2, 0, false), 55);
  EXPECT_EQ(height(112, 3, 2, 0, true), 56);
  EXPECT_EQ(height(5, 2, 2, 1, false), 3);
  EXPECT_EQ(height(5, 2, 2, 1, true), 3);  // a fourth window would start at 6, behind the five values and their padding
  EXPECT_EQ(height(7, 2, 2, 0, true), 4);
  EXPECT_EQ(height(1, 2, 2, 0, true), 1);
}

TEST(PoolByHand, PaddingNeverWinsAndCountsAsAsked) {
  // One value −4, a window of 2 × 2 over it with padding above and left, strides of 1 and no other room.
  WindowCase c{.name = "", .channels = 1, .height = 1, .width = 1, .kernel = {2, 2}, .pads = {1, 1, 0, 0}};
  EXPECT_EQ(run_graph(pool_model(c, net::Op::max_pool), {-4}), std::vector<float>{-4});
  EXPECT_EQ(run_graph(pool_model(c, net::Op::average_pool), {-4}), std::vector<float>{-4});
  EXPECT_EQ(run_graph(pool_model(c, net::Op::average_pool, true), {-4}), std::vector<float>{-1});
  EXPECT_TRUE(std::isnan(run_graph(pool_model(c, net::Op::max_pool), {std::nanf("")}).front()));
}

TEST(PoolByHand, CeilModeCountsPaddingButNothingBeyondIt) {
  // 1 2 3 padded to 0 1 2 3 0, windows of 4 every 4: [0 1 2 3], and one that has left: [0] and three beyond. It starts
  // behind the input, so it is dropped; every 3: [0 1 2 3] and [3 0], the second over 2 values with padding, 1 without.
  WindowCase c{.name = "",
               .channels = 1,
               .height = 1,
               .width = 3,
               .kernel = {1, 4},
               .stride = {1, 4},
               .pads = {0, 1, 0, 1},
               .ceil_mode = true};
  EXPECT_EQ(run_graph(pool_model(c, net::Op::average_pool, true), {1, 2, 3}), (std::vector<float>{1.5F}));
  c.stride[1] = 3;
  EXPECT_EQ(run_graph(pool_model(c, net::Op::average_pool, true), {1, 2, 3}), (std::vector<float>{1.5F, 1.5F}));
  EXPECT_EQ(run_graph(pool_model(c, net::Op::average_pool, false), {1, 2, 3}), (std::vector<float>{2, 3}));
}

net::Model mean_model(const Shape& shape, std::vector<double> axes, bool keep) {
  GraphBuilder builder(shape);
  builder.add(net::Op::reduce_mean, {0}, {{"axes", std::move(axes)}, {"keepdims", {keep ? 1.0 : 0.0}}});
  return builder.model();
}

TEST(ReduceMean, EveryChoiceOfAxes) {
  Random random(33);
  const Shape shape = {3, 4, 5, 2};
  const auto input = whole_numbers(random, 2 * 120, 1000);
  for (int mask = 1; mask < 16; ++mask) {
    std::vector<double> axes;
    Shape kept = shape;
    Shape dropped;
    for (int axis = 3; axis >= 0; --axis)  // any order of axes is the same
      if ((mask >> axis & 1) != 0) axes.push_back(axis);
    for (int axis = 0; axis < 4; ++axis)
      if ((mask >> axis & 1) != 0)
        kept[static_cast<std::size_t>(axis)] = 1;
      else
        dropped.push_back(shape[static_cast<std::size_t>(axis)]);
    std::vector<double> sums(static_cast<std::size_t>(2 * element_count(kept)));
    for (Index i = 0; i < 240; ++i) {
      const Index at[5] = {i / 120, i / 40 % 3, i / 10 % 4, i / 2 % 5, i % 2};
      Index to = at[0];
      for (int axis = 0; axis < 4; ++axis)
        to = to * kept[static_cast<std::size_t>(axis)] + ((mask >> axis & 1) != 0 ? 0 : at[axis + 1]);
      sums[static_cast<std::size_t>(to)] += static_cast<double>(input[static_cast<std::size_t>(i)]);
    }
    std::vector<float> expected;
    for (const double sum : sums) expected.push_back(static_cast<float>(sum * static_cast<double>(sums.size()) / 240));
    for (const bool keep : {true, false}) {
      const net::Model model = mean_model(shape, axes, keep);
      EXPECT_EQ(model.graph.node(1).shape, keep ? kept : dropped);
      const auto found = run_graph(model, input);
      for (std::size_t i = 0; i < expected.size(); ++i)
        ASSERT_FLOAT_EQ(found[i], expected[i]) << "mask " << mask;  // the division may round the last bit otherwise
      EXPECT_TRUE(same_bits(run_in_groups(model, input, 1, {.threads = 2}), found));
    }
  }
}

TEST(ReduceMean, SumsInDoublePrecision) {
  // 2^25, 1, -2^25, 3: in single precision the 1 would be lost and the mean 0.75.
  EXPECT_EQ(run_graph(mean_model({1, 2, 2}, {1, 2}, false), {33554432, 1, -33554432, 3}), std::vector<float>{1});
}

}  // namespace
}  // namespace gpfq::test
