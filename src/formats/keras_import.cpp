// SPDX-License-Identifier: Apache-2.0
// Keras legacy HDF5 models: the walk along the layers of a Sequential or functional model. Like the ONNX walk it goes
// on behind a layer that is not supported, so that one message can name them all.
#include <fmt/format.h>

#include <optional>
#include <utility>
#include <vector>

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

/// The layer's output; none where one of its inputs has no value.
/// @throws Unsupported with what is to stand behind the layer's class, nothing where that says enough.
std::optional<KerasValue> convert_layer(const LayerConfig& layer, const std::vector<std::optional<KerasValue>>& inputs,
                                        const std::optional<Operand>& operand, const WeightFile& weights,
                                        ModelBuilder& builder) {
  LayerCall call{layer, weights, builder, {}};
  if (operand && inputs.size() == 1 && takes_numbers(layer.class_name())) {
    if (!inputs.front()) return std::nullopt;
    call.inputs = {*inputs.front()};
    return convert_operator(call, *operand);
  }
  const LayerRow* row = find_layer(layer.class_name());
  if (row == nullptr) throw Unsupported("");
  if (row->is_merge ? inputs.size() < 2 : inputs.size() != 1) {
    throw_input("layer '{}' ({}) reads {} values; expected {}", layer.name(), layer.class_name(), inputs.size(),
                row->is_merge ? "two or more" : "one");
  }
  for (const std::optional<KerasValue>& input : inputs) {
    if (!input) return std::nullopt;
    call.inputs.push_back(*input);
  }
  return row->convert(call);
}

net::Model read_model(const std::filesystem::path& path) {
  const WeightFile weights(path);
  const ModelConfig config = parse_model_config(weights.model_config());
  ModelBuilder builder;
  const KerasValue input{
      builder.add({.name = config.input_name, .op = net::Op::input, .shape = input_shape(config, weights)}, {}), false};
  std::vector<std::optional<KerasValue>> values;  // of the uses; none behind a layer that is not supported
  UnsupportedList unsupported;
  const auto value_at = [&](int position) {
    return position == LayerUse::network_input ? input : values.at(static_cast<std::size_t>(position));
  };
  for (const LayerUse& use : config.uses) {
    const LayerConfig& layer = config.layers[use.layer];
    std::vector<std::optional<KerasValue>> inputs;
    for (const int position : use.inputs) inputs.push_back(value_at(position));
    try {
      values.push_back(convert_layer(layer, inputs, use.operand, weights, builder));
    } catch (const Unsupported& reason) {
      const std::string what = reason.what();
      unsupported.add(fmt::format("{}{}{}", layer.class_name(), what.empty() ? "" : " ", what), layer.name());
      values.emplace_back();
    }
  }
  unsupported.throw_if_any("layers");
  const KerasValue output = *value_at(config.output);
  const int last = output.is_turned ? builder.add_transpose("output", output.node, {1, 2, 0}) : output.node;
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
