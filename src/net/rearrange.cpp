// SPDX-License-Identifier: Apache-2.0
// Copies between tensors of different strides.
#include "net/rearrange.hpp"

#include <algorithm>

#include "net/loop_nest.hpp"
#include "net/sample_loop.hpp"
#include "net/window.hpp"

namespace gpfq::net {
namespace {

/// Copies one sample's values: operand 0 to operand 1 of the nest.
void copy_nest(const LoopNest<2>& nest, const float* from, float* to) {
  for_each_line(nest, [&](const LoopAxis<2>& axis, const std::array<Index, 2>& at) {
    const auto [step_from, step_to] = axis.strides;
    const float* source = from + at[0];
    float* target = to + at[1];
    if (step_from == 1 && step_to == 1)
      std::copy_n(source, axis.extent, target);
    else
      for (Index i = 0; i < axis.extent; ++i) target[i * step_to] = source[i * step_from];
  });
}

}  // namespace

void pad(const Node& node, const Batch& input, int threads, Batch& output) {
  const std::size_t rank = input.shape.size();
  const auto pads = integer_attribute(node, "pads", 2 * static_cast<Index>(rank), 0, std::vector<Index>(2 * rank, 0));
  const auto strides = row_major_strides(input.shape);
  const auto strides_out = row_major_strides(output.shape);
  LoopNest<2> nest;
  Index corner = 0;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    nest.push_back({input.shape[axis], {strides[axis], strides_out[axis]}});
    corner += pads[axis] * strides_out[axis];
  }
  nest = merged(nest);
  const float value = static_cast<float>(node.attribute("value", 0));
  const Index size = input.sample_size();
  const Index size_out = output.sample_size();
  for_samples(input.samples, size_out, threads, [&](Index begin, Index end) {
    std::fill(output.values.data() + begin * size_out, output.values.data() + end * size_out, value);
    for (Index sample = begin; sample < end; ++sample)
      copy_nest(nest, input.values.data() + sample * size, output.values.data() + sample * size_out + corner);
  });
}

void concatenate(const Node& node, const std::vector<const Batch*>& inputs, int threads, Batch& output) {
  const std::size_t axis = static_cast<std::size_t>(integer_attribute(node, "axis", 1, 0, {0}).front());
  Index outer = 1;
  for (std::size_t i = 0; i < axis; ++i) outer *= output.shape[i];
  const Index run_out = output.sample_size() / outer;
  for_samples(output.samples, output.sample_size(), threads, [&](Index begin, Index end) {
    for (Index i = begin * outer; i < end * outer; ++i) {
      float* to = output.values.data() + i * run_out;
      for (const Batch* input : inputs) {
        const Index run = input->sample_size() / outer;
        to = std::copy_n(input->values.data() + i * run, run, to);
      }
    }
  });
}

void slice(const Node& node, const Batch& input, int threads, Batch& output) {
  const std::size_t axis = static_cast<std::size_t>(integer_attribute(node, "axis", 1, 0, {0}).front());
  const Index start = integer_attribute(node, "start", 1, 0, {0}).front();
  Index outer = 1;
  for (std::size_t i = 0; i < axis; ++i) outer *= output.shape[i];
  const Index run = input.sample_size() / outer;
  const Index run_out = output.sample_size() / outer;
  const Index offset = start * (run / input.shape[axis]);
  for_samples(output.samples, output.sample_size(), threads, [&](Index begin, Index end) {
    for (Index i = begin * outer; i < end * outer; ++i)
      std::copy_n(input.values.data() + i * run + offset, run_out, output.values.data() + i * run_out);
  });
}

void transpose(const Node& node, const Batch& input, int threads, Batch& output) {
  const auto perm = integer_attribute(node, "perm", static_cast<Index>(input.shape.size()), 0, {});
  const auto strides = row_major_strides(input.shape);
  const auto strides_out = row_major_strides(output.shape);
  LoopNest<2> nest;
  for (std::size_t axis = 0; axis < perm.size(); ++axis)
    nest.push_back({output.shape[axis], {strides[static_cast<std::size_t>(perm[axis])], strides_out[axis]}});
  nest = merged(nest);
  const Index size = input.sample_size();
  for_samples(input.samples, size, threads, [&](Index begin, Index end) {
    for (Index sample = begin; sample < end; ++sample)
      copy_nest(nest, input.values.data() + sample * size, output.values.data() + sample * size);
  });
}

}  // namespace gpfq::net
