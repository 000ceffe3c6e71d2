// SPDX-License-Identifier: Apache-2.0
// The JSON description of a Keras model, read without trust: every access says which layer and key
// were wrong, and nothing depends on a type that was not checked.
#pragma once

#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "gpfq/base/types.hpp"

namespace gpfq::formats::keras_reader {

using Json = nlohmann::json;

/// One layer of a model: its class and its `config` object.
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
  [[nodiscard]] std::string text(const char* key, const std::string& fallback) const;
  [[nodiscard]] Index integer(const char* key) const;
  /// An integer, or a list of them.
  [[nodiscard]] std::optional<std::vector<Index>> integers(const char* key) const;

  /// Height and width: a number for both, or a list of two, each from `least` to 2^30; `fallback` where there is none.
  [[nodiscard]] std::array<Index, 2> pair(const char* key, Index least, std::array<Index, 2> fallback) const;

  /// Throws an input error "layer 'x' (Class): '<key>' is <found>; expected <expected>".
  [[noreturn]] void fail(const char* key, const std::string& expected) const;

 private:
  std::string class_name_;
  std::string name_;
  Json config_;
};

/// A constant beside the only value that Keras 3's operators read, as in x + 3.0.
struct Operand {
  std::optional<double> number;  ///< none for arrays
  bool is_first = false;         ///< left of the operator
};

/// A layer applied to values; one that is shared is applied several times.
struct LayerUse {
  static constexpr int network_input = -1;  ///< in place of a position
  std::size_t layer = 0;                    ///< in ModelConfig::layers
  std::vector<int> inputs;                  ///< positions of earlier uses, or network_input
  std::optional<Operand> operand = {};
};

struct ModelConfig {
  std::vector<LayerConfig> layers;
  std::vector<LayerUse> uses;  ///< each after those it reads; only what the output needs
  int output = LayerUse::network_input;
  std::string input_name = "input";  ///< the InputLayer's, where there is one
  std::optional<Shape> input_shape;  ///< per sample, where the description has it
};

/// @throws Error (input) where the text is no description of a Sequential or functional model with one input and one
///         output.
[[nodiscard]] ModelConfig parse_model_config(const std::string& text);

/// Member `key` of an object; null where there is none, or it is null.
[[nodiscard]] const Json* member(const Json& value, const char* key);
/// A value as messages show it: its JSON, cut where it is long.
[[nodiscard]] std::string shown(const Json& value);
/// Sets the uses and the output of a functional model, whose layers' JSON is `layers` (as result.layers has them).
/// @returns the position of the input's layer among them.
[[nodiscard]] std::size_t connect_functional(const Json& config, const Json& layers, ModelConfig& result);

}  // namespace gpfq::formats::keras_reader
