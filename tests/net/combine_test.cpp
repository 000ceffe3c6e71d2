// SPDX-License-Identifier: Apache-2.0
// Operators that combine or move values, against loops over the coordinates of every value.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "net/operator_testing.hpp"

namespace gpfq::test {
namespace {

constexpr Index samples = 3;

/// Coordinates of value i of a row-major tensor.
std::vector<Index> coordinates(Index i, const Shape& shape) {
  std::vector<Index> at(shape.size());
  for (std::size_t axis = shape.size(); axis-- > 0; i /= shape[axis]) at[axis] = i % shape[axis];
  return at;
}

/// Index of a place in a tensor that is repeated along axes of extent 1, aligned at the last axes.
Index broadcast_index(const std::vector<Index>& at, const Shape& shape) {
  Index index = 0;
  for (std::size_t axis = 0; axis < shape.size(); ++axis)
    index = index * shape[axis] + (shape[axis] == 1 ? 0 : at[axis + at.size() - shape.size()]);
  return index;
}

struct BroadcastCase {
  Shape first;
  Shape second;
  Shape expected;
};

// Each operand is a reshaped part of one input, so that both vary by sample.
TEST(AddSubAndMul, BroadcastAsNumpyDoes) {
  const std::vector<BroadcastCase> cases = {
      {{3, 4, 5}, {3, 4, 5}, {3, 4, 5}},       {{3, 4, 5}, {3, 1, 1}, {3, 4, 5}},
      {{3, 1, 1}, {3, 4, 5}, {3, 4, 5}},       {{3, 4, 5}, {5}, {3, 4, 5}},
      {{4, 1}, {3, 1, 5}, {3, 4, 5}},          {{1, 1, 5}, {3, 4, 1}, {3, 4, 5}},
      {{2, 1, 3, 1}, {4, 1, 5}, {2, 4, 3, 5}}, {{1}, {3, 4}, {3, 4}},
      {{1, 4, 1}, {3, 4, 5}, {3, 4, 5}},       {{1, 1}, {1}, {1, 1}},
      {{3, 1, 5}, {3, 4, 5}, {3, 4, 5}},       {{2, 2}, {2, 2, 2, 2}, {2, 2, 2, 2}}};
  Random random(41);
  for (const BroadcastCase& c : cases)
    for (const net::Op op : {net::Op::add, net::Op::sub, net::Op::mul}) {
      const Index first_size = element_count(c.first);
      const Index second_size = element_count(c.second);
      // The input [a..., b...] times a matrix of ones and zeros picks each part: dense layers as selections.
      GraphBuilder builder({first_size + second_size});
      const auto part = [&](Index begin, Index size, const Shape& shape) {
        std::vector<float> pick(static_cast<std::size_t>(size * (first_size + second_size)));
        for (Index i = 0; i < size; ++i) pick[static_cast<std::size_t>(i * (first_size + second_size) + begin + i)] = 1;
        return builder.reshape(builder.linear(net::Op::dense, 0, {size, first_size + second_size}, pick), shape);
      };
      const int first = part(0, first_size, c.first);
      const int second = part(first_size, second_size, c.second);
      builder.add(op, {first, second});
      ASSERT_EQ(builder.graph().node(builder.graph().output).shape, c.expected);
      const auto input = random.normals(samples * (first_size + second_size), 1);
      std::vector<float> expected;
      for (Index sample = 0; sample < samples; ++sample)
        for (Index i = 0; i < element_count(c.expected); ++i) {
          const auto at = coordinates(i, c.expected);
          const float* values = input.data() + sample * (first_size + second_size);
          const float a = values[broadcast_index(at, c.first)];
          const float b = values[first_size + broadcast_index(at, c.second)];
          expected.push_back(op == net::Op::add ? a + b : op == net::Op::sub ? a - b : a * b);
        }
      EXPECT_TRUE(same_bits(run_graph(builder.model(), input), expected))
          << to_string(c.first) << " " << to_string(c.second);
      EXPECT_TRUE(same_bits(run_in_groups(builder.model(), input, 2, {.threads = 2}), expected));
    }
}

TEST(Pad, PutsTheInputInTheMiddleOfTheConstant) {
  Random random(42);
  const Shape shape = {2, 3, 4};
  const auto input = random.normals(samples * 24, 1);
  for (const std::vector<double>& pads : {std::vector<double>{0, 0, 0, 0, 0, 0},
                                          {1, 0, 0, 0, 0, 0},
                                          {0, 1, 2, 3, 0, 1},
                                          {2, 2, 2, 2, 2, 2},
                                          {0, 0, 0, 0, 1, 0}}) {
    GraphBuilder builder(shape);
    builder.add(net::Op::pad, {0}, {{"pads", pads}, {"value", {-2.5}}});
    const Shape padded = builder.graph().node(1).shape;
    std::vector<float> expected;
    for (Index sample = 0; sample < samples; ++sample)
      for (Index i = 0; i < element_count(padded); ++i) {
        const auto at = coordinates(i, padded);
        Index from = sample;
        bool inside = true;
        for (std::size_t axis = 0; axis < 3; ++axis) {
          const Index place = at[axis] - static_cast<Index>(pads[axis]);
          inside = inside && place >= 0 && place < shape[axis];
          from = from * shape[axis] + place;
        }
        expected.push_back(inside ? input[static_cast<std::size_t>(from)] : -2.5F);
      }
    EXPECT_TRUE(same_bits(run_graph(builder.model(), input), expected));
  }
}

TEST(Pad, IsZeroWithoutAValue) {
  GraphBuilder builder({1, 2});
  builder.add(net::Op::pad, {0}, {{"pads", {1, 0, 1, 1}}});
  EXPECT_EQ(run_graph(builder.model(), {5, 6}), (std::vector<float>{0, 0, 0, 5, 6, 0, 0, 0, 0}));
}

TEST(Transpose, EveryOrderOfFourAxes) {
  Random random(43);
  const Shape shape = {2, 3, 4, 5};
  const auto input = random.normals(samples * 120, 1);
  std::vector<double> perm = {0, 1, 2, 3};
  do {
    GraphBuilder builder(shape);
    builder.add(net::Op::transpose, {0}, {{"perm", perm}});
    const Shape out = builder.graph().node(1).shape;
    std::vector<float> expected;
    for (Index sample = 0; sample < samples; ++sample)
      for (Index i = 0; i < 120; ++i) {
        const auto at = coordinates(i, out);
        std::vector<Index> from(4);
        for (std::size_t axis = 0; axis < 4; ++axis) from[static_cast<std::size_t>(perm[axis])] = at[axis];
        expected.push_back(input[static_cast<std::size_t>(sample * 120 + broadcast_index(from, shape))]);
      }
    ASSERT_TRUE(same_bits(run_graph(builder.model(), input), expected));
  } while (std::next_permutation(perm.begin(), perm.end()));
}

TEST(Concat, JoinsAlongEveryAxisATensorWithItselfToo) {
  Random random(44);
  const Shape shape = {2, 3, 4};
  const auto input = random.normals(samples * 24, 1);
  for (std::size_t axis = 0; axis < 3; ++axis) {
    // input, its double, input again: extents 1, 1 and 1 of the axis' extent.
    GraphBuilder builder(shape);
    const int doubled = builder.add(net::Op::add, {0, 0});
    builder.add(net::Op::concat, {0, doubled, 0}, {{"axis", {static_cast<double>(axis)}}});
    Shape out = shape;
    out[axis] *= 3;
    ASSERT_EQ(builder.graph().node(2).shape, out);
    std::vector<float> expected;
    for (Index sample = 0; sample < samples; ++sample)
      for (Index i = 0; i < 72; ++i) {
        auto at = coordinates(i, out);
        const bool is_double = at[axis] / shape[axis] == 1;
        at[axis] %= shape[axis];
        const float value = input[static_cast<std::size_t>(sample * 24 + broadcast_index(at, shape))];
        expected.push_back(is_double ? 2 * value : value);
      }
    EXPECT_TRUE(same_bits(run_graph(builder.model(), input), expected)) << "axis " << axis;
  }
}

TEST(Concat, OfDifferentExtentsAndOfOneInput) {
  GraphBuilder builder({1, 2});
  const int wide = builder.add(net::Op::pad, {0}, {{"pads", {1, 0, 0, 0}}, {"value", {9}}});
  const int joined = builder.add(net::Op::concat, {0, wide});
  builder.add(net::Op::concat, {joined});
  EXPECT_EQ(run_graph(builder.model(), {1, 2, 3, 4}), (std::vector<float>{1, 2, 9, 9, 1, 2, 3, 4, 9, 9, 3, 4}));
}

TEST(Slice, TakesPartOfEachAxis) {
  Random random(46);
  const Shape shape = {2, 3, 4};
  const auto input = random.normals(samples * 24, 1);
  for (std::size_t axis = 0; axis < 3; ++axis)
    for (Index start = 0; start < shape[axis]; ++start)
      for (Index count = 1; start + count <= shape[axis]; ++count) {
        GraphBuilder builder(shape);
        builder.add(net::Op::slice, {0},
                    {{"axis", {static_cast<double>(axis)}},
                     {"start", {static_cast<double>(start)}},
                     {"count", {static_cast<double>(count)}}});
        Shape part = shape;
        part[axis] = count;
        ASSERT_EQ(builder.graph().node(1).shape, part);
        std::vector<float> expected;
        for (Index sample = 0; sample < samples; ++sample)
          for (Index i = 0; i < element_count(part); ++i) {
            auto at = coordinates(i, part);
            at[axis] += start;
            expected.push_back(input[static_cast<std::size_t>(sample * 24 + broadcast_index(at, shape))]);
          }
        EXPECT_TRUE(same_bits(run_graph(builder.model(), input), expected)) << axis << " " << start << " " << count;
        EXPECT_TRUE(same_bits(run_in_groups(builder.model(), input, 2, {.threads = 2}), expected));
      }
}

}  // namespace
}  // namespace gpfq::test
