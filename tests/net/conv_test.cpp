// SPDX-License-Identifier: Apache-2.0
// Convolutions of every kind against their definition, and that no value depends on how samples,
// filters and threads are grouped.
#include <gtest/gtest.h>

#include <cmath>

#include "support/errors.hpp"
#include "gpfq/net/patches.hpp"
#include "net/window_reference.hpp"

namespace gpfq::test {
namespace {

const std::vector<WindowCase>& conv_cases() {
  static const std::vector<WindowCase> cases = {
      {.name = "plain_3x3", .channels = 3, .height = 7, .width = 9, .filters = 5, .kernel = {3, 3}},
      {.name = "padded_3x3",
       .channels = 16,
       .height = 8,
       .width = 8,
       .filters = 16,
       .kernel = {3, 3},
       .pads = {1, 1, 1, 1}},
      {.name = "same_stride_2_even",
       .channels = 4,
       .height = 8,
       .width = 10,
       .filters = 6,
       .kernel = {3, 3},
       .stride = {2, 2},
       .pads = {0, 0, 1, 1}},
      {.name = "same_stride_2_kernel_5",
       .channels = 2,
       .height = 10,
       .width = 7,
       .filters = 3,
       .kernel = {5, 5},
       .stride = {2, 2},
       .pads = {1, 2, 2, 2}},
      {.name = "stride_3_kernel_2",
       .channels = 2,
       .height = 11,
       .width = 13,
       .filters = 2,
       .kernel = {2, 2},
       .stride = {3, 3}},
      {.name = "strides_differ",
       .channels = 3,
       .height = 9,
       .width = 12,
       .filters = 7,
       .kernel = {3, 2},
       .stride = {1, 3},
       .pads = {2, 0, 1, 1}},
      {.name = "dilation_2",
       .channels = 3,
       .height = 9,
       .width = 11,
       .filters = 4,
       .kernel = {3, 3},
       .dilation = {2, 2},
       .pads = {2, 2, 2, 2}},
      {.name = "dilation_2_stride_2",
       .channels = 3,
       .height = 12,
       .width = 11,
       .filters = 4,
       .kernel = {3, 3},
       .stride = {2, 2},
       .dilation = {2, 2},
       .pads = {2, 2, 2, 2}},
      {.name = "dilation_3_stride_2",
       .channels = 2,
       .height = 13,
       .width = 12,
       .filters = 4,
       .kernel = {2, 3},
       .stride = {2, 2},
       .dilation = {3, 3},
       .pads = {1, 3, 2, 0}},
      {.name = "groups_2",
       .channels = 6,
       .height = 6,
       .width = 5,
       .filters = 10,
       .groups = 2,
       .kernel = {3, 3},
       .pads = {1, 1, 1, 1}},
      {.name = "groups_4_stride_2",
       .channels = 8,
       .height = 9,
       .width = 8,
       .filters = 8,
       .groups = 4,
       .kernel = {3, 3},
       .stride = {2, 2},
       .pads = {1, 1, 1, 1}},
      {.name = "groups_of_3", .channels = 4, .height = 6, .width = 6, .filters = 12, .groups = 4, .kernel = {3, 3}},
      {.name = "depthwise",
       .channels = 20,
       .height = 9,
       .width = 10,
       .filters = 20,
       .groups = 20,
       .kernel = {3, 3},
       .pads = {1, 1, 1, 1}},
      {.name = "depthwise_stride_2",
       .channels = 5,
       .height = 9,
       .width = 10,
       .filters = 5,
       .groups = 5,
       .kernel = {5, 5},
       .stride = {2, 2},
       .pads = {2, 2, 2, 2}},
      {.name = "depthwise_multiplier_2",
       .channels = 5,
       .height = 7,
       .width = 10,
       .filters = 10,
       .groups = 5,
       .kernel = {3, 3},
       .pads = {1, 1, 1, 1}},
      {.name = "pointwise", .channels = 13, .height = 5, .width = 7, .filters = 9, .kernel = {1, 1}},
      {.name = "pointwise_of_one_position", .channels = 40, .height = 1, .width = 1, .filters = 11, .kernel = {1, 1}},
      {.name = "pointwise_stride_2",
       .channels = 6,
       .height = 8,
       .width = 9,
       .filters = 8,
       .kernel = {1, 1},
       .stride = {2, 2}},
      {.name = "pointwise_padded",
       .channels = 3,
       .height = 4,
       .width = 5,
       .filters = 2,
       .kernel = {1, 1},
       .pads = {1, 0, 0, 2}},
      {.name = "pads_beyond_the_kernel",
       .channels = 2,
       .height = 3,
       .width = 4,
       .filters = 3,
       .kernel = {2, 2},
       .pads = {4, 3, 5, 6}},
      {.name = "pads_beyond_the_kernel_stride_2",
       .channels = 2,
       .height = 3,
       .width = 4,
       .filters = 3,
       .kernel = {2, 2},
       .stride = {2, 2},
       .pads = {5, 4, 4, 7}},
      {.name = "kernel_of_the_input", .channels = 4, .height = 5, .width = 6, .filters = 3, .kernel = {5, 6}},
      {.name = "columns", .channels = 3, .height = 7, .width = 8, .filters = 4, .kernel = {7, 1}, .pads = {3, 0, 3, 0}},
      {.name = "columns_unpadded", .channels = 3, .height = 7, .width = 8, .filters = 4, .kernel = {3, 1}},
      {.name = "rows", .channels = 3, .height = 7, .width = 8, .filters = 4, .kernel = {1, 7}, .pads = {0, 3, 0, 3}},
      {.name = "many_filters_many_inputs",
       .channels = 70,
       .height = 6,
       .width = 7,
       .filters = 39,
       .kernel = {3, 3},
       .pads = {1, 1, 1, 1}},
      {.name = "many_filters_in_groups",
       .channels = 6,
       .height = 6,
       .width = 7,
       .filters = 70,
       .groups = 2,
       .kernel = {3, 3},
       .pads = {1, 1, 1, 1}},
      {.name = "several_strips",
       .channels = 20,
       .height = 171,
       .width = 169,
       .filters = 3,
       .kernel = {3, 3},
       .pads = {1, 1, 1, 1}},
      {.name = "several_strips_stride_2",
       .channels = 20,
       .height = 173,
       .width = 170,
       .filters = 5,
       .kernel = {3, 3},
       .stride = {2, 2},
       .pads = {1, 1, 1, 1}},
      {.name = "several_strips_in_place", .channels = 3, .height = 95, .width = 100, .filters = 60, .kernel = {1, 1}},
      {.name = "one_channel_several_strips",
       .channels = 1,
       .height = 790,
       .width = 700,
       .filters = 2,
       .groups = 1,
       .kernel = {3, 3},
       .pads = {1, 1, 1, 1}},
  };
  return cases;
}

net::Model conv_model(const WindowCase& c, std::vector<float> weight, std::vector<float> bias = {}) {
  GraphBuilder builder(c.input_shape());
  Attributes attributes = c.attributes();
  attributes["groups"] = {static_cast<double>(c.groups)};
  builder.linear(net::Op::conv, 0, c.weight_shape(), std::move(weight), std::move(bias), attributes);
  return builder.model();
}

class Conv : public ::testing::TestWithParam<WindowCase> {};

// Whole numbers up to 3 and at most 630 inputs: sums below 2^24, exact in any order, so one wrong index shows.
TEST_P(Conv, EqualsItsDefinitionOnWholeNumbers) {
  const WindowCase& c = GetParam();
  Random random(11);
  const auto input = whole_numbers(random, 2 * c.input_size(), 3);
  const auto weight = whole_numbers(random, c.filters * c.inputs(), 3);
  const std::vector<double> sums = reference_conv(c, input, weight).sums;
  EXPECT_TRUE(same_bits(run_graph(conv_model(c, weight), input), {sums.begin(), sums.end()}));
}

// A float sum of N products is within (N + 1)·2^-24 of the sum of their absolute values, to first order.
TEST_P(Conv, IsAsNearToItsDefinitionAsRoundingAllows) {
  const WindowCase& c = GetParam();
  Random random(12);
  const auto input = random.normals(c.input_size(), 1);
  const auto weight = random.normals(c.filters * c.inputs(), 1);
  const ConvResult expected = reference_conv(c, input, weight);
  const auto found = run_graph(conv_model(c, weight), input);
  ASSERT_EQ(found.size(), expected.sums.size());
  const double relative = 1.01 * static_cast<double>(c.inputs() + 1) * 0x1p-24;
  for (std::size_t i = 0; i < found.size(); ++i)
    ASSERT_NEAR(found[i], expected.sums[i], relative * expected.magnitudes[i]) << "value " << i;
}

TEST_P(Conv, DoesNotDependOnGroupsOfSamplesTilesOrThreads) {
  const WindowCase& c = GetParam();
  Random random(13);
  const Index samples = c.input_size() > 10000 ? 3 : 7;
  const auto input = random.normals(samples * c.input_size(), 1);
  const net::Model model = conv_model(c, random.normals(c.filters * c.inputs(), 1), random.normals(c.filters, 1));
  const auto all = run_graph(model, input);
  EXPECT_TRUE(same_bits(run_in_groups(model, input, 1), all));
  EXPECT_TRUE(same_bits(run_in_groups(model, input, 2), all));
  for (const Index tile : {1, 3, 6, 32})
    EXPECT_TRUE(same_bits(run_graph(model, input, {.neuron_tile = tile, .threads = 3}), all)) << "tile " << tile;
}

TEST_P(Conv, GeometryIsThatOfTheCase) {
  const WindowCase& c = GetParam();
  const net::Model model = conv_model(c, std::vector<float>(static_cast<std::size_t>(c.filters * c.inputs())));
  const net::ConvGeometry geometry = net::conv_geometry(model.graph, model.graph.node(1));
  EXPECT_EQ(geometry.output_height, c.extent(0));
  EXPECT_EQ(geometry.output_width, c.extent(1));
  EXPECT_EQ(geometry.inputs(), c.inputs());
  EXPECT_EQ(geometry.positions(), c.positions());
  EXPECT_EQ(model.graph.node(1).shape, (Shape{c.filters, c.extent(0), c.extent(1)}));
  // Maps and outputs of a strip are bounded however large the maps are; the largest of these cases has 578,000 values.
  const Index scratch = net::scratch_floats_per_thread(model.graph, 0, 2);
  EXPECT_GE(scratch, std::min<Index>(c.positions(), 1024));
  EXPECT_LE(scratch, 1100 * 1024);
  EXPECT_EQ(net::scratch_floats_per_thread(model.graph, 0, 1), 0);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Conv, ::testing::ValuesIn(conv_cases()),
                         [](const auto& parameters) { return parameters.param.name; });

TEST(ConvByHand, TwoByTwoKernel) {
  // [1 2 3; 4 5 6] * [1 10; 100 1000], bias 7: 1 + 20 + 400 + 5000 = 5421, 2 + 30 + 500 + 6000 = 6532.
  GraphBuilder builder({1, 2, 3});
  builder.linear(net::Op::conv, 0, {1, 1, 2, 2}, {1, 10, 100, 1000}, {7});
  EXPECT_EQ(run_graph(builder.model(), {1, 2, 3, 4, 5, 6}), (std::vector<float>{5428, 6539}));
}

TEST(ConvByHand, NotANumberInOnePlaceReachesOnlyTheWindowsThatSeeIt) {
  GraphBuilder builder({1, 4, 40});
  builder.linear(net::Op::conv, 0, {1, 1, 3, 3}, std::vector<float>(9, 1), {}, {{"pads", {1, 1, 1, 1}}});
  std::vector<float> input(160, 1);
  input[0] = std::nanf("");
  input[159] = std::nanf("");
  const auto output = run_graph(builder.model(), input);
  for (Index row = 0; row < 4; ++row)
    for (Index column = 0; column < 40; ++column) {
      const bool sees_one = (row < 2 && column < 2) || (row >= 2 && column >= 38);
      EXPECT_EQ(std::isnan(output[static_cast<std::size_t>(row * 40 + column)]), sees_one) << row << ", " << column;
    }
}

TEST(ConvScratch, IsBoundedForVgg16) {
  GraphBuilder builder({64, 224, 224});
  builder.linear(net::Op::conv, 0, {64, 64, 3, 3}, std::vector<float>(64 * 576), {}, {{"pads", {1, 1, 1, 1}}});
  EXPECT_LE(net::scratch_floats_per_thread(builder.graph(), 0, 2), 1100 * 1024);
}

}  // namespace
}  // namespace gpfq::test
