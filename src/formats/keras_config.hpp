// SPDX-License-Identifier: Apache-2.0
// The JSON description of a Keras model, read without trust: every access says which layer and key
// were wrong, and nothing depends on a type that was not checked.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "gpfq/base/types.hpp"

namespace gpfq::formats::keras_reader {

using Json = nlohmann::json;

/// One layer of a Sequential model: its class and its `config` object.
class LayerConfig {
 public:
  LayerConfig(std::string class_name, std::string name, Json config)
      : class_name_(std::move(class_name)), name_(std::move(name)), config_(std::move(config)) {}

  [[nodiscard]] const std::string& class_name() const { return class_name_; }
  [[nodiscard]] const std::string& name() const { return name_; }

  /// Key `key`; null where it is missing or null.
  [[nodiscard]] const Json* find(const char* key) const;
  [[nodiscard]] double number(const char* key, double fallback) const;
  [[nodiscard]] bool flag(const char* key, bool fallback) const;
  [[nodiscard]] Index integer(const char* key) const;
  /// An integer, or a list of them.
  [[nodiscard]] std::optional<std::vector<Index>> integers(const char* key) const;

  /// Throws an input error "layer 'x' (Class): '<key>' is <found>; expected <expected>".
  [[noreturn]] void fail(const char* key, const std::string& expected) const;

 private:
  std::string class_name_;
  std::string name_;
  Json config_;
};

struct ModelConfig {
  std::vector<LayerConfig> layers;
  std::optional<Shape> input_shape;  ///< per sample, where the description has it
};

/// @throws Error (input) where the text is no description of a Sequential model.
[[nodiscard]] ModelConfig parse_model_config(const std::string& text);

}  // namespace gpfq::formats::keras_reader
