// SPDX-License-Identifier: Apache-2.0
// The table of Keras layers and activation functions. Adding a layer means one function and one
// row in keras_layers.cpp.
#pragma once

#include <string>

#include "formats/keras_config.hpp"
#include "formats/keras_weights.hpp"
#include "formats/model_builder.hpp"
#include "formats/unsupported.hpp"

namespace gpfq::formats::keras_reader {

/// What the conversion of a layer sees: the layer, the value before it, the model so far.
struct LayerCall {
  const LayerConfig& layer;
  const WeightFile& weights;
  ModelBuilder& builder;
  int input;

  [[nodiscard]] const Shape& input_shape() const { return builder.shape(input); }
};

/// Adds the layer's nodes. @returns the index of the last one (the input's where the layer does
/// nothing at inference). @throws Unsupported.
using ConvertLayer = int (*)(const LayerCall& call);

/// The row of the layer table; null for classes that are not supported.
[[nodiscard]] ConvertLayer find_layer(const std::string& class_name);

}  // namespace gpfq::formats::keras_reader
