// SPDX-License-Identifier: Apache-2.0
// The table of Keras layers and activation functions. Adding a layer means one function and one
// row in keras_layers.cpp.
#pragma once

#include <string>
#include <vector>

#include "formats/keras_config.hpp"
#include "formats/keras_weights.hpp"
#include "formats/model_builder.hpp"
#include "formats/unsupported.hpp"

namespace gpfq::formats::keras_reader {

/// A value of a Keras model: a node of the graph, and how it lies there. Convolutions work on [C, H, W] here, most
/// Keras models on [H, W, C]: a value stays turned from the first layer that needs it until one depends on the order.
struct KerasValue {
  int node = -1;
  bool is_turned = false;  ///< the node holds as [C, H, W] what Keras has as [H, W, C]
};

/// What the conversion of a layer sees: the layer, the values that it reads, the model so far.
struct LayerCall {
  const LayerConfig& layer;
  const WeightFile& weights;
  ModelBuilder& builder;
  std::vector<KerasValue> inputs;

  [[nodiscard]] const KerasValue& input() const { return inputs.front(); }
  /// Per sample, as Keras has it.
  [[nodiscard]] Shape input_shape() const { return shape(input()); }
  [[nodiscard]] Shape shape(const KerasValue& value) const;
  /// The node that holds a value as Keras has it; a transpose is added where it is turned.
  [[nodiscard]] int plain(const KerasValue& value) const;
  /// The node that holds a value of three dimensions with the last one first; likewise.
  [[nodiscard]] int turned(const KerasValue& value) const;
  /// Feature maps [C, H, W] for a layer with a `data_format`. @throws Unsupported for other than three dimensions.
  [[nodiscard]] KerasValue maps() const;
  [[nodiscard]] bool is_channels_first() const;
  /// This layer with another input (the activation that follows its linear part).
  [[nodiscard]] LayerCall with_input(KerasValue value) const { return {layer, weights, builder, {value}}; }
};

/// Adds the layer's nodes. @returns its output (the input where the layer does nothing at inference).
/// @throws Unsupported.
using ConvertLayer = KerasValue (*)(const LayerCall& call);

struct LayerRow {
  ConvertLayer convert = nullptr;
  bool is_merge = false;  ///< reads two or more values
};

/// True for the classes of Keras 3's operators, not layers, that a number may be an operand of.
[[nodiscard]] bool takes_numbers(const std::string& class_name);
/// Such an operator on a value and a number. @throws Unsupported.
[[nodiscard]] KerasValue convert_operator(const LayerCall& call, const Operand& operand);

/// The row of the layer table; null for classes that are not supported.
[[nodiscard]] const LayerRow* find_layer(const std::string& class_name);

/// The activation under key "activation": a name, a serialized function or a serialized layer.
/// A fused one becomes a node "<layer>.<activation>"; `is_whole_layer` keeps the layer's own name.
[[nodiscard]] KerasValue add_activation(const LayerCall& call, bool is_whole_layer);

// Layers over feature maps, in keras_maps.cpp.
[[nodiscard]] KerasValue convert_conv(const LayerCall& call);
[[nodiscard]] KerasValue convert_depthwise_conv(const LayerCall& call);
[[nodiscard]] KerasValue convert_separable_conv(const LayerCall& call);
[[nodiscard]] KerasValue convert_max_pooling(const LayerCall& call);
[[nodiscard]] KerasValue convert_average_pooling(const LayerCall& call);
[[nodiscard]] KerasValue convert_global_average_pooling(const LayerCall& call);
[[nodiscard]] KerasValue convert_global_max_pooling(const LayerCall& call);
[[nodiscard]] KerasValue convert_zero_padding(const LayerCall& call);
[[nodiscard]] KerasValue convert_add(const LayerCall& call);
[[nodiscard]] KerasValue convert_multiply(const LayerCall& call);
[[nodiscard]] KerasValue convert_subtract(const LayerCall& call);
[[nodiscard]] KerasValue convert_concatenate(const LayerCall& call);

}  // namespace gpfq::formats::keras_reader
