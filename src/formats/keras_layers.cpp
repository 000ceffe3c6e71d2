// SPDX-License-Identifier: Apache-2.0
// Conversion of Keras layers. Defaults are those of Keras where a file leaves a key out; the few
// that differ between Keras 2 and 3 look at the version.
#include "formats/keras_layers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
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

KerasValue add_function(const LayerCall& call, const std::string& name, const std::string& function) {
  if (function == "linear") return call.input();
  const auto found = functions().find(function);
  if (found == functions().end() && function != "hard_sigmoid") {
    throw Unsupported(fmt::format("with activation '{}'", function));
  }
  const Function row = function == "hard_sigmoid" ? hard_sigmoid(call.weights.keras_version()) : found->second;
  const bool is_ordered = row.op == net::Op::softmax;  // over the last dimension
  const KerasValue input = is_ordered ? KerasValue{call.plain(call.input()), false} : call.input();
  const Layer layer{.name = name, .op = row.op, .attributes = row.attributes};
  return {call.builder.add(layer, {input.node}), input.is_turned};
}

}  // namespace

KerasValue add_activation(const LayerCall& call, bool is_whole_layer) {
  const Json* activation = call.layer.find("activation");
  if (activation == nullptr) return call.input();
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
  const LayerRow* row = layer_class == "Activation" ? nullptr : find_layer(layer_class);
  if (row == nullptr || row->is_merge || !config->is_object())
    throw Unsupported(fmt::format("with activation '{}'", layer_class));
  std::string lower = layer_class;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  const LayerConfig layer(layer_class, node_name(lower), *config);
  return row->convert({layer, call.weights, call.builder, call.inputs});
}

namespace {

// ------------------------------------------------------------------------------ layers with weights

KerasValue convert_dense(const LayerCall& call) {
  const std::string& name = call.layer.name();
  const Shape shape = call.input_shape();
  if (shape.size() != 1) throw Unsupported(fmt::format("on samples of {} (flatten them first)", to_string(shape)));
  const Index units = call.layer.integer("units");
  net::TensorSource kernel = call.weights.transposed_matrix(name, "kernel");
  const Shape expected{units, shape.front()};
  if (kernel.shape != expected) {
    throw_input("layer '{}' (Dense): its kernel is {} x {}; expected {} inputs x {} units", name, kernel.shape[1],
                kernel.shape[0], expected[1], expected[0]);
  }
  Layer layer{.name = name, .op = net::Op::dense};
  layer.parameters.emplace("weight", std::move(kernel));
  if (call.layer.flag("use_bias", true)) {
    layer.parameters.emplace("bias", net::make_source({units}, call.weights.vector(name, "bias", units)));
  }
  const int dense = call.builder.add(std::move(layer), {call.plain(call.input())});
  return add_activation(call.with_input({dense, false}), false);
}

/// Its input with the normalized axis as dimension 0, where this graph has channels.
KerasValue channels_first(const LayerCall& call) {
  const std::vector<Index> axes = call.layer.integers("axis").value_or(std::vector<Index>{-1});
  const Index rank = static_cast<Index>(call.input_shape().size()) + 1;
  if (axes.empty()) call.layer.fail("axis", "an axis");
  const Index axis = axes.front() < 0 ? axes.front() + rank : axes.front();
  if (axes.size() == 1 && axis == 1) return {call.plain(call.input()), false};
  if (axes.size() == 1 && axis == 3 && rank == 4) return {call.turned(call.input()), true};
  throw Unsupported(fmt::format("on samples of {}", to_string(call.input_shape())));
}

KerasValue convert_batch_normalization(const LayerCall& call) {
  const std::string& name = call.layer.name();
  const KerasValue input = channels_first(call);
  const Index channels = call.builder.shape(input.node).front();
  const auto values = [&](const char* role, bool is_there, float fallback) {
    return channel_source(is_there ? call.weights.vector(name, role, channels) : std::vector<float>{fallback},
                          channels);
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
  return {call.builder.add(std::move(layer), {input.node}), input.is_turned};
}

/// scale · x + offset: numbers, or (Keras 3) lists of one number per channel.
KerasValue convert_rescaling(const LayerCall& call) {
  const auto numbers = [&](const char* key, double fallback) {
    const Json* found = call.layer.find(key);
    std::vector<float> values;
    for (const Json& value : found == nullptr ? Json::array({fallback}) : Json::array({*found}).flatten()) {
      if (!value.is_number() || !std::isfinite(value.get<float>())) call.layer.fail(key, "finite numbers");
      values.push_back(value.get<float>());
    }
    if (values.empty()) call.layer.fail(key, "finite numbers");
    return values;
  };
  std::vector<float> scale = numbers("scale", 1.0);
  std::vector<float> shift = numbers("offset", 0.0);
  const bool is_per_channel = scale.size() > 1 || shift.size() > 1;
  const KerasValue input = is_per_channel ? channels_first(call) : call.input();
  const Index channels = call.builder.shape(input.node).front();
  for (const char* key : {"scale", "offset"}) {
    const std::size_t count = key == std::string_view("scale") ? scale.size() : shift.size();
    if (count != 1 && static_cast<Index>(count) != channels)
      call.layer.fail(key, fmt::format("one or {} numbers", channels));
  }
  Layer layer{.name = call.layer.name(),
              .op = net::Op::batch_norm,
              .attributes = {{"epsilon", {0.0}}},
              .parameters = affine_parameters(std::move(scale), std::move(shift), channels)};
  return {call.builder.add(std::move(layer), {input.node}), input.is_turned};
}

// ------------------------------------------------------------------------------ activation layers

KerasValue convert_activation(const LayerCall& call) {
  if (call.layer.find("activation") == nullptr) call.layer.fail("activation", "a function's name");
  return add_activation(call, true);
}

/// A node for every value alone, in whichever order they lie.
KerasValue add_node(const LayerCall& call, net::Op op, Attributes attributes = {}) {
  const Layer layer{.name = call.layer.name(), .op = op, .attributes = std::move(attributes)};
  return {call.builder.add(layer, {call.input().node}), call.input().is_turned};
}

/// min(max_value, x < 0 ? negative_slope x : x); a threshold has no operator here.
KerasValue convert_relu(const LayerCall& call) {
  if (call.layer.number("threshold", 0.0) != 0.0) throw Unsupported("with a threshold");
  const bool is_bounded = call.layer.find("max_value") != nullptr;
  const double slope = call.layer.number("negative_slope", 0.0);
  const double bound = call.layer.number("max_value", 0.0);
  if (is_bounded && bound < 0.0) call.layer.fail("max_value", "a number from 0 on");
  if (slope != 0.0) {
    const KerasValue leaky = add_node(call, net::Op::leaky_relu, {{"alpha", {slope}}});
    return is_bounded ? add_node(call.with_input(leaky), net::Op::clip, {{"max", {bound}}}) : leaky;
  }
  return is_bounded ? add_node(call, net::Op::clip, {{"min", {0.0}}, {"max", {bound}}}) : add_node(call, net::Op::relu);
}

KerasValue convert_leaky_relu(const LayerCall& call) {
  const char* key = call.layer.find("negative_slope") != nullptr ? "negative_slope" : "alpha";  // Keras 3, 2
  return add_node(call, net::Op::leaky_relu, {{"alpha", {call.layer.number(key, 0.3)}}});
}

KerasValue convert_elu(const LayerCall& call) {
  return add_node(call, net::Op::elu, {{"alpha", {call.layer.number("alpha", 1.0)}}});
}

KerasValue convert_softmax(const LayerCall& call) {
  const std::vector<Index> axes = call.layer.integers("axis").value_or(std::vector<Index>{-1});
  const Index last = static_cast<Index>(call.input_shape().size());
  if (axes != std::vector<Index>{-1} && axes != std::vector<Index>{last}) {
    throw Unsupported("over another axis than the last");
  }
  return add_node(call.with_input({call.plain(call.input()), false}), net::Op::softmax);
}

// ------------------------------------------------------------------------------ shapes

/// Samples are row-major here as in Keras, so that flattening keeps the order of values. With channels first, Keras
/// moves them to the end before it flattens.
KerasValue convert_flatten(const LayerCall& call) {
  int input = call.plain(call.input());
  if (call.is_channels_first() && call.input_shape().size() > 1) {
    std::vector<std::size_t> perm(call.input_shape().size());
    for (std::size_t axis = 0; axis < perm.size(); ++axis) perm[axis] = (axis + 1) % perm.size();
    input = call.builder.add_transpose(call.layer.name() + ".transpose", input, perm);
  }
  return {call.builder.add_reshape(call.layer.name(), input, {element_count(call.input_shape())}), false};
}

/// `dims` are the axes of a sample, counted from 1.
KerasValue convert_permute(const LayerCall& call) {
  const std::vector<Index> dims = call.layer.integers("dims").value_or(std::vector<Index>{});
  std::vector<std::size_t> perm;
  for (const Index axis : dims) perm.push_back(static_cast<std::size_t>(axis - 1));
  std::vector<std::size_t> sorted = perm;
  std::sort(sorted.begin(), sorted.end());
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    if (sorted[i] != i) call.layer.fail("dims", "each axis of a sample once");
  }
  if (perm.size() != call.input_shape().size()) call.layer.fail("dims", "each axis of a sample once");
  return {call.builder.add_transpose(call.layer.name(), call.plain(call.input()), perm), false};
}

KerasValue convert_reshape(const LayerCall& call) {
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
  return {call.builder.add_reshape(call.layer.name(), call.plain(call.input()), *target), false};
}

/// Layers that do nothing at inference, and InputLayer, whose node is there already.
KerasValue pass_on(const LayerCall& call) { return call.input(); }

}  // namespace

bool takes_numbers(const std::string& class_name) {
  static const std::set<std::string_view> classes = {"Add", "Divide", "Multiply", "Subtract", "TrueDivide"};
  return classes.count(class_name) != 0;
}

/// x + c, x − c, c − x, x c and x / c as scale · x + shift.
KerasValue convert_operator(const LayerCall& call, const Operand& operand) {
  const std::string& type = call.layer.class_name();
  if (!operand.number) throw Unsupported("with a constant that is no number");
  const bool divides = type == "Divide" || type == "TrueDivide";
  if (divides && operand.is_first) throw Unsupported("of a number by computed values");
  const double c = *operand.number;
  const bool is_product = divides || type == "Multiply";
  const double scale = divides ? 1 / c : is_product ? c : type == "Subtract" && operand.is_first ? -1 : 1;
  const double shift = is_product ? 0 : type == "Subtract" && !operand.is_first ? -c : c;
  const auto factor = static_cast<float>(scale);
  const auto offset = static_cast<float>(shift);
  if (!std::isfinite(factor) || !std::isfinite(offset))
    throw_input("layer '{}' ({}) computes with {}; expected a number that float32 holds", call.layer.name(), type, c);
  const Index channels = call.builder.shape(call.input().node).front();
  Layer layer{.name = call.layer.name(),
              .op = net::Op::batch_norm,
              .attributes = {{"epsilon", {0.0}}},
              .parameters = affine_parameters({factor}, {offset}, channels)};
  return {call.builder.add(std::move(layer), {call.input().node}), call.input().is_turned};
}

const LayerRow* find_layer(const std::string& class_name) {
  static const std::map<std::string_view, LayerRow> table = {
      {"Activation", {convert_activation}},
      {"ActivityRegularization", {pass_on}},
      {"Add", {convert_add, true}},
      {"AlphaDropout", {pass_on}},
      {"AveragePooling2D", {convert_average_pooling}},
      {"BatchNormalization", {convert_batch_normalization}},
      {"BatchNormalizationV1", {convert_batch_normalization}},
      {"Concatenate", {convert_concatenate, true}},
      {"Conv2D", {convert_conv}},
      {"Dense", {convert_dense}},
      {"DepthwiseConv2D", {convert_depthwise_conv}},
      {"Dropout", {pass_on}},
      {"ELU", {convert_elu}},
      {"Flatten", {convert_flatten}},
      {"GaussianDropout", {pass_on}},
      {"GaussianNoise", {pass_on}},
      {"GlobalAveragePooling2D", {convert_global_average_pooling}},
      {"GlobalMaxPooling2D", {convert_global_max_pooling}},
      {"Identity", {pass_on}},
      {"InputLayer", {pass_on}},
      {"LeakyReLU", {convert_leaky_relu}},
      {"MaxPooling2D", {convert_max_pooling}},
      {"Multiply", {convert_multiply, true}},
      {"Permute", {convert_permute}},
      {"ReLU", {convert_relu}},
      {"Rescaling", {convert_rescaling}},
      {"Reshape", {convert_reshape}},
      {"SeparableConv2D", {convert_separable_conv}},
      {"Softmax", {convert_softmax}},
      {"SpatialDropout1D", {pass_on}},
      {"SpatialDropout2D", {pass_on}},
      {"SpatialDropout3D", {pass_on}},
      {"Subtract", {convert_subtract, true}},
      {"ZeroPadding2D", {convert_zero_padding}},
  };
  const auto found = table.find(class_name);
  return found == table.end() ? nullptr : &found->second;
}

}  // namespace gpfq::formats::keras_reader
