// SPDX-License-Identifier: Apache-2.0
// Keras layers over feature maps. The graph's convolutions and pools work on [C, H, W]; what Keras
// keeps as [H, W, C] is turned before the first of them and back where the order matters.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "formats/keras_layers.hpp"
#include "formats/kernel_window.hpp"
#include "gpfq/base/error.hpp"

namespace gpfq::formats::keras_reader {

namespace {

std::string transpose_name(const LayerCall& call) { return call.layer.name() + ".transpose"; }

/// The window of a convolution or pool over `maps` [C, H, W]; "same" as TensorFlow pads it.
KernelWindow read_window(const LayerCall& call, const char* kernel_key, const Shape& maps) {
  KernelWindow window;
  window.kernel = call.layer.pair(kernel_key, 1, {0, 0});
  if (window.kernel[0] == 0) call.layer.fail(kernel_key, "one or two integers");
  const bool is_pool = kernel_key == std::string_view("pool_size");
  window.strides = call.layer.pair("strides", 1, is_pool ? window.kernel : Pair{1, 1});
  if (!is_pool) window.dilations = call.layer.pair("dilation_rate", 1, {1, 1});
  const std::string padding = call.layer.text("padding", "valid");
  if (padding != "valid" && padding != "same") call.layer.fail("padding", "\"valid\" or \"same\"");
  if (padding == "same") pad_to_same(window, maps, OddPadding::end);
  return window;
}

void require_kernel(const LayerCall& call, const net::TensorSource& kernel, const Shape& expected) {
  if (kernel.shape == expected) return;
  throw_input("layer '{}' ({}): its kernel is {} (filters, inputs, height, width); expected {}", call.layer.name(),
              call.layer.class_name(), to_string(kernel.shape), to_string(expected));
}

/// A convolution with the layer's bias where `has_bias`.
int add_convolution(const LayerCall& call, const std::string& name, int input, net::TensorSource kernel,
                    const KernelWindow& window, Index groups, bool has_bias) {
  const Index filters = kernel.shape.front();
  Layer layer{.name = name, .op = net::Op::conv, .attributes = conv_attributes(window, groups)};
  layer.parameters.emplace("weight", std::move(kernel));
  if (has_bias) {
    layer.parameters.emplace("bias",
                             net::make_source({filters}, call.weights.vector(call.layer.name(), "bias", filters)));
  }
  return call.builder.add(std::move(layer), {input});
}

bool has_bias(const LayerCall& call) { return call.layer.flag("use_bias", true); }

/// The depthwise part of a layer, whose weight is called `role`; filters = channels · multiplier.
int add_depthwise(const LayerCall& call, const std::string& name, const KerasValue& maps, const std::string& role,
                  bool with_bias) {
  const Shape shape = call.builder.shape(maps.node);
  const KernelWindow window = read_window(call, "kernel_size", shape);
  net::TensorSource kernel = call.weights.depthwise_kernel(call.layer.name(), role);
  // TensorFlow.js leaves the multiplier out of a separable convolution's description; the kernel has it.
  const bool is_given = call.layer.find("depth_multiplier") != nullptr;
  const Index multiplier = is_given ? call.layer.integer("depth_multiplier") : kernel.shape.front() / shape[0];
  if (multiplier < 1 || multiplier > kernel.shape.front()) {
    call.layer.fail("depth_multiplier", fmt::format("a divisor of {} filters", kernel.shape.front()));
  }
  require_kernel(call, kernel, {element_count({shape[0], multiplier}), 1, window.kernel[0], window.kernel[1]});
  return add_convolution(call, name, maps.node, std::move(kernel), window, shape[0], with_bias);
}

KerasValue add_pool(const LayerCall& call, net::Op op) {
  const KerasValue maps = call.maps();
  Attributes attributes = pool_attributes(read_window(call, "pool_size", call.builder.shape(maps.node)));
  // TensorFlow leaves the padding out of an average.
  if (op == net::Op::average_pool) attributes["count_include_pad"] = {0.0};
  const Layer layer{.name = call.layer.name(), .op = op, .attributes = std::move(attributes)};
  return {call.builder.add(layer, {maps.node}), maps.is_turned};
}

/// The inputs of a merging layer in one order: turned where one of them is, so that transposes are few.
struct Merged {
  std::vector<int> nodes;
  bool is_turned = false;
};

Merged merged(const LayerCall& call) {
  const std::size_t rank = call.input_shape().size();
  Merged result;
  for (const KerasValue& value : call.inputs) {
    if (call.shape(value).size() != rank) throw Unsupported("of samples with different numbers of dimensions");
    result.is_turned = result.is_turned || value.is_turned;
  }
  for (const KerasValue& value : call.inputs) {
    result.nodes.push_back(result.is_turned ? call.turned(value) : call.plain(value));
  }
  return result;
}

/// x₁ ∘ x₂ ∘ x₃ ...: a chain of nodes with two inputs, the last one with the layer's name.
KerasValue merge_by(const LayerCall& call, net::Op op) {
  const Merged merge = merged(call);
  int result = merge.nodes.front();
  for (std::size_t i = 1; i < merge.nodes.size(); ++i) {
    const bool is_last = i + 1 == merge.nodes.size();
    const std::string name = is_last ? call.layer.name() : fmt::format("{}.partial{}", call.layer.name(), i);
    result = call.builder.add({.name = name, .op = op}, {result, merge.nodes[i]});
  }
  return {result, merge.is_turned};
}

/// [[top, bottom], [left, right]], [vertical, horizontal] or one number for all -> top, left, bottom, right.
std::array<Index, 4> read_padding(const LayerConfig& layer) {
  const Json* given = layer.find("padding");
  const bool is_nested = given != nullptr && given->is_array() && !given->empty() && given->front().is_array();
  if (!is_nested) {
    const Pair pads = layer.pair("padding", 0, {1, 1});
    return {pads[0], pads[1], pads[0], pads[1]};
  }
  std::array<Index, 4> pads{};
  for (std::size_t axis = 0; axis < 2; ++axis) {
    for (std::size_t side = 0; side < 2; ++side) {
      const bool is_there = given->size() == 2 && (*given)[axis].is_array() && (*given)[axis].size() == 2;
      const Json* value = is_there ? &(*given)[axis][side] : nullptr;
      const bool fits = value != nullptr && value->is_number_integer() && value->get<double>() >= 0.0 &&
                        value->get<double>() <= static_cast<double>(largest_window);
      if (!fits) layer.fail("padding", "[[top, bottom], [left, right]]");
      pads[axis + 2 * side] = value->get<Index>();
    }
  }
  return pads;
}

}  // namespace

Shape LayerCall::shape(const KerasValue& value) const {
  Shape result = builder.shape(value.node);
  if (value.is_turned) std::rotate(result.begin(), result.begin() + 1, result.end());
  return result;
}

int LayerCall::plain(const KerasValue& value) const {
  return value.is_turned ? builder.add_transpose(transpose_name(*this), value.node, {1, 2, 0}) : value.node;
}

int LayerCall::turned(const KerasValue& value) const {
  return value.is_turned ? value.node : builder.add_transpose(transpose_name(*this), value.node, {2, 0, 1});
}

bool LayerCall::is_channels_first() const {
  const std::string format = layer.text("data_format", "channels_last");
  if (format != "channels_first" && format != "channels_last") {
    layer.fail("data_format", "\"channels_last\" or \"channels_first\"");
  }
  return format == "channels_first";
}

KerasValue LayerCall::maps() const {
  if (input_shape().size() != 3) throw Unsupported(fmt::format("on samples of {}", to_string(input_shape())));
  if (is_channels_first()) return {plain(input()), false};
  return {turned(input()), true};
}

KerasValue convert_conv(const LayerCall& call) {
  const KerasValue maps = call.maps();
  const Shape shape = call.builder.shape(maps.node);
  const KernelWindow window = read_window(call, "kernel_size", shape);
  const Index groups = call.layer.find("groups") != nullptr ? call.layer.integer("groups") : 1;
  if (groups < 1 || shape[0] % groups != 0)
    call.layer.fail("groups", fmt::format("a divisor of {} channels", shape[0]));
  net::TensorSource kernel = call.weights.convolution_kernel(call.layer.name(), "kernel");
  const Index filters = call.layer.integer("filters");
  require_kernel(call, kernel, {filters, shape[0] / groups, window.kernel[0], window.kernel[1]});
  const int conv =
      add_convolution(call, call.layer.name(), maps.node, std::move(kernel), window, groups, has_bias(call));
  return add_activation(call.with_input({conv, maps.is_turned}), false);
}

KerasValue convert_depthwise_conv(const LayerCall& call) {
  const KerasValue maps = call.maps();
  const bool is_keras2 = call.weights.has(call.layer.name(), "depthwise_kernel");
  const int conv =
      add_depthwise(call, call.layer.name(), maps, is_keras2 ? "depthwise_kernel" : "kernel", has_bias(call));
  return add_activation(call.with_input({conv, maps.is_turned}), false);
}

/// Two convolutions: "<layer>.depthwise" over each channel, then "<layer>.pointwise" across them.
KerasValue convert_separable_conv(const LayerCall& call) {
  const std::string& name = call.layer.name();
  const KerasValue maps = call.maps();
  const int depthwise = add_depthwise(call, name + ".depthwise", maps, "depthwise_kernel", false);
  net::TensorSource kernel = call.weights.convolution_kernel(name, "pointwise_kernel");
  require_kernel(call, kernel, {call.layer.integer("filters"), call.builder.shape(depthwise)[0], 1, 1});
  const int pointwise =
      add_convolution(call, name + ".pointwise", depthwise, std::move(kernel), KernelWindow{}, 1, has_bias(call));
  return add_activation(call.with_input({pointwise, maps.is_turned}), false);
}

KerasValue convert_max_pooling(const LayerCall& call) { return add_pool(call, net::Op::max_pool); }
KerasValue convert_average_pooling(const LayerCall& call) { return add_pool(call, net::Op::average_pool); }

KerasValue convert_global_average_pooling(const LayerCall& call) {
  const KerasValue maps = call.maps();
  const bool keep = call.layer.flag("keepdims", false);
  return {add_mean(call.builder, call.layer.name(), maps.node, {1, 2}, keep), keep && maps.is_turned};
}

KerasValue convert_global_max_pooling(const LayerCall& call) {
  const KerasValue maps = call.maps();
  const int pooled = add_global_max(call.builder, call.layer.name(), maps.node);
  if (call.layer.flag("keepdims", false)) return {pooled, maps.is_turned};
  const Index channels = call.builder.shape(pooled).front();
  return {call.builder.add_reshape(call.layer.name() + ".reshape", pooled, {channels}), false};
}

KerasValue convert_zero_padding(const LayerCall& call) {
  const KerasValue maps = call.maps();
  const std::array<Index, 4> pads = read_padding(call.layer);
  const int padded =
      add_padding(call.builder, call.layer.name(), maps.node, {0, pads[0], pads[1], 0, pads[2], pads[3]}, 0.0);
  return {padded, maps.is_turned};
}

KerasValue convert_add(const LayerCall& call) { return merge_by(call, net::Op::add); }
KerasValue convert_multiply(const LayerCall& call) { return merge_by(call, net::Op::mul); }
KerasValue convert_subtract(const LayerCall& call) {
  if (call.inputs.size() > 2) throw Unsupported("of more than two values");
  return merge_by(call, net::Op::sub);
}

KerasValue convert_concatenate(const LayerCall& call) {
  const Merged merge = merged(call);
  const Index rank = static_cast<Index>(call.input_shape().size());
  const Index given = call.layer.find("axis") != nullptr ? call.layer.integer("axis") : -1;
  Index axis = given < 0 ? given + rank : given - 1;  // of a sample
  if (given == 0 || axis < 0 || axis >= rank) call.layer.fail("axis", "an axis of samples");
  if (merge.is_turned) axis = (axis + 1) % rank;
  const Layer layer{
      .name = call.layer.name(), .op = net::Op::concat, .attributes = {{"axis", {static_cast<double>(axis)}}}};
  return {call.builder.add(layer, merge.nodes), merge.is_turned};
}

}  // namespace gpfq::formats::keras_reader
