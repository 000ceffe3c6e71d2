// SPDX-License-Identifier: Apache-2.0
// Entries are checked against the table as "layers[].key"; messages then name the entry by its number.
#include "job/config_layers.hpp"

#include <algorithm>
#include <cctype>
#include <set>

namespace gpfq::job {
namespace {

const std::string list_name = "layers[]";
const std::string prefix = list_name + ".";

formats::TensorLocation parse_location(const Json& entry, const std::string& section,
                                       const std::filesystem::path& folder) {
  formats::TensorLocation location;
  location.file = folder / required_string(entry, section + ".file", prefix);
  location.tensor = value_or<std::string>(entry, section + ".tensor", "");
  location.is_bfloat16 = choose<bool>(entry, section + ".dtype", {{"bfloat16", true}}, false, prefix);
  return location;
}

LayerSource parse_layer(const Json& entry, const std::filesystem::path& folder) {
  expect(entry.is_object(), list_name, entry, "an object");
  check_keys(entry, list_name);
  LayerSource layer;
  layer.name = required_string(entry, "name", prefix);
  const bool is_storable = layer.name.find('/') == std::string::npos && layer.name != "." && layer.name != "..";
  const bool is_shown =
      std::none_of(layer.name.begin(), layer.name.end(), [](unsigned char c) { return std::iscntrl(c) != 0; });
  expect(is_storable && is_shown, prefix + "name", entry.at("name"),
         "a name without '/' and control characters, other than . and ..");
  layer.weight = parse_location(entry, "weight", folder);
  layer.is_transposed = choose<bool>(entry, "weight.layout", {{"out_in", false}, {"in_out", true}}, false, prefix);
  layer.inputs = parse_location(entry, "inputs", folder);
  if (!lookup(entry, "quantized_inputs").is_null())
    layer.quantized_inputs = parse_location(entry, "quantized_inputs", folder);
  layer.samples = count_at(entry, "samples", 0, 0, Index{1} << 50, prefix);
  return layer;
}

/// "layers[].name" as "layers[3].name".
std::string with_number(std::string text, std::size_t number) {
  for (std::size_t at = 0; (at = text.find(list_name, at)) != std::string::npos;)
    text.replace(at, list_name.size(), fmt::format("layers[{}]", number));
  return text;
}

}  // namespace

std::vector<LayerSource> parse_layers(const Json& root, const std::filesystem::path& folder) {
  const Json list = lookup(root, "layers");
  if (list.is_null()) return {};
  for (const char* key : {"model", "calibration", "evaluation", "preprocess"})
    if (!lookup(root, key).is_null())
      throw_input("config: '{}' is given beside 'layers', which are layers without a network; expected one of them",
                  key);
  if (list.empty()) throw_input("config: 'layers' is empty, expected at least one layer");
  std::vector<LayerSource> layers;
  std::set<std::string> names;
  for (std::size_t i = 0; i < list.size(); ++i) {
    try {
      layers.push_back(parse_layer(list[i], folder));
    } catch (const Error& error) {
      throw Error(error.kind(), with_number(error.what(), i));
    }
    if (!names.insert(layers.back().name).second)
      throw_input("config: 'layers[{}].name' is \"{}\", which another layer has, expected names that differ", i,
                  layers.back().name);
  }
  return layers;
}

}  // namespace gpfq::job
