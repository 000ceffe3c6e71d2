// SPDX-License-Identifier: Apache-2.0
#include "job/fingerprint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <system_error>
#include <vector>

#include "gpfq/base/digest.hpp"
#include "gpfq/base/error.hpp"
#include "job/blas.hpp"

namespace gpfq::job {
namespace {

using Json = nlohmann::json;

constexpr Index whole_bytes = Index{64} << 20;  // of files up to this size every byte counts
constexpr Index sample_bytes = Index{64} << 10;
constexpr Index samples = 256;

/// "1234 bytes, sha256 0123456789abcdef" of a file, whose bytes are sampled where it is large.
std::string file_text(const std::filesystem::path& path) {
  std::error_code code;
  const std::uintmax_t found = std::filesystem::file_size(path, code);
  std::ifstream file(path, std::ios::binary);
  if (code || !file) throw_input("{} cannot be read: {}", path.string(), code ? code.message() : "no permission");
  const auto size = static_cast<Index>(found);
  Sha256 digest;
  std::vector<char> piece(static_cast<std::size_t>(sample_bytes));
  const auto add = [&](Index begin) {
    const Index bytes = std::min(sample_bytes, size - begin);
    file.seekg(begin);
    if (file.read(piece.data(), bytes)) digest.update(piece.data(), bytes);
  };
  if (size <= whole_bytes)
    for (Index begin = 0; begin < size; begin += sample_bytes) add(begin);
  else
    for (Index i = 0; i <= samples; ++i) add((size - sample_bytes) / samples * i);
  if (!file) throw_input("{} cannot be read", path.string());
  return fmt::format("{} bytes, sha256 {:.16}", size, digest.finish());
}

/// Keys that change no code, or whose files are looked at instead.
bool matters(const std::string& key) {
  static const std::regex others(
      "model|output|scratch|threads|memory_per_rank|checkpoint_seconds|stream\\..*|evaluation\\..*|quantization\\.grid|"
      ".*\\.file");
  return !std::regex_match(key, others);
}

}  // namespace

Fingerprint fingerprint_of(const Config& config, const std::set<std::filesystem::path>& model_files) {
  Fingerprint parts = {{"program", "gpfq " GPFQ_VERSION}, {"BLAS core", blas_core()}};
  const Json flat = Json::parse(config.text, nullptr, true, true).flatten();
  for (const auto& [pointer, value] : flat.items()) {
    std::string key = pointer.empty() ? pointer : pointer.substr(1);
    std::replace(key.begin(), key.end(), '/', '.');
    if (matters(key) && !value.is_null()) parts["config " + key] = value.dump();
  }
  if (config.has_network()) {
    parts["model"] = file_text(config.model);
    std::error_code ignored;
    const std::filesystem::path folder = std::filesystem::canonical(config.model.parent_path(), ignored);
    for (const std::filesystem::path& file : model_files)
      parts["model's " + file.lexically_proximate(folder).string()] = file_text(file);
    parts["calibration data"] = file_text(config.calibration.file);
  }
  for (const LayerSource& layer : config.layers) {
    parts["layer " + layer.name + ": weight"] = file_text(layer.weight.file);
    parts["layer " + layer.name + ": inputs"] = file_text(layer.inputs.file);
    if (layer.quantized_inputs) parts["layer " + layer.name + ": quantized_inputs"] = file_text(layer.quantized_inputs->file);
  }
  return parts;
}

std::string evaluation_text(const Config& config) {
  if (!config.evaluation) return "";
  const Json flat = Json::parse(config.text, nullptr, true, true).at("evaluation");
  return flat.dump() + " " + file_text(config.evaluation->file);
}

std::string differences(const Fingerprint& then, const Fingerprint& now) {
  std::string lines;
  const auto value = [](const Fingerprint& parts, const std::string& name) {
    const auto found = parts.find(name);
    return found == parts.end() ? std::string("not set") : found->second;
  };
  std::set<std::string> names;
  for (const Fingerprint* parts : {&then, &now})
    for (const auto& part : *parts) names.insert(part.first);
  for (const std::string& name : names)
    if (value(then, name) != value(now, name))
      lines += fmt::format("\n  {}: {} then, {} now", name, value(then, name), value(now, name));
  return lines;
}

}  // namespace gpfq::job
