// SPDX-License-Identifier: Apache-2.0
// Means are linear in the inputs' sums, which the path's pass over the inputs brings along.
#include "job/bias.hpp"

#include <algorithm>

#include "gpfq/base/error.hpp"
#include "job/units.hpp"

namespace gpfq::job {

int add_missing_biases(net::Model& model, const Config& config) {
  int added = 0;
  for (net::Node& node : model.graph.nodes) {
    if (!net::is_linear(node.op) || node.has_parameter("bias")) continue;
    const LayerSettings settings = config.settings_for(node.name);
    if (settings.skip || !settings.corrects_bias || settings.method == Method::msq) continue;
    const Shape shape{model.graph.tensor_shape(node.parameters.at("weight")).front()};
    const std::string name = node.name + ".bias";
    if (model.graph.tensors.count(name) != 0)
      throw_input("model: tensor '{}' is in the way of a bias for layer '{}', expected no such tensor or "
                  "'quantization.bias_correction' false",
                  name, node.name);
    node.parameters["bias"] = name;
    model.graph.tensors[name] = shape;
    model.tensors[name] = net::make_source(shape, std::vector<float>(static_cast<std::size_t>(shape.front()), 0.0F));
    ++added;
  }
  return added;
}

std::vector<float> correct_bias(const net::Graph& graph, const LayerPlan& layer, const net::Parameters& analog,
                                store::QuantizedFile& result, Range neurons, std::span<const float> W,
                                std::span<const float> Q, const std::vector<std::vector<double>>& column_sums) {
  const std::string& tensor = bias_of(graph, layer);
  std::vector<float> bias(static_cast<std::size_t>(neurons.size()));
  analog.read_rows(tensor, neurons.begin, neurons.size(), bias.data());
  const Index per_group = layer.problems / layer.groups;  // problems that a neuron's inputs fall into
  const Index N = layer.path.inputs;
  for (Index j = 0; j < neurons.size(); ++j) {
    const Index group = (neurons.begin + j) / (layer.neurons / layer.groups);
    double mean = 0;
    for (Index part = 0; part < per_group; ++part) {
      const double* of_Xq = column_sums.at(static_cast<std::size_t>(group * per_group + part)).data();
      const double* of_X = layer.path.shared ? of_Xq : of_Xq + N;
      const auto first = static_cast<std::size_t>(j * layer.inputs + part * N);
      for (Index t = 0; t < N; ++t) {
        const std::size_t at = first + static_cast<std::size_t>(t);
        mean += of_X[t] * static_cast<double>(W[at]) - of_Xq[t] * static_cast<double>(Q[at]);
      }
    }
    float& b = bias[static_cast<std::size_t>(j)];
    b = static_cast<float>(b + mean / static_cast<double>(layer.path.samples));
  }
  result.write_vector(tensor, neurons.begin, bias);
  return bias;
}

std::vector<float> correct_tile_bias(const net::Graph& graph, const LayerPlan& layer, const net::Parameters& analog,
                                     store::QuantizedFile& result, const TileBox& box, const quant::Tile& tile,
                                     const std::vector<std::vector<double>>& column_sums) {
  std::vector<float> biases;
  const Index row_bytes = 2 * layer.inputs * static_cast<Index>(sizeof(float));  // of W and of Q
  const Index rows = std::max<Index>(1, layer.piece_bytes / row_bytes);
  for (Index first = 0; first < box.neurons; first += rows) {
    const Range part{box.first_neuron + first, box.first_neuron + std::min(box.neurons, first + rows)};
    std::vector<float> W(static_cast<std::size_t>(part.size() * layer.inputs));
    std::vector<float> Q(W.size());
    analog.read_rows(layer.tensor, part.begin, part.size(), W.data());
    const std::uint8_t* const codes = tile.codes().data() + first * layer.inputs;
    for (Index i = 0; i < part.size() * layer.inputs; ++i)
      Q[static_cast<std::size_t>(i)] = tile.alphabet(first + i / layer.inputs).value(codes[i]);
    const std::vector<float> of_part = correct_bias(graph, layer, analog, result, part, W, Q, column_sums);
    biases.insert(biases.end(), of_part.begin(), of_part.end());
  }
  return biases;
}

void correct_stored_bias(const net::Graph& graph, const LayerPlan& layer, const net::Parameters& analog,
                         store::QuantizedFile& result, Range neurons,
                         const std::vector<std::vector<double>>& column_sums) {
  const Index rows = std::max<Index>(1, slab_floats / layer.inputs);
  for (Index first = neurons.begin; first < neurons.end; first += rows) {
    const Range part{first, std::min(neurons.end, first + rows)};
    std::vector<float> W(static_cast<std::size_t>(part.size() * layer.inputs));
    std::vector<float> Q(W.size());
    analog.read_rows(layer.tensor, part.begin, part.size(), W.data());
    result.read_rows(layer.tensor, part.begin, part.size(), Q.data());
    static_cast<void>(correct_bias(graph, layer, analog, result, part, W, Q, column_sums));
  }
}

}  // namespace gpfq::job
