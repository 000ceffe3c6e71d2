// SPDX-License-Identifier: Apache-2.0
// Sums, differences, products and means as nests of strided loops; an operand that repeats has stride 0.
#include "net/arithmetic.hpp"

#include <algorithm>

#include "gpfq/base/error.hpp"
#include "net/loop_nest.hpp"
#include "net/sample_loop.hpp"
#include "net/window.hpp"

namespace gpfq::net {
namespace {

/// Strides of a tensor over the axes of a shape that it broadcasts to.
std::vector<Index> broadcast_strides(const Shape& shape, const Shape& target) {
  const std::vector<Index> own = row_major_strides(shape);
  std::vector<Index> strides(target.size(), 0);
  const std::size_t lead = target.size() - shape.size();
  for (std::size_t axis = 0; axis < shape.size(); ++axis)
    if (shape[axis] != 1) strides[axis + lead] = own[axis];
  return strides;
}

/// One line; steps that are known to be 0 or 1 are compiled as such.
template <class Function>
void combine_line(const LoopAxis<3>& axis, const float* first, const float* second, float* out, Function function) {
  const auto [step_first, step_second, step_out] = axis.strides;
  if (step_out == 1 && step_first == 1 && step_second == 1) {
    for (Index i = 0; i < axis.extent; ++i) out[i] = function(first[i], second[i]);
  } else if (step_out == 1 && step_first == 1 && step_second == 0) {
    const float repeated = *second;
    for (Index i = 0; i < axis.extent; ++i) out[i] = function(first[i], repeated);
  } else if (step_out == 1 && step_first == 0 && step_second == 1) {
    const float repeated = *first;
    for (Index i = 0; i < axis.extent; ++i) out[i] = function(repeated, second[i]);
  } else {
    for (Index i = 0; i < axis.extent; ++i)
      out[i * step_out] = function(first[i * step_first], second[i * step_second]);
  }
}

template <class Function>
void combine_samples(const Operand& first, const Operand& second, int threads, Batch& output, Function function) {
  const Shape& shape = output.shape;
  const auto strides_first = broadcast_strides(*first.shape, shape);
  const auto strides_second = broadcast_strides(*second.shape, shape);
  const auto strides_out = row_major_strides(shape);
  LoopNest<3> nest;
  for (std::size_t axis = 0; axis < shape.size(); ++axis)
    nest.push_back({shape[axis], {strides_first[axis], strides_second[axis], strides_out[axis]}});
  nest = merged(nest);
  const Index size_first = element_count(*first.shape);
  const Index size_second = element_count(*second.shape);
  const Index size_out = output.sample_size();
  for_samples(output.samples, size_out, threads, [&](Index begin, Index end) {
    for (Index sample = begin; sample < end; ++sample) {
      const float* a = first.values + sample * size_first;
      const float* b = second.values + sample * size_second;
      float* out = output.values.data() + sample * size_out;
      for_each_line(nest, [&](const LoopAxis<3>& axis, const std::array<Index, 3>& at) {
        combine_line(axis, a + at[0], b + at[1], out + at[2], function);
      });
    }
  });
}

}  // namespace

Shape broadcast_shape(const Node& node, const Shape& first, const Shape& second) {
  Shape shape = first.size() >= second.size() ? first : second;
  const Shape& other = first.size() >= second.size() ? second : first;
  const std::size_t lead = shape.size() - other.size();
  for (std::size_t axis = 0; axis < other.size(); ++axis) {
    Index& extent = shape[axis + lead];
    if (extent != other[axis] && extent != 1 && other[axis] != 1)
      throw_input("node '{}' ({}): shapes {} and {} do not broadcast", node.name, op_name(node.op), to_string(first),
                  to_string(second));
    if (extent == 1) extent = other[axis];
  }
  return shape;
}

void combine(Op op, const Operand& first, const Operand& second, int threads, Batch& output) {
  if (op == Op::add)
    combine_samples(first, second, threads, output, [](float x, float y) { return x + y; });
  else if (op == Op::sub)
    combine_samples(first, second, threads, output, [](float x, float y) { return x - y; });
  else
    combine_samples(first, second, threads, output, [](float x, float y) { return x * y; });
}

void reduce_mean(const Node& node, const Batch& input, int threads, Batch& output) {
  const auto axes = integer_attribute(node, "axes", -1, 0, {});
  const auto strides = row_major_strides(input.shape);
  Shape kept = input.shape;
  for (const Index axis : axes) kept.at(static_cast<std::size_t>(axis)) = 1;
  const auto strides_out = broadcast_strides(kept, input.shape);
  LoopNest<2> nest;
  for (std::size_t axis = 0; axis < input.shape.size(); ++axis)
    nest.push_back({input.shape[axis], {strides[axis], strides_out[axis]}});
  nest = merged(nest);
  const Index size = input.sample_size();
  const Index size_out = output.sample_size();
  const double count = static_cast<double>(size / size_out);
  for_samples(input.samples, size, threads, [&](Index begin, Index end) {
    std::vector<double> sums(static_cast<std::size_t>(size_out));
    for (Index sample = begin; sample < end; ++sample) {
      std::fill(sums.begin(), sums.end(), 0.0);
      const float* values = input.values.data() + sample * size;
      for_each_line(nest, [&](const LoopAxis<2>& axis, const std::array<Index, 2>& at) {
        const auto [step, step_out] = axis.strides;
        double* sum = sums.data() + at[1];
        for (Index i = 0; i < axis.extent; ++i) sum[i * step_out] += static_cast<double>(values[at[0] + i * step]);
      });
      float* out = output.values.data() + sample * size_out;
      for (const double sum : sums) *out++ = static_cast<float>(sum / count);
    }
  });
}

}  // namespace gpfq::net
