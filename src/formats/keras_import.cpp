// SPDX-License-Identifier: Apache-2.0
// Keras legacy HDF5 models: the walk along a Sequential model's layers. Like the ONNX walk it goes
// on behind a layer that is not supported, so that one message can name them all.
#include <fmt/format.h>

#include <utility>

#include "formats/keras_layers.hpp"
#include "gpfq/base/error.hpp"
#include "gpfq/formats/import.hpp"

namespace gpfq::formats {

namespace keras_reader {

namespace {

/// The input's shape; a first Dense layer without one has it in its kernel.
Shape input_shape(const ModelConfig& config, const WeightFile& weights) {
  if (config.input_shape) return *config.input_shape;
  const LayerConfig& first = config.layers.front();
  if (first.class_name() != "Dense") throw_input("the model says nothing of its input's shape");
  return {weights.transposed_matrix(first.name(), "kernel").shape[1]};
}

net::Model read_model(const std::filesystem::path& path) {
  const WeightFile weights(path);
  const ModelConfig config = parse_model_config(weights.model_config());
  ModelBuilder builder;
  const LayerConfig& first = config.layers.front();
  const std::string input_name = first.class_name() == "InputLayer" ? first.name() : "input";
  constexpr int unknown = -1;  // behind a layer that is not supported
  int last = builder.add({.name = input_name, .op = net::Op::input, .shape = input_shape(config, weights)}, {});
  UnsupportedList unsupported;
  for (const LayerConfig& layer : config.layers) {
    const ConvertLayer convert = find_layer(layer.class_name());
    if (convert == nullptr) {
      unsupported.add(layer.class_name(), layer.name());
      last = unknown;
    }
    if (last == unknown) continue;
    try {
      last = convert({layer, weights, builder, last});
    } catch (const Unsupported& reason) {
      unsupported.add(fmt::format("{} {}", layer.class_name(), reason.what()), layer.name());
      last = unknown;
    }
  }
  unsupported.throw_if_any("layers");
  return std::move(builder).finish(last);
}

}  // namespace

}  // namespace keras_reader

net::Model import_keras(const std::filesystem::path& path) {
  try {
    return keras_reader::read_model(path);
  } catch (const Error& error) {
    const std::string message = error.what();
    if (message.find(path.string()) != std::string::npos) throw;
    throw Error(error.kind(), fmt::format("Keras model '{}': {}", path.string(), message));
  }
}

bool is_keras_file(const std::filesystem::path& path) {
  if (!hdf5::is_hdf5(path)) return false;
  try {
    const hdf5::Handle file = hdf5::open_file(path);
    return hdf5::has_attribute(file.id(), "model_config");
  } catch (const Error&) {
    return false;  // the import will say what is wrong
  }
}

}  // namespace gpfq::formats
