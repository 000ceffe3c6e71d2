// SPDX-License-Identifier: Apache-2.0
// The table of ONNX operators and the conversion of those that compute: linear layers, activations,
// normalization and arithmetic with constants. Shapes have their own file.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <utility>

#include "formats/onnx_maps.hpp"
#include "formats/onnx_shapes.hpp"
#include "gpfq/base/error.hpp"

namespace gpfq::formats::onnx_reader {

namespace {

// ------------------------------------------------------------------------------ linear layers

net::TensorSource vector_source(std::vector<float> values) {
  const Index size = static_cast<Index>(values.size());
  return net::make_source({size}, std::move(values));
}

/// y = alpha A B + beta C with constant B [inputs, outputs] (or transposed) and C.
Value convert_gemm(const Call& call) {
  if (call.integer_attribute("transA", 0) != 0) throw Unsupported("with transA");
  static_cast<void>(call.activation(0));
  const Constant& weight = call.constant(1);
  const bool is_outputs_first = call.integer_attribute("transB", 0) != 0;
  Parameters parameters;
  net::TensorSource rows = matrix_source(call.file(), weight, !is_outputs_first, call.float_attribute("alpha", 1.0));
  if (call.has_input(2)) {
    const double beta = call.float_attribute("beta", 1.0);
    std::vector<float> bias = channel_values(call, 2, {rows.shape.front()}, true);
    for (float& value : bias) value = static_cast<float>(beta * static_cast<double>(value));
    parameters.emplace("bias", vector_source(std::move(bias)));
  }
  parameters.emplace("weight", std::move(rows));
  return call.add_linear(net::Op::dense, weight, {}, std::move(parameters));
}

Value convert_matmul(const Call& call) {
  static_cast<void>(call.activation(0));
  const Constant& weight = call.constant(1);
  Parameters parameters;
  parameters.emplace("weight", matrix_source(call.file(), weight, true, 1.0));
  return call.add_linear(net::Op::dense, weight, {}, std::move(parameters));
}

// ------------------------------------------------------------------------------ normalization

Value convert_batch_normalization(const Call& call) {
  if (call.integer_attribute("training_mode", 0) != 0) throw Unsupported("in training mode");
  if (call.integer_attribute("spatial", 1) == 0) throw Unsupported("with spatial = 0");
  const int input = call.activation(0);
  const double epsilon = call.float_attribute("epsilon", 1e-5);
  Parameters parameters;
  constexpr std::array<const char*, 4> roles = {"scale", "shift", "mean", "variance"};
  for (std::size_t i = 0; i < roles.size(); ++i) {
    const Constant& constant = call.constant(i + 1);
    std::vector<float> values = read_floats(call.file(), *constant.tensor);
    const bool is_variance = i == 3;
    if (is_variance &&
        std::any_of(values.begin(), values.end(), [&](float v) { return !(static_cast<double>(v) + epsilon > 0); })) {
      throw_input("tensor '{}' holds a variance below −epsilon", constant.tensor->name());
    }
    parameters.emplace(roles[i], vector_source(std::move(values)));
  }
  return call.add(net::Op::batch_norm, input, {{"epsilon", {epsilon}}}, std::move(parameters));
}

// ------------------------------------------------------------------------------ arithmetic

/// A constant added to a product that has no bias yet is its bias (MatMul or Conv, then Add).
bool is_bias(const Call& call, std::size_t computed) {
  const net::Node& node = call.builder().node(call.activation(computed));
  return call.type() == "Add" && net::is_linear(node.op) && !node.has_parameter("bias") &&
         call.is_only_reader_of_product(computed);
}

/// x + c, x − c, c − x, x c, x / c with constant c, as scale · x + shift per channel.
Value convert_affine(const Call& call, std::size_t computed) {
  const std::size_t other = 1 - computed;
  const int input = call.activation(computed);
  const std::vector<float> c = channel_values(call, other, call.sample_shape(computed), false);
  if (is_bias(call, computed)) {
    call.builder().add_bias(input, vector_source(channel_values(call, other, call.sample_shape(computed), true)));
    return Activation{input};
  }
  const std::string& type = call.type();
  std::vector<float> scale(c.size(), 1.0F);
  std::vector<float> shift(c.size(), 0.0F);
  for (std::size_t i = 0; i < c.size(); ++i) {
    if (type == "Add") shift[i] = c[i];
    if (type == "Sub") shift[i] = computed == 0 ? -c[i] : c[i];
    if (type == "Sub" && computed == 1) scale[i] = -1.0F;
    if (type == "Mul") scale[i] = c[i];
    if (type == "Div") {
      if (computed == 1) throw Unsupported("of a constant by computed values");
      scale[i] = 1.0F / c[i];
      if (!std::isfinite(scale[i])) throw_input("node '{}' divides by {}", display_name(call.node()), c[i]);
    }
  }
  const Index channels = call.sample_shape(computed).front();
  return call.add(net::Op::batch_norm, input, {{"epsilon", {0.0}}},
                  affine_parameters(std::move(scale), std::move(shift), channels));
}

/// x · sigmoid(x) and x · hard_sigmoid(x), which exporters write as two nodes: swish, hard_swish.
std::optional<net::Op> gated_op(const Call& call, int x, int gate) {
  const net::Node& node = call.builder().node(gate);
  if (node.inputs != std::vector<int>{x}) return std::nullopt;
  if (node.op == net::Op::sigmoid) return net::Op::swish;
  const bool is_sixth = std::abs(node.attribute("alpha", 0.0) - 1.0 / 6.0) < 1e-4 && node.attribute("beta", 0.0) == 0.5;
  return node.op == net::Op::hard_sigmoid && is_sixth ? std::optional(net::Op::hard_swish) : std::nullopt;
}

/// Two values per sample, broadcast as ONNX does. Where their ranks differ, ONNX would align the batch dimension of
/// one with another dimension of the other.
Value convert_two_activations(const Call& call) {
  const int a = call.activation(0);
  const int b = call.activation(1);
  if (call.type() != "Add" && call.type() != "Sub" && call.type() != "Mul") throw Unsupported("of two computed values");
  if (call.sample_shape(0).size() != call.sample_shape(1).size()) {
    throw Unsupported(
        fmt::format("of samples of {} and {}", to_string(call.sample_shape(0)), to_string(call.sample_shape(1))));
  }
  if (call.type() == "Add") return call.add(net::Op::add, std::vector<int>{a, b}, {});
  if (call.type() == "Sub") return call.add(net::Op::sub, std::vector<int>{a, b}, {});
  const int x = std::min(a, b);  // a gate comes after what it gates
  if (const std::optional<net::Op> op = gated_op(call, x, std::max(a, b))) return call.add(*op, x);
  return call.add(net::Op::mul, std::vector<int>{a, b}, {});
}

Value convert_arithmetic(const Call& call) {
  if (std::optional<Integers> result = integer_arithmetic(call)) return std::move(*result);
  if (call.is_activation(0) && call.is_activation(1)) return convert_two_activations(call);
  if (!call.is_activation(0) && !call.is_activation(1)) throw Unsupported("of two constants");
  return convert_affine(call, call.is_activation(0) ? 0 : 1);
}

// ------------------------------------------------------------------------------ activations

struct ActivationRow {
  std::string_view type;
  net::Op op;
  /// Attributes that the node of the model gets, with their defaults in ONNX.
  std::vector<std::pair<const char*, double>> attributes = {};
};

const ActivationRow& activation_row(const std::string& type) {
  static const std::vector<ActivationRow> rows = {
      {"Relu", net::Op::relu},
      {"LeakyRelu", net::Op::leaky_relu, {{"alpha", 0.01}}},
      {"Elu", net::Op::elu, {{"alpha", 1.0}}},
      {"Selu", net::Op::selu, {{"alpha", 1.67326319217681884765625}, {"gamma", 1.05070102214813232421875}}},
      {"Sigmoid", net::Op::sigmoid},
      {"HardSigmoid", net::Op::hard_sigmoid, {{"alpha", 0.2}, {"beta", 0.5}}},
      {"HardSwish", net::Op::hard_swish},
      {"Tanh", net::Op::tanh},
      {"Softplus", net::Op::softplus},
      {"Softsign", net::Op::softsign}};
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const ActivationRow& row) { return row.type == type; });
  require(found != rows.end(), "ONNX activation without a row");
  return *found;
}

Value convert_activation(const Call& call) {
  const ActivationRow& row = activation_row(call.type());
  Attributes attributes;
  for (const auto& [name, fallback] : row.attributes) attributes[name] = {call.float_attribute(name, fallback)};
  return call.add(row.op, call.activation(0), std::move(attributes));
}

Value convert_prelu(const Call& call) {
  const std::vector<float> slopes = channel_values(call, 1, call.sample_shape(0), false);
  if (std::adjacent_find(slopes.begin(), slopes.end(), std::not_equal_to<>()) != slopes.end()) {
    throw Unsupported("with several slopes");
  }
  return call.add(net::Op::leaky_relu, call.activation(0), {{"alpha", {static_cast<double>(slopes.front())}}});
}

Value convert_clip(const Call& call) {
  // Bounds are attributes before opset 11, then inputs; the largest floats stand for "none".
  constexpr double unbounded = std::numeric_limits<float>::max();
  const bool has_inputs = call.opset() >= 11;
  double low =
      has_inputs ? (call.has_input(1) ? call.number(1) : -unbounded) : call.float_attribute("min", -unbounded);
  double high =
      has_inputs ? (call.has_input(2) ? call.number(2) : unbounded) : call.float_attribute("max", unbounded);
  low = std::max(low, -unbounded);  // infinity is none, too
  high = std::min(high, unbounded);
  if (!(low <= high)) throw_input("node '{}' (Clip): min {} is above max {}", display_name(call.node()), low, high);
  Attributes attributes;
  if (low > -unbounded) attributes["min"] = {low};
  if (high < unbounded) attributes["max"] = {high};
  return call.add(net::Op::clip, call.activation(0), std::move(attributes));
}

Value convert_softmax(const Call& call) {
  const int input = call.activation(0);
  const Index rank = static_cast<Index>(call.builder().shape(input).size()) + 1;
  Index axis = call.integer_attribute("axis", call.opset() < 13 ? 1 : -1);
  if (axis < 0) axis += rank;
  if (axis != rank - 1) throw Unsupported("over another axis than the last");
  return call.add(net::Op::softmax, input);
}

Value convert_gelu(const Call& call) {
  if (call.text_attribute("approximate", "none") != "none") throw Unsupported("in its tanh approximation");
  return call.add(net::Op::gelu, call.activation(0));
}

Value convert_swish(const Call& call) {
  if (call.float_attribute("alpha", 1.0) != 1.0) throw Unsupported("with alpha other than 1");
  return call.add(net::Op::swish, call.activation(0));
}

// ------------------------------------------------------------------------------ what changes nothing

Value pass_on(const Call& call) { return call.input(0); }

/// Constants that old exporters cast on their way into a shape.
Integers truncated(const Call& call) {
  const Constant& constant = call.constant(0);
  Integers result{{}, constant.shape()};
  if (constant.is_transposed || element_count(result.shape) > most_integers)
    throw Unsupported("of so many values to integers");
  for (const float value : read_floats(call.file(), *constant.tensor)) {
    if (std::abs(value) > 1e9F) throw Unsupported("of large numbers to integers");
    result.values.push_back({static_cast<Index>(value), false});
  }
  return result;
}

Value convert_cast(const Call& call) {
  const Index to = call.integer_attribute("to", onnx::TensorProto::UNDEFINED);
  const bool to_integers = to == onnx::TensorProto::INT64 || to == onnx::TensorProto::INT32;
  if (to_integers && call.integers(0)) return call.input(0);
  if (to_integers && call.is_float_constant(0)) return truncated(call);
  if (is_floating_type(to) && !call.integers(0)) return call.input(0);
  throw Unsupported(fmt::format("to data type {}", to));
}

constexpr int any_number = std::numeric_limits<int>::max();

const std::map<std::string_view, Operator>& operators() {
  static const std::map<std::string_view, Operator> table = {
      {"Add", {convert_arithmetic, 2}},
      {"AveragePool",
       {convert_average_pool,
        1,
        {"auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel_shape", "pads", "strides"}}},
      {"BatchNormalization", {convert_batch_normalization, 5, {"epsilon", "momentum", "spatial", "training_mode"}}},
      {"Cast", {convert_cast, 1, {"to", "saturate"}}},
      {"Clip", {convert_clip, 3, {"min", "max"}}},
      {"Concat", {convert_concat, any_number, {"axis"}}},
      {"ConstantOfShape", {convert_constant_of_shape, 1, {"value"}}},
      {"Conv", {convert_conv, 3, {"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"}}},
      {"Div", {convert_arithmetic, 2}},
      {"Dropout", {pass_on, 3, {"ratio", "seed"}}},
      {"Elu", {convert_activation, 1, {"alpha"}}},
      {"Flatten", {convert_flatten, 1, {"axis"}}},
      {"Gather", {convert_gather, 2, {"axis"}}},
      {"Gelu", {convert_gelu, 1, {"approximate"}}},
      {"Gemm", {convert_gemm, 3, {"alpha", "beta", "transA", "transB"}}},
      {"GlobalAveragePool", {convert_global_average_pool, 1}},
      {"GlobalMaxPool", {convert_global_max_pool, 1}},
      {"HardSigmoid", {convert_activation, 1, {"alpha", "beta"}}},
      {"HardSwish", {convert_activation, 1}},
      {"Identity", {pass_on, 1}},
      {"LeakyRelu", {convert_activation, 1, {"alpha"}}},
      {"MatMul", {convert_matmul, 2}},
      {"MaxPool",
       {convert_max_pool,
        1,
        {"auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order", "strides"}}},
      {"Mul", {convert_arithmetic, 2}},
      {"PRelu", {convert_prelu, 2}},
      {"Pad", {convert_pad, 4, {"mode", "pads", "value"}}},
      {"ReduceMean", {convert_reduce_mean, 2, {"axes", "keepdims", "noop_with_empty_axes"}}},
      {"Relu", {convert_activation, 1}},
      {"Reshape", {convert_reshape, 2, {"allowzero"}}},
      {"Selu", {convert_activation, 1, {"alpha", "gamma"}}},
      {"Shape", {convert_shape, 1, {"start", "end"}}},
      {"Sigmoid", {convert_activation, 1}},
      {"Slice", {convert_slice, 5, {"starts", "ends", "axes"}}},
      {"Softmax", {convert_softmax, 1, {"axis"}}},
      {"Softplus", {convert_activation, 1}},
      {"Softsign", {convert_activation, 1}},
      {"Squeeze", {convert_squeeze, 2, {"axes"}}},
      {"Sub", {convert_arithmetic, 2}},
      {"Swish", {convert_swish, 1, {"alpha"}}},
      {"Tanh", {convert_activation, 1}},
      {"Transpose", {convert_transpose, 1, {"perm"}}},
      {"Unsqueeze", {convert_unsqueeze, 2, {"axes"}}},
  };
  return table;
}

}  // namespace

const Operator* find_operator(const std::string& type) {
  const auto found = operators().find(type);
  return found == operators().end() ? nullptr : &found->second;
}

}  // namespace gpfq::formats::onnx_reader
