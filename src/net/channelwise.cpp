// SPDX-License-Identifier: Apache-2.0
// Factors and offsets per channel, read once per call.
#include "net/channelwise.hpp"

#include <cmath>
#include <span>
#include <vector>

#include "net/sample_loop.hpp"

namespace gpfq::net {
namespace {

std::vector<float> read_vector(const Graph& graph, const Node& node, const std::string& role,
                               const Parameters& parameters) {
  const std::string& tensor = node.parameters.at(role);
  std::vector<float> values(static_cast<std::size_t>(element_count(graph.tensor_shape(tensor))));
  parameters.read_rows(tensor, 0, static_cast<Index>(values.size()), values.data());
  return values;
}

/// change(channel, values of that channel) for every channel of every sample.
template <class Change>
void for_channels(std::size_t channels, int threads, Batch& batch, const Change& change) {
  const std::size_t size = static_cast<std::size_t>(batch.sample_size()) / channels;
  for_samples(batch.samples, batch.sample_size(), threads, [&](Index begin, Index end) {
    float* value = batch.values.data() + begin * batch.sample_size();
    for (Index sample = begin; sample < end; ++sample)
      for (std::size_t channel = 0; channel < channels; ++channel, value += size)
        change(channel, std::span<float>(value, size));
  });
}

}  // namespace

void add_bias(const Graph& graph, int index, Batch& output, const Parameters& parameters, int threads) {
  const Node& node = graph.node(index);
  if (!node.has_parameter("bias")) return;
  const auto bias = read_vector(graph, node, "bias", parameters);
  for_channels(bias.size(), threads, output, [&](std::size_t channel, std::span<float> values) {
    const float b = bias[channel];
    for (float& value : values) value += b;
  });
}

void batch_norm(const Graph& graph, const Node& node, const Parameters& parameters, int threads, Batch& batch) {
  const auto scale = read_vector(graph, node, "scale", parameters);
  const auto shift = read_vector(graph, node, "shift", parameters);
  const auto mean = read_vector(graph, node, "mean", parameters);
  const auto variance = read_vector(graph, node, "variance", parameters);
  const double epsilon = node.attribute("epsilon", 1e-5);
  std::vector<float> gain(scale.size());
  std::vector<float> offset(scale.size());
  for (std::size_t c = 0; c < scale.size(); ++c) {
    const double factor = scale[c] / std::sqrt(static_cast<double>(variance[c]) + epsilon);
    gain[c] = static_cast<float>(factor);
    offset[c] = static_cast<float>(shift[c] - mean[c] * factor);
  }
  for_channels(scale.size(), threads, batch, [&](std::size_t channel, std::span<float> values) {
    const float factor = gain[channel];
    const float term = offset[channel];
    for (float& value : values) value = value * factor + term;
  });
}

}  // namespace gpfq::net
