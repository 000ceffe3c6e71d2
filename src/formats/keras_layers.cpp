// SPDX-License-Identifier: Apache-2.0
// Conversion of Keras layers. Defaults are those of Keras where a file leaves a key out; the few
// that differ between Keras 2 and 3 look at the version.
#include "formats/keras_layers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "gpfq/base/error.hpp"

namespace gpfq::formats::keras_reader {

namespace {

// ------------------------------------------------------------------------------ activation functions

struct Function {
  net::Op op;
  Attributes attributes = {};
};

const std::map<std::string_view, Function>& functions() {
  static const std::map<std::string_view, Function> table = {
      {"elu", {net::Op::elu, {{"alpha", {1.0}}}}},
      {"gelu", {net::Op::gelu}},  // approximate=False is the function's default
      {"hard_silu", {net::Op::hard_swish}},
      {"hard_swish", {net::Op::hard_swish}},
      {"leaky_relu", {net::Op::leaky_relu, {{"alpha", {0.2}}}}},
      {"relu", {net::Op::relu}},
      {"relu6", {net::Op::clip, {{"min", {0.0}}, {"max", {6.0}}}}},
      {"selu", {net::Op::selu, {{"alpha", {1.6732632423543772}}, {"gamma", {1.0507009873554805}}}}},
      {"sigmoid", {net::Op::sigmoid}},
      {"silu", {net::Op::swish}},
      {"softmax", {net::Op::softmax}},
      {"softplus", {net::Op::softplus}},
      {"softsign", {net::Op::softsign}},
      {"swish", {net::Op::swish}},
      {"tanh", {net::Op::tanh}},
  };
  return table;
}

/// 0.2 x + 0.5 in Keras 2, x/6 + 0.5 in Keras 3, each clamped to [0, 1].
Function hard_sigmoid(int keras_version) {
  return {net::Op::hard_sigmoid, {{"alpha", {keras_version >= 3 ? 1.0 / 6.0 : 0.2}}, {"beta", {0.5}}}};
}

int add_function(const LayerCall& call, const std::string& name, const std::string& function) {
  if (function == "linear") return call.input;
  const auto found = functions().find(function);
  if (found == functions().end() && function != "hard_sigmoid") {
    throw Unsupported(fmt::format("with activation '{}'", function));
  }
  const Function row = function == "hard_sigmoid" ? hard_sigmoid(call.weights.keras_version()) : found->second;
  return call.builder.add({.name = name, .op = row.op, .attributes = row.attributes}, {call.input});
}

/// The activation under key "activation": a name, a serialized function or a serialized layer.
/// A fused one becomes a node "<layer>.<activation>"; `is_whole_layer` keeps the layer's own name.
int add_activation(const LayerCall& call, bool is_whole_layer) {
  const Json* activation = call.layer.find("activation");
  if (activation == nullptr) return call.input;
  const std::string& layer_name = call.layer.name();
  const auto node_name = [&](const std::string& function) {
    return is_whole_layer ? layer_name : fmt::format("{}.{}", layer_name, function);
  };
  if (activation->is_string()) {
    const std::string function = activation->get<std::string>();
    return add_function(call, node_name(function), function);
  }
  const auto class_name = activation->is_object() ? activation->find("class_name") : activation->end();
  const auto config = activation->is_object() ? activation->find("config") : activation->end();
  if (class_name == activation->end() || !class_name->is_string() || config == activation->end()) {
    call.layer.fail("activation", "a name, or an object with class_name and config");
  }
  if (config->is_string()) {  // {"class_name": "function", "config": "relu"}
    const std::string function = config->get<std::string>();
    return add_function(call, node_name(function), function);
  }
  const std::string layer_class = class_name->get<std::string>();
  const ConvertLayer convert = layer_class == "Activation" ? nullptr : find_layer(layer_class);
  if (convert == nullptr || !config->is_object()) throw Unsupported(fmt::format("with activation '{}'", layer_class));
  std::string lower = layer_class;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  const LayerConfig layer(layer_class, node_name(lower), *config);
  return convert({layer, call.weights, call.builder, call.input});
}

// ------------------------------------------------------------------------------ layers with weights

int convert_dense(const LayerCall& call) {
  const std::string& name = call.layer.name();
  if (call.input_shape().size() != 1) {
    throw Unsupported(fmt::format("on samples of {} (flatten them first)", to_string(call.input_shape())));
  }
  const Index units = call.layer.integer("units");
  net::TensorSource kernel = call.weights.transposed_matrix(name, "kernel");
  const Shape expected{units, call.input_shape().front()};
  if (kernel.shape != expected) {
    throw_input("layer '{}' (Dense): its kernel is {} x {}; expected {} inputs x {} units", name, kernel.shape[1],
                kernel.shape[0], expected[1], expected[0]);
  }
  Layer layer{.name = name, .op = net::Op::dense};
  layer.parameters.emplace("weight", std::move(kernel));
  if (call.layer.flag("use_bias", true)) {
    layer.parameters.emplace("bias", net::make_source({units}, call.weights.vector(name, "bias", units)));
  }
  const int dense = call.builder.add(std::move(layer), {call.input});
  return add_activation({call.layer, call.weights, call.builder, dense}, false);
}

int convert_batch_normalization(const LayerCall& call) {
  const std::string& name = call.layer.name();
  const std::vector<Index> axes = call.layer.integers("axis").value_or(std::vector<Index>{-1});
  const Index rank = static_cast<Index>(call.input_shape().size()) + 1;
  // Channels are dimension 0 of a sample here, axis 1 in Keras.
  const bool is_first = axes.size() == 1 && (axes.front() < 0 ? axes.front() + rank : axes.front()) == 1;
  if (!is_first) throw Unsupported(fmt::format("on samples of {}", to_string(call.input_shape())));
  const Index channels = call.input_shape().front();
  const auto values = [&](const char* role, bool is_there, float fallback) {
    return net::make_source({channels}, is_there ? call.weights.vector(name, role, channels)
                                                 : std::vector<float>(static_cast<std::size_t>(channels), fallback));
  };
  const double epsilon = call.layer.number("epsilon", 1e-3);
  Layer layer{.name = name, .op = net::Op::batch_norm, .attributes = {{"epsilon", {epsilon}}}};
  layer.parameters.emplace("scale", values("gamma", call.layer.flag("scale", true), 1.0F));
  layer.parameters.emplace("shift", values("beta", call.layer.flag("center", true), 0.0F));
  layer.parameters.emplace("mean", values("moving_mean", true, 0.0F));
  layer.parameters.emplace("variance", values("moving_variance", true, 1.0F));
  const std::vector<float> variance = net::read_all(layer.parameters.at("variance"));
  if (std::any_of(variance.begin(), variance.end(), [&](float v) { return !(static_cast<double>(v) + epsilon > 0); })) {
    throw_input("layer '{}' (BatchNormalization): a moving variance lies below −epsilon", name);
  }
  return call.builder.add(std::move(layer), {call.input});
}

// ------------------------------------------------------------------------------ activation layers

int convert_activation(const LayerCall& call) {
  if (call.layer.find("activation") == nullptr) call.layer.fail("activation", "a function's name");
  return add_activation(call, true);
}

int add_node(const LayerCall& call, net::Op op, Attributes attributes = {}) {
  return call.builder.add({.name = call.layer.name(), .op = op, .attributes = std::move(attributes)}, {call.input});
}

/// max_value, negative_slope and threshold in the combinations that have an operator here.
int convert_relu(const LayerCall& call) {
  const bool is_bounded = call.layer.find("max_value") != nullptr;
  const double slope = call.layer.number("negative_slope", 0.0);
  if (call.layer.number("threshold", 0.0) != 0.0 || (is_bounded && slope != 0.0)) {
    throw Unsupported("with a threshold, or with both max_value and negative_slope");
  }
  if (is_bounded)
    return add_node(call, net::Op::clip, {{"min", {0.0}}, {"max", {call.layer.number("max_value", 0.0)}}});
  return slope == 0.0 ? add_node(call, net::Op::relu) : add_node(call, net::Op::leaky_relu, {{"alpha", {slope}}});
}

int convert_leaky_relu(const LayerCall& call) {
  const char* key = call.layer.find("negative_slope") != nullptr ? "negative_slope" : "alpha";  // Keras 3, 2
  return add_node(call, net::Op::leaky_relu, {{"alpha", {call.layer.number(key, 0.3)}}});
}

int convert_elu(const LayerCall& call) {
  return add_node(call, net::Op::elu, {{"alpha", {call.layer.number("alpha", 1.0)}}});
}

int convert_softmax(const LayerCall& call) {
  const std::vector<Index> axes = call.layer.integers("axis").value_or(std::vector<Index>{-1});
  const Index last = static_cast<Index>(call.input_shape().size());
  if (axes != std::vector<Index>{-1} && axes != std::vector<Index>{last}) {
    throw Unsupported("over another axis than the last");
  }
  return add_node(call, net::Op::softmax);
}

// ------------------------------------------------------------------------------ shapes

// Samples are row-major here as in Keras, so that flattening keeps the order of values.
int convert_flatten(const LayerCall& call) {
  return call.builder.add_reshape(call.layer.name(), call.input, {element_count(call.input_shape())});
}

int convert_reshape(const LayerCall& call) {
  std::optional<std::vector<Index>> target = call.layer.integers("target_shape");
  if (!target || target->empty()) call.layer.fail("target_shape", "a list of extents");
  const Index count = element_count(call.input_shape());
  const auto open = std::find(target->begin(), target->end(), -1);
  Index known = 1;
  for (const Index extent : *target) {
    if (extent < -1 || extent == 0) call.layer.fail("target_shape", "positive extents, or one of -1");
    if (extent != -1) known = element_count({known, extent});
  }
  if (std::count(target->begin(), target->end(), -1) > 1) call.layer.fail("target_shape", "one extent of -1 at most");
  if (open != target->end() && count % known == 0) *open = count / known;
  if (std::find(target->begin(), target->end(), -1) != target->end() || element_count(*target) != count) {
    call.layer.fail("target_shape", fmt::format("a shape of {} values", count));
  }
  return call.builder.add_reshape(call.layer.name(), call.input, *target);
}

/// Layers that do nothing at inference, and InputLayer, whose node is there already.
int pass_on(const LayerCall& call) { return call.input; }

}  // namespace

ConvertLayer find_layer(const std::string& class_name) {
  static const std::map<std::string_view, ConvertLayer> table = {
      {"Activation", convert_activation},
      {"ActivityRegularization", pass_on},
      {"AlphaDropout", pass_on},
      {"BatchNormalization", convert_batch_normalization},
      {"BatchNormalizationV1", convert_batch_normalization},
      {"Dense", convert_dense},
      {"Dropout", pass_on},
      {"ELU", convert_elu},
      {"Flatten", convert_flatten},
      {"GaussianDropout", pass_on},
      {"GaussianNoise", pass_on},
      {"Identity", pass_on},
      {"InputLayer", pass_on},
      {"LeakyReLU", convert_leaky_relu},
      {"ReLU", convert_relu},
      {"Reshape", convert_reshape},
      {"Softmax", convert_softmax},
      {"SpatialDropout1D", pass_on},
      {"SpatialDropout2D", pass_on},
      {"SpatialDropout3D", pass_on},
  };
  const auto found = table.find(class_name);
  return found == table.end() ? nullptr : found->second;
}

}  // namespace gpfq::formats::keras_reader
