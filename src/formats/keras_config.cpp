// SPDX-License-Identifier: Apache-2.0
// Parsing of `model_config`. Keras 2 and 3 put the input's shape in different places; all are tried.
#include "formats/keras_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "gpfq/base/error.hpp"
#include "gpfq/base/text.hpp"

namespace gpfq::formats::keras_reader {

namespace {

constexpr int max_depth = 64;                 // of nested objects; real files stay below 15
constexpr Index max_extent = Index{1} << 40;  // of one dimension
constexpr std::size_t shown_text = 80;        // of a wrong value, in messages
constexpr std::size_t longest_json_message = 300;
constexpr Index max_window = Index{1} << 30;  // of a kernel, stride or dilation

Json parse_json(const std::string& text) {
  const auto bounded = [](int depth, Json::parse_event_t, Json&) {
    if (depth > max_depth) throw_input("'model_config' is nested deeper than {} levels", max_depth);
    return true;
  };
  try {
    return Json::parse(text, bounded);
  } catch (const Json::exception& error) {
    throw_input("'model_config' is no JSON: {}", excerpt(error.what(), longest_json_message));
  }
}

std::string text_member(const Json& value, const char* key, const std::string& of) {
  const Json* found = member(value, key);
  if (found == nullptr) throw_input("'model_config': {} has no '{}'", of, key);
  if (!found->is_string()) throw_input("'model_config': '{}' of {} is {}; expected text", key, of, shown(*found));
  return found->get<std::string>();
}

/// [null, 28, 28, 1] -> 28x28x1: the batch comes first, open or fixed.
Shape sample_shape(const Json& shape, const std::string& of) {
  if (!shape.is_array() || shape.size() < 2) {
    throw_input("'model_config': the input shape of {} is {}; expected a batch dimension and at least one more", of,
                shown(shape));
  }
  Shape sample;
  for (std::size_t d = 1; d < shape.size(); ++d) {
    if (!shape[d].is_number_integer() || shape[d].get<Index>() < 1 || shape[d].get<Index>() > max_extent) {
      throw_input("'model_config': the input shape of {} is {}; expected fixed extents after the batch", of,
                  shown(shape));
    }
    sample.push_back(shape[d].get<Index>());
  }
  static_cast<void>(element_count(sample));
  return sample;
}

/// The input's shape as one layer's description has it.
std::optional<Shape> layer_input_shape(const Json& layer, const std::string& of) {
  const Json* config = member(layer, "config");
  for (const char* key : {"batch_shape", "batch_input_shape"}) {
    const Json* shape = config == nullptr ? nullptr : member(*config, key);
    if (shape != nullptr) return sample_shape(*shape, of);
  }
  const Json* build = member(layer, "build_config");
  const Json* shape = build == nullptr ? nullptr : member(*build, "input_shape");
  return shape == nullptr ? std::nullopt : std::optional(sample_shape(*shape, of));
}

const Json& list_of_layers(const Json& model) {
  const Json* config = member(model, "config");
  if (config != nullptr && config->is_array()) return *config;  // Keras before 2.2.3
  const Json* layers = config == nullptr ? nullptr : member(*config, "layers");
  if (layers == nullptr || !layers->is_array()) throw_input("'model_config' has no list of layers");
  return *layers;
}

/// Every layer reads the one before it; InputLayers pass on what they get.
void connect_sequential(ModelConfig& result) {
  for (std::size_t i = 0; i < result.layers.size(); ++i) {
    result.uses.push_back({i, {static_cast<int>(i) - 1}, {}});
    static_assert(LayerUse::network_input == -1, "the first layer reads the network's input");
  }
  result.output = static_cast<int>(result.uses.size()) - 1;
}

}  // namespace

std::string shown(const Json& value) {
  return excerpt(value.dump(-1, ' ', true, Json::error_handler_t::replace), shown_text);
}

const Json* member(const Json& value, const char* key) {
  if (!value.is_object()) return nullptr;
  const auto found = value.find(key);
  return found == value.end() || found->is_null() ? nullptr : &*found;
}

const Json* LayerConfig::find(const char* key) const { return member(config_, key); }

double LayerConfig::number(const char* key, double fallback) const {
  const Json* found = find(key);
  if (found == nullptr) return fallback;
  if (!found->is_number() || !std::isfinite(found->get<double>())) fail(key, "a finite number");
  return found->get<double>();
}

bool LayerConfig::flag(const char* key, bool fallback) const {
  const Json* found = find(key);
  if (found == nullptr) return fallback;
  if (!found->is_boolean()) fail(key, "true or false");
  return found->get<bool>();
}

std::string LayerConfig::text(const char* key, const std::string& fallback) const {
  const Json* found = find(key);
  if (found == nullptr) return fallback;
  if (!found->is_string()) fail(key, "text");
  return found->get<std::string>();
}

std::array<Index, 2> LayerConfig::pair(const char* key, Index least, std::array<Index, 2> fallback) const {
  const std::optional<std::vector<Index>> values = integers(key);
  if (!values) return fallback;
  const bool fits = (values->size() == 1 || values->size() == 2) &&
                    std::all_of(values->begin(), values->end(), [&](Index v) { return v >= least && v <= max_window; });
  if (!fits) fail(key, fmt::format("one or two integers from {} on", least));
  return {values->front(), values->back()};
}

Index LayerConfig::integer(const char* key) const {
  const std::optional<std::vector<Index>> values = integers(key);
  if (!values || values->size() != 1) fail(key, "an integer");
  return values->front();
}

std::optional<std::vector<Index>> LayerConfig::integers(const char* key) const {
  const Json* found = find(key);
  if (found == nullptr) return std::nullopt;
  std::vector<Index> values;
  for (const Json& value : found->is_array() ? *found : Json::array({*found})) {
    // Written by way of double, so that numbers beyond int64 are refused and not wrapped.
    if (!value.is_number_integer() || std::abs(value.get<double>()) > static_cast<double>(max_extent)) {
      fail(key, "integers");
    }
    values.push_back(value.get<Index>());
  }
  return values;
}

void LayerConfig::fail(const char* key, const std::string& expected) const {
  const Json* found = find(key);
  throw_input("layer '{}' ({}): '{}' is {}; expected {}", name_, class_name_, key,
              found == nullptr ? std::string("missing") : shown(*found), expected);
}

ModelConfig parse_model_config(const std::string& text) {
  const Json model = parse_json(text);
  const std::string model_class = text_member(model, "class_name", "the model");
  const bool is_functional = model_class == "Functional" || model_class == "Model";  // Model before TensorFlow 2.3
  if (!is_functional && model_class != "Sequential") {
    throw_input("the model is of class {}; expected Sequential or Functional", model_class);
  }
  ModelConfig result;
  for (const Json& layer : list_of_layers(model)) {
    const std::string of = fmt::format("layer {}", result.layers.size());
    std::string class_name = text_member(layer, "class_name", of);
    const Json* config = member(layer, "config");
    if (config == nullptr || !config->is_object()) throw_input("'model_config': {} has no 'config'", of);
    std::string name = text_member(*config, "name", of);
    result.layers.emplace_back(std::move(class_name), std::move(name), *config);
  }
  if (result.layers.empty()) throw_input("the model has no layers");
  const Json* config = member(model, "config");
  const Json* shape = member(*config, "build_input_shape");
  if (!result.input_shape && shape != nullptr) result.input_shape = sample_shape(*shape, "the model");
  std::size_t input_layer = 0;
  if (is_functional) {
    input_layer = connect_functional(*config, list_of_layers(model), result);
  } else {
    connect_sequential(result);
  }
  const LayerConfig& input = result.layers[input_layer];
  if (input.class_name() == "InputLayer") result.input_name = input.name();
  const auto own_shape = layer_input_shape(list_of_layers(model).at(input_layer), fmt::format("layer {}", input_layer));
  if (own_shape) result.input_shape = own_shape;
  return result;
}

}  // namespace gpfq::formats::keras_reader
