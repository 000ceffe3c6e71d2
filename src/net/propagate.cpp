// SPDX-License-Identifier: Apache-2.0
// Propagation of a group of samples: products by weight tile and sample chunk, the rest in place.
#include "gpfq/net/propagate.hpp"

#include <Eigen/Core>

#include <algorithm>
#include <cmath>

#include "gpfq/base/error.hpp"
#include "gpfq/base/parallel.hpp"
#include "net/activation.hpp"

namespace gpfq::net {
namespace {

using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Last node that reads each node; the graph's output is read beyond the end.
std::vector<int> last_readers(const Graph& graph) {
  std::vector<int> last(graph.nodes.size(), -1);
  for (int index = 0; index < graph.size(); ++index)
    for (const int from : graph.node(index).inputs) last[static_cast<std::size_t>(from)] = index;
  last[static_cast<std::size_t>(graph.output)] = graph.size();
  return last;
}

std::vector<float> read_vector(const Graph& graph, const Node& node, const std::string& role,
                               const Parameters& parameters) {
  const std::string& tensor = node.parameters.at(role);
  std::vector<float> values(static_cast<std::size_t>(element_count(graph.tensor_shape(tensor))));
  parameters.read_rows(tensor, 0, static_cast<Index>(values.size()), values.data());
  return values;
}

void apply_batch_norm(const Graph& graph, const Node& node, Batch& batch, const Parameters& parameters) {
  const auto scale = read_vector(graph, node, "scale", parameters);
  const auto shift = read_vector(graph, node, "shift", parameters);
  const auto mean = read_vector(graph, node, "mean", parameters);
  const auto variance = read_vector(graph, node, "variance", parameters);
  const double epsilon = node.attribute("epsilon", 1e-5);
  const Index channels = static_cast<Index>(scale.size());
  const Index channel_size = batch.sample_size() / channels;
  std::vector<float> gain(scale.size());
  std::vector<float> offset(scale.size());
  for (std::size_t c = 0; c < scale.size(); ++c) {
    const double factor = scale[c] / std::sqrt(static_cast<double>(variance[c]) + epsilon);
    gain[c] = static_cast<float>(factor);
    offset[c] = static_cast<float>(shift[c] - mean[c] * factor);
  }
  float* value = batch.values.data();
  for (Index sample = 0; sample < batch.samples; ++sample)
    for (std::size_t c = 0; c < scale.size(); ++c)
      for (Index i = 0; i < channel_size; ++i, ++value) *value = *value * gain[c] + offset[c];
}

/// Drops the batches that nothing at or after node `next` reads.
void drop_unread(LiveBatches& live, const std::vector<int>& last_reader, int next) {
  std::erase_if(live, [&](const auto& entry) { return last_reader[static_cast<std::size_t>(entry.first)] < next; });
}

/// Takes a node's input batch for in-place work: moved where this node is its last reader, copied elsewhere.
Batch take_input(LiveBatches& live, int from, bool is_last) {
  Batch& source = live.at(from);
  if (is_last) {
    Batch moved = std::move(source);
    live.erase(from);
    return moved;
  }
  Batch copy(source.samples, source.shape);
  std::copy_n(source.values.data(), source.values.size(), copy.values.data());
  return copy;
}

}  // namespace

Batch::Batch(Index sample_count, Shape sample_shape)
    : samples(sample_count), shape(std::move(sample_shape)), values(sample_count * element_count(shape)) {}

Batch linear_output(const Graph& graph, int index, const Batch& input, const Parameters& parameters,
                    const PropagationOptions& options) {
  const Node& node = graph.node(index);
  require(is_linear(node.op), "linear_output: not a linear node");
  const std::string& tensor = node.parameters.at("weight");
  const Shape& weight_shape = graph.tensor_shape(tensor);
  const Index neurons = weight_shape[0];
  const Index inputs = weight_shape[1];
  require(input.sample_size() == inputs, "linear_output: input and weight disagree");

  Batch output(input.samples, node.shape);
  const Index tile = std::min(options.neuron_tile, round_up(neurons, alignment_floats));
  const Index chunk = options.sample_chunk;
  AlignedBuffer<float> weights(tile * inputs);  // the last tile keeps zeros or old rows below: never copied out
  for (Index first = 0; first < neurons; first += tile) {
    const Index rows = std::min(tile, neurons - first);
    parameters.read_rows(tensor, first, rows, weights.data());
    // The last chunk is padded and the last tile too, so that every product has the same shape.
    parallel_for(ceil_div(input.samples, chunk), options.threads, [&](Index piece) {
      const Index begin = piece * chunk;
      const Index samples = std::min(chunk, input.samples - begin);
      RowMajor padded;
      const float* source = input.values.data() + begin * inputs;
      if (samples < chunk) {
        padded = RowMajor::Zero(chunk, inputs);
        std::copy_n(source, samples * inputs, padded.data());
        source = padded.data();
      }
      const Eigen::Map<const RowMajor> x(source, chunk, inputs);
      const Eigen::Map<const RowMajor> w(weights.data(), tile, inputs);
      RowMajor y(chunk, tile);
      y.noalias() = x * w.transpose();
      Eigen::Map<RowMajor, 0, Eigen::OuterStride<>> out(output.values.data() + begin * neurons + first, samples, rows,
                                                        Eigen::OuterStride<>(neurons));
      out = y.topLeftCorner(samples, rows);
    });
  }
  return output;
}

void add_bias(const Graph& graph, int index, Batch& output, const Parameters& parameters) {
  const Node& node = graph.node(index);
  if (!node.has_parameter("bias")) return;
  const auto bias = read_vector(graph, node, "bias", parameters);
  float* value = output.values.data();
  for (Index sample = 0; sample < output.samples; ++sample)
    for (const float b : bias) *value++ += b;
}

void run_nodes(const Graph& graph, int first, int last, LiveBatches& live, const Parameters& parameters,
               const PropagationOptions& options) {
  const std::vector<int> last_reader = last_readers(graph);
  for (int index = first; index < last; ++index) {
    drop_unread(live, last_reader, index);
    const Node& node = graph.node(index);
    if (node.op == Op::input) continue;
    const int from = node.inputs.front();
    const bool is_last = last_reader[static_cast<std::size_t>(from)] == index;
    if (is_linear(node.op)) {
      Batch output = linear_output(graph, index, live.at(from), parameters, options);
      if (is_last) live.erase(from);
      add_bias(graph, index, output, parameters);
      live[index] = std::move(output);
      continue;
    }
    Batch batch = take_input(live, from, is_last);
    if (node.op == Op::batch_norm)
      apply_batch_norm(graph, node, batch, parameters);
    else if (node.op == Op::softmax)
      apply_softmax(batch.values.span(), node.shape.back());
    else if (is_elementwise(node.op))
      apply_elementwise(node, batch.values.span());
    batch.shape = node.shape;
    live[index] = std::move(batch);
  }
  drop_unread(live, last_reader, last);
}

std::vector<int> live_at(const Graph& graph, int cut) {
  const std::vector<int> last_reader = last_readers(graph);
  std::vector<int> live;
  for (int index = 0; index < cut; ++index)
    if (last_reader[static_cast<std::size_t>(index)] >= cut) live.push_back(index);
  return live;
}

Index peak_floats_per_sample(const Graph& graph, int first, int last) {
  Index peak = 0;
  for (int index = first; index < last; ++index) {
    Index floats = element_count(graph.node(index).shape);
    for (const int live : live_at(graph, index)) floats += element_count(graph.node(live).shape);
    peak = std::max(peak, floats);
  }
  Index left = 0;
  for (const int live : live_at(graph, last)) left += element_count(graph.node(live).shape);
  return std::max(peak, left);
}

}  // namespace gpfq::net
