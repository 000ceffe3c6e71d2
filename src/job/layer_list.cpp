// SPDX-License-Identifier: Apache-2.0
// Headers are read here and now, values when they are needed: a job may list more files than can be open at once.
#include "job/layer_list.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "gpfq/base/error.hpp"
#include "gpfq/store/model_copy.hpp"
#include "job/units.hpp"

namespace gpfq::job {
namespace {

// Most memory for a strip of columns of weights that lie transposed: each of the file's rows gives it a page or more.
constexpr Index most_strip_bytes = Index{256} << 20;

/// Neurons of such a strip: all of a rank's, or even parts of them that fit.
Index strip_rows(const Config& config, const Shape& weight, int ranks) {
  const Index mine = ceil_div(weight[0], Index{ranks});
  const Index room = std::min(most_strip_bytes, config.memory_per_rank / 2);
  return ceil_div(mine, ceil_div(mine, rows_within(room, weight[1] * float_bytes, mine)));
}

std::string weight_of(const LayerSource& source) { return source.name + ".weight"; }

/// Runs `work`, naming the layer in what it throws.
template <class Work>
auto for_layer(const std::string& layer, Work work) {
  try {
    return work();
  } catch (const Error& error) {
    throw Error(error.kind(), fmt::format("layer '{}': {}", layer, error.what()));
  }
}

/// Where a tensor lies and its shape, from its header.
struct TensorHeader {
  std::string where;
  Shape shape;
};

TensorHeader read_tensor_header(const formats::TensorLocation& location) {
  const std::unique_ptr<formats::TensorFile> file = formats::open_tensor(location);
  return {file->where(), file->shape()};
}

void check_inputs(const TensorHeader& weight, bool is_transposed, const TensorHeader& activations) {
  const Index found = activations.shape[1];
  const Index inputs = weight.shape[is_transposed ? 0 : 1];
  const Index neurons = weight.shape[is_transposed ? 1 : 0];
  if (found != inputs)
    throw_input("{} has shape {}, expected samples x {}: weight {} has shape {} (layout {}{})", activations.where,
                to_string(activations.shape), inputs, weight.where, to_string(weight.shape),
                is_transposed ? "in_out" : "out_in",
                found != neurons ? "" : is_transposed ? "; is it out_in?" : "; is it in_out?");
}

void check_samples(const TensorHeader& activations, Index samples) {
  if (activations.shape[0] < samples)
    throw_input("{} holds {} samples, the config asks for {}", activations.where, activations.shape[0], samples);
}

/// Checks the files of one layer against each other.
LayerInputs check_layer(const LayerSource& source, const TensorHeader& weight) {
  const TensorHeader analog = read_tensor_header(source.inputs);
  check_inputs(weight, source.is_transposed, analog);
  LayerInputs inputs;
  inputs.samples = source.samples == 0 ? analog.shape[0] : source.samples;
  inputs.shared = !source.quantized_inputs;
  check_samples(analog, inputs.samples);
  if (inputs.shared) return inputs;
  const TensorHeader quantized = read_tensor_header(*source.quantized_inputs);
  check_inputs(weight, source.is_transposed, quantized);
  if (source.samples == 0 && quantized.shape != analog.shape)
    throw_input("{} has shape {}, {} has {}: expected the same samples, or 'samples' to say how many", quantized.where,
                to_string(quantized.shape), analog.where, to_string(analog.shape));
  check_samples(quantized, inputs.samples);
  return inputs;
}

/// Appends a layer's two nodes and its weight.
void add_layer(const LayerSource& source, const std::string& input_name, net::TensorSource weight, net::Model& model) {
  net::Graph& graph = model.graph;
  net::Node input;
  input.name = input.source_name = input_name;
  input.op = net::Op::input;
  input.shape = {weight.shape[1]};
  graph.nodes.push_back(std::move(input));
  net::Node layer;
  layer.name = layer.source_name = source.name;
  layer.op = net::Op::dense;
  layer.inputs = {graph.size() - 1};
  layer.shape = {weight.shape[0]};
  const std::string tensor = weight_of(source);
  layer.parameters["weight"] = tensor;
  graph.nodes.push_back(std::move(layer));
  graph.tensors[tensor] = weight.shape;
  model.tensors[tensor] = std::move(weight);
}

}  // namespace

Index copying_bytes(const Config& config, const net::Graph& graph, int ranks) {
  Index most = 0;
  for (const LayerSource& source : config.layers) {
    const Shape& shape = graph.tensor_shape(weight_of(source));
    const Index row_bytes = shape[1] * float_bytes;
    const Index slab = rows_within(store::copy_slab_bytes, row_bytes, ceil_div(shape[0], Index{ranks}));
    const Index strip = source.is_transposed ? strip_rows(config, shape, ranks) : 0;
    most = std::max(most, (slab + strip) * row_bytes);
  }
  return most;
}

LayerList read_layer_list(const Config& config, int ranks) {
  LayerList list;
  std::map<std::string, int> taken;
  for (const LayerSource& source : config.layers) taken.emplace(source.name, 0);
  for (const LayerSource& source : config.layers)
    for_layer(source.name, [&] {
      const TensorHeader weight = read_tensor_header(source.weight);
      Shape shape = weight.shape;
      if (source.is_transposed) std::swap(shape[0], shape[1]);
      net::TensorSource rows = formats::weight_source(source.weight, weight.shape, source.is_transposed,
                                                      strip_rows(config, shape, ranks));
      rows.read_rows = [layer = source.name, read = std::move(rows.read_rows)](Index first, Index count, float* out) {
        for_layer(layer, [&] { read(first, count, out); });
      };
      list.inputs.push_back(check_layer(source, weight));
      const std::string input_name = net::unique_name(source.name + ".inputs", "input", 0, taken);
      add_layer(source, input_name, std::move(rows), list.model);
    });
  return list;
}

LayerSamples::LayerSamples(const LayerSource& source, const LayerPlan& plan) : layer_(source.name), samples_(plan.path.samples) {
  const auto open = [&](const formats::TensorLocation& location) {
    std::unique_ptr<formats::TensorFile> file = formats::open_tensor(location);
    if (file->shape()[0] < plan.path.samples || file->shape()[1] != plan.inputs)
      throw_input("{} has shape {} now, the plan expects {} x {}", file->where(), to_string(file->shape()),
                  plan.path.samples, plan.inputs);
    return file;
  };
  for_layer(layer_, [&] {
    analog_ = open(source.inputs);
    if (source.quantized_inputs) quantized_ = open(*source.quantized_inputs);
  });
}

LayerSamples::~LayerSamples() = default;

void LayerSamples::read(store::Network network, Range inputs, float* values) const {
  const formats::TensorFile& file = network == store::Network::quantized && quantized_ ? *quantized_ : *analog_;
  for_layer(layer_, [&] { file.read_columns(inputs.begin, inputs.size(), samples_, values); });
  float* const end = values + inputs.size() * samples_;
  const float* const bad = std::find_if(values, end, [](float value) { return !std::isfinite(value); });
  if (bad != end)
    throw_input("layer '{}': {} holds {} in sample {}, input {}: expected finite numbers (float32)", layer_,
                file.where(), *bad, (bad - values) % samples_, inputs.begin + (bad - values) / samples_);
}

}  // namespace gpfq::job
