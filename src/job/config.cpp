// SPDX-License-Identifier: Apache-2.0
// Config text to checked values. Every message names the key, what was found and what is expected.
#include "gpfq/job/config.hpp"

#include <fmt/format.h>

#include <cmath>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <vector>

#include "gpfq/base/error.hpp"
#include "gpfq/base/text.hpp"
#include "job/config_layers.hpp"
#include "job/config_values.hpp"
#include "job/name_pattern.hpp"

namespace gpfq::job {
namespace {

constexpr std::streamoff largest_config_bytes = 16 << 20;
constexpr int deepest_config = 32;
// From the README's table: further sweeps gain less than a third of what these do.
constexpr int default_sweeps = 4;
constexpr double max_threshold = 256;
constexpr std::size_t longest_json_message = 300;  // it quotes what was read last
constexpr std::size_t longest_pattern = 1000;      // std::regex recurses along a pattern

/// Parses JSON with comments, no deeper than configs are, since printing and reading recurse, and each key once.
Json parse_json(const std::string& text, const std::string& where) {
  std::vector<std::set<std::string>> open;  // keys of the objects around
  const auto check = [&](int depth, Json::parse_event_t event, const Json& parsed) {
    if (depth > deepest_config) throw_input("config: {} is nested deeper than {} levels", where, deepest_config);
    if (event == Json::parse_event_t::object_start) open.emplace_back();
    if (event == Json::parse_event_t::object_end) open.pop_back();
    if (event == Json::parse_event_t::key && !open.back().insert(parsed.get<std::string>()).second)
      throw_input("config: {} gives the key '{}' twice in one object", where, excerpt(parsed.get<std::string>()));
    return true;
  };
  return Json::parse(text, check, true, true);
}

RadiusRule parse_radius(const Json& settings, RadiusRule rule, const std::string& prefix) {
  const Json root = {{"radius", settings.contains("radius") ? settings.at("radius") : Json::object()}};
  const RadiusKind inherited = rule.kind;
  for (const char* key : {"radius.rule", "radius.scale", "radius.value", "radius.per"}) {
    if (rule.is_given || lookup(root, key).is_null()) continue;
    rule.is_given = true;
    rule.kind = RadiusKind::median;
    rule.per_neuron = false;
  }
  rule.kind = choose<RadiusKind>(
      root, "radius.rule",
      {{"median", RadiusKind::median}, {"max", RadiusKind::max}, {"value", RadiusKind::value},
       {"search", RadiusKind::search}},
      rule.kind, prefix);
  rule.per_neuron = choose<bool>(root, "radius.per", {{"layer", false}, {"neuron", true}}, rule.per_neuron, prefix);
  const Json scale = lookup(root, "radius.scale");
  const Json value = lookup(root, "radius.value");
  if (!scale.is_null()) {
    rule.scale = scale.get<double>();
    expect(std::isfinite(*rule.scale) && *rule.scale > 0, prefix + "radius.scale", scale, "a positive number");
  }
  if (!value.is_null()) {
    rule.value = value.get<double>();
    expect(std::isfinite(rule.value) && rule.value > 0 && rule.value < 1e30, prefix + "radius.value", value,
           "a positive number");
    if (lookup(root, "radius.rule").is_null()) rule.kind = RadiusKind::value;
  }
  if (rule.kind != inherited && scale.is_null()) rule.scale.reset();  // a multiple of medians says nothing of maxima
  for (const char* key : {"radius.candidates", "radius.span"}) {
    const Json found = lookup(root, key);
    if (!found.is_null() && rule.kind != RadiusKind::search && rule.is_given)
      throw_input("config: '{}{}' is {} with a radius rule other than search, expected none: only search tries several",
                  prefix, key, found.dump());
  }
  rule.candidates = static_cast<int>(count_at(root, "radius.candidates", rule.candidates, 1, 64, prefix));
  const Json span = lookup(root, "radius.span");
  if (!span.is_null()) rule.span = span.get<double>();
  expect(rule.span >= 1 && rule.span <= 1e6, prefix + "radius.span", span, "1 to 1e6");
  if (rule.kind == RadiusKind::value && !(rule.value > 0))
    throw_input("config: '{}radius.value' is missing: rule value takes the radius from it", prefix);
  return rule;
}

const std::map<std::string, Method>& methods() {
  static const std::map<std::string, Method> names = {{"gpfq", Method::gpfq}, {"spfq", Method::spfq}, {"optq", Method::optq},
                                                      {"qronos", Method::qronos}, {"msq", Method::msq}};
  return names;
}

/// What one table of settings says beside what it is without effect on or makes no sense with.
void check_combinations(const Json& settings, const LayerSettings& result, const std::string& prefix) {
  if (result.threshold > 0 && result.method != Method::gpfq)
    throw_input("config: '{}threshold' is {:g} with method {}, expected 0: only gpfq has a sparse path", prefix,
                result.threshold, method_name(result.method));
  if (result.threshold > 0 && result.levels % 2 == 0)
    throw_input("config: '{}threshold' is {:g} with {} levels, expected an odd number of 'levels': an even one has no zero",
                prefix, result.threshold, result.levels);
  if (result.threshold > 0 && result.sweeps > 0)
    throw_input("config: '{}refine.sweeps' is {} with a 'threshold' of {:g}, expected 0: sweeps would undo its zeros",
                prefix, result.sweeps, result.threshold);
  if (result.method == Method::msq) {
    for (const char* key : {"radius.candidates", "radius.span"})
      if (!lookup(settings, key).is_null())
        throw_input("config: '{}{}' is given with method msq, expected none: rounding reads no inputs to search by", prefix,
                    key);
    if (result.radius.kind == RadiusKind::search)
      throw_input("config: '{}radius.rule' is \"search\" with method msq, expected another: rounding reads no inputs to "
                  "search by",
                  prefix);
    if (const Json sweeps = lookup(settings, "refine.sweeps"); !sweeps.is_null() && sweeps != 0)
      throw_input("config: '{}refine.sweeps' is {} with method msq, expected 0: rounding reads no inputs", prefix,
                  sweeps.dump());
    if (lookup(settings, "order") == "activation")
      throw_input("config: '{}order' is \"activation\" with method msq, expected natural: rounding reads no inputs", prefix);
  }
  if (result.diffuses() && result.form == FormChoice::residual)
    throw_input("config: '{}form' is \"residual\" with method {}, expected auto or gram: it needs the inputs' products",
                prefix, method_name(result.method));
}

/// A number within limits.
double number_at(const Json& root, const std::string& name, double fallback, double least, double most,
                 const std::string& prefix) {
  const Json found = lookup(root, name);
  if (found.is_null()) return fallback;
  const double value = found.get<double>();
  expect(value >= least && value <= most, prefix + name, found, fmt::format("{:g} to {:g}", least, most));
  return value;
}

LayerSettings parse_settings(const Json& settings, LayerSettings result, const std::string& prefix) {
  if (choose<bool>(settings, "preset", {{"paper", true}}, false, prefix)) {
    result.radius.is_given = true;
    result.radius.kind = RadiusKind::median;
    result.radius.per_neuron = false;
  }
  result.skip = value_or(settings, "skip", result.skip);
  result.method = choose<Method>(settings, "method", methods(), result.method, prefix);
  const Json levels = lookup(settings, "levels");
  const Json bits = lookup(settings, "bits");
  if (!levels.is_null() && !bits.is_null())
    throw_input("config: '{}levels' and '{}bits' are both given, expected one of them", prefix, prefix);
  if (!levels.is_null()) result.levels = static_cast<int>(count_at(settings, "levels", 3, 2, 256, prefix));
  if (!bits.is_null()) result.levels = (1 << count_at(settings, "bits", 2, 2, 8, prefix)) - 1;
  result.radius = parse_radius(settings, result.radius, prefix);
  result.form = choose<FormChoice>(
      settings, "form",
      {{"auto", FormChoice::automatic}, {"residual", FormChoice::residual}, {"gram", FormChoice::gram}}, result.form,
      prefix);
  if (!lookup(settings, "refine.sweeps").is_null())
    result.given_sweeps = static_cast<int>(count_at(settings, "refine.sweeps", 0, 0, 1000, prefix));
  result.orders_by_activation =
      choose<bool>(settings, "order", {{"natural", false}, {"activation", true}}, result.orders_by_activation, prefix);
  result.threshold = number_at(settings, "threshold", result.threshold, 0, max_threshold, prefix);
  result.sparsity = choose<Sparsity>(settings, "sparsity", {{"soft", Sparsity::soft}, {"hard", Sparsity::hard}},
                                     result.sparsity, prefix);
  result.damping = number_at(settings, "damping", result.damping, 1e-12, 1e6, prefix);
  result.seed = static_cast<std::uint64_t>(count_at(settings, "seed", static_cast<Index>(result.seed), 0, Index{1} << 62, prefix));
  const Json bias = lookup(settings, "bias_correction");
  if (!bias.is_null()) result.given_bias_correction = bias.get<bool>();
  result.complete();
  check_combinations(settings, result, prefix);
  return result;
}

/// Rules allow what the defaults do, less what concerns all layers, and with `match` and `skip`.
void check_rule(const Json& rule, std::size_t index) {
  const std::string where = fmt::format("quantization.layers[{}]", index);
  expect(rule.is_object(), where, rule, "an object");
  expect(rule.contains("match") && rule.at("match").is_string(), where + ".match", rule.value("match", Json()),
         "a regular expression");
  const std::string pattern = rule.at("match").get<std::string>();
  expect(pattern.size() <= longest_pattern, where + ".match", rule.at("match"),
         fmt::format("at most {} bytes", longest_pattern));
  if (rule.contains("skip")) expect(rule.at("skip").is_boolean(), where + ".skip", rule.at("skip"), "true or false");
  Json settings = rule;
  settings.erase("match");
  settings.erase("skip");
  for (const char* other : {"layers", "block", "grid", "conv", "patch_fraction", "patch_seed", "fold_batchnorm", "bias_correction", "preset"})
    if (settings.contains(other)) throw_input("config: '{}.{}' is not a key of a layer rule", where, other);
  try {
    check_keys(settings, "quantization");
  } catch (const Error& error) {
    throw_input("{}\n  in {}", error.what(), where);
  }
  try {
    static_cast<void>(name_pattern(pattern));
  } catch (const std::regex_error& error) {
    throw_input("config: '{}.match' is {}, which is not a regular expression: {}", where, rule.at("match").dump(),
                error.what());
  }
  static_cast<void>(parse_settings(rule, {}, where + "."));
}

Preprocess parse_preprocess(const Json& root) {
  Preprocess result;
  result.scale = value_or(root, "preprocess.scale", 1.0);
  expect(std::isfinite(result.scale) && result.scale != 0, "preprocess.scale", lookup(root, "preprocess.scale"),
         "a number other than 0");
  result.mean = numbers_at(root, "preprocess.mean", 0);
  result.deviation = numbers_at(root, "preprocess.std", 1);
  for (const double deviation : result.deviation)
    expect(std::isfinite(deviation) && deviation != 0, "preprocess.std", lookup(root, "preprocess.std"),
           "numbers other than 0");
  result.layout = choose<Layout>(
      root, "preprocess.layout",
      {{"NCHW", Layout::nchw}, {"NHWC", Layout::nhwc}, {"NHW", Layout::nhw}, {"flat", Layout::flat}}, Layout::flat);
  result.reverse_channels =
      choose<bool>(root, "preprocess.channel_order", {{"keep", false}, {"reverse", true}}, false);
  if (result.reverse_channels && (result.layout == Layout::nhw || result.layout == Layout::flat))
    throw_input(
        "config: 'preprocess.channel_order' is \"reverse\", expected 'preprocess.layout' NCHW or NHWC with it: "
        "other layouts have no channels");
  return result;
}

/// "2x4" or "auto".
RankGrid parse_grid(const Json& root) {
  const Json found = lookup(root, "quantization.grid");
  RankGrid grid;
  if (found.is_null() || found == "auto") return grid;
  std::smatch parts;
  const std::string text = found.get<std::string>();
  expect(std::regex_match(text, parts, std::regex("([1-9][0-9]{0,5})x([1-9][0-9]{0,5})")), "quantization.grid", found,
         "auto, or neurons x samples such as 2x4");
  grid.neurons = std::stoi(parts[1]);
  grid.samples = std::stoi(parts[2]);
  return grid;
}

DataSource parse_source(const Json& root, const std::string& section, const std::filesystem::path& folder) {
  DataSource source;
  source.file = folder / required_string(root, section + ".file");
  source.inputs = required_string(root, section + ".inputs");
  source.samples = count_at(root, section + ".samples", 0, 0, Index{1} << 50);
  const Json seed = lookup(root, section + ".shuffle_seed");
  if (!seed.is_null())
    source.shuffle_seed = static_cast<std::uint64_t>(count_at(root, section + ".shuffle_seed", 0, 0, Index{1} << 62));
  return source;
}

/// "a.b=3": sets the value at a dotted path; text that is not JSON is taken as a string.
void apply_override(Json& root, const std::string& assignment) {
  const std::size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0)
    throw_input("--set '{}': expected key=value with a dotted key", assignment);
  const std::string name = assignment.substr(0, equals);
  const std::string text = assignment.substr(equals + 1);
  if (name.find('[') != std::string::npos)
    throw_input("--set '{}': the entries of a list cannot be set one by one, only the list", assignment);
  if (find_key(name) == nullptr) {
    if (is_section(name)) throw_input("--set '{}': '{}' is a section, expected one of its keys", assignment, name);
    unknown_key(name);
  }
  Json* at = &root;
  std::istringstream parts(name);
  std::string part;
  std::string parent;
  while (std::getline(parts, part, '.')) {
    if (parts.eof()) break;
    if (!at->is_object()) throw_input("--set '{}': '{}' is not an object in the config", assignment, parent);
    at = &(*at)[part];
    if (at->is_null()) *at = Json::object();
    parent = part;
  }
  if (!at->is_object()) throw_input("--set '{}': '{}' is not an object in the config", assignment, parent);
  const Json parsed = Json::parse(text, nullptr, false);
  const bool wants_text = find_key(name)->type == "string" || find_key(name)->type == "size";
  (*at)[part] = parsed.is_discarded() || (wants_text && !parsed.is_string() && !parsed.is_null()) ? Json(text) : parsed;
  // One of two keys for the same thing: the one that was set last counts.
  if (name == "quantization.levels") at->erase("bits");
  if (name == "quantization.bits") at->erase("levels");
}

}  // namespace

void LayerSettings::complete() {
  if (!radius.is_given) {
    radius.kind = method == Method::msq ? RadiusKind::median : RadiusKind::search;  // rounding has nothing to search by
    radius.per_neuron = method != Method::msq;
  }
  // Sweeps round to the nearest level: they undo zeros that λ asks for, and what stochastic rounding draws.
  const bool has_none = radius.is_given || method == Method::msq || method == Method::spfq || threshold > 0;
  sweeps = method == Method::msq ? 0 : given_sweeps.value_or(has_none ? 0 : default_sweeps);
  corrects_bias = given_bias_correction.value_or(!radius.is_given) && method != Method::msq;
}

double LayerSettings::scale() const {
  if (radius.scale) return *radius.scale;
  if (radius.kind != RadiusKind::median) return 1;
  return levels <= 4 ? 3 : (levels <= 8 ? 4 : 5);
}

LayerSettings Config::settings_for(const std::string& layer) const {
  LayerSettings settings = parse_settings(Json::parse(quantization), {}, "quantization.");
  for (const Rule& rule : rules)
    if (std::regex_match(layer, name_pattern(rule.match)))
      settings = parse_settings(Json::parse(rule.settings), settings, "quantization.layers.");
  return settings;
}

std::string load_config_text(const std::filesystem::path& path, const std::vector<std::string>& overrides) {
  std::ifstream file(path, std::ios::binary);
  std::error_code code;
  if (!file || std::filesystem::is_directory(path, code))
    throw_input("config: cannot read {}: expected a JSON file", path.string());
  file.seekg(0, std::ios::end);
  if (file.tellg() > largest_config_bytes)
    throw_input("config: {} is {} bytes long, the limit is {}", path.string(), static_cast<Index>(file.tellg()),
                static_cast<Index>(largest_config_bytes));
  file.seekg(0);
  std::stringstream text;
  text << file.rdbuf();
  try {
    Json root = parse_json(text.str(), path.string());
    if (!root.is_object()) throw_input("config: {} holds {}, expected an object", path.string(), root.type_name());
    for (const std::string& assignment : overrides) apply_override(root, assignment);
    return root.dump(2);
  } catch (const Json::exception& error) {
    throw_input("config: {} is not JSON: {}", path.string(), excerpt(error.what(), longest_json_message));
  }
}

Config parse_config(const std::string& text, const std::filesystem::path& folder, const std::string& where) {
  try {
    const Json root = parse_json(text, where);
    check_keys(root, "");
    Config config;
    config.text = text;
    config.layers = parse_layers(root, folder);
    if (config.has_network()) {
      config.model = folder / required_string(root, "model");
      config.calibration = parse_source(root, "calibration", folder);
    }
    if (!lookup(root, "evaluation").is_null()) {
      config.evaluation = parse_source(root, "evaluation", folder);
      config.evaluation->labels = required_string(root, "evaluation.labels");
    }
    config.preprocess = parse_preprocess(root);
    const Json quantization = root.value("quantization", Json::object());
    config.quantization = quantization.dump();
    static_cast<void>(parse_settings(quantization, {}, "quantization."));
    const Json rules = quantization.value("layers", Json::array());
    for (std::size_t i = 0; i < rules.size(); ++i) {
      check_rule(rules[i], i);
      config.rules.push_back({rules[i].at("match").get<std::string>(), rules[i].dump()});
    }
    if (const Json bias = lookup(root, "quantization.bias_correction"); !config.has_network() && bias == true)
      throw_input("config: 'quantization.bias_correction' is true with layers without a network, expected false or none: "
                  "there is no bias to correct");
    config.block = count_at(root, "quantization.block", 0, 0, widest_block);
    config.grid = parse_grid(root);
    config.channelwise = choose<bool>(root, "quantization.conv", {{"filters", false}, {"channelwise", true}}, false);
    config.patch_fraction = value_or(root, "quantization.patch_fraction", 1.0);
    expect(config.patch_fraction > 0 && config.patch_fraction <= 1, "quantization.patch_fraction",
           lookup(root, "quantization.patch_fraction"), "more than 0, at most 1");
    config.patch_seed = static_cast<std::uint64_t>(count_at(root, "quantization.patch_seed", 0, 0, Index{1} << 62));
    config.fold_batch_norm = value_or(root, "quantization.fold_batchnorm", true);
    const Json memory = lookup(root, "memory_per_rank");
    const std::string size = memory.is_null() ? "4GiB" : memory.is_string() ? memory.get<std::string>() : memory.dump();
    config.memory_per_rank = parse_bytes(size, "config: 'memory_per_rank': ");
    config.stream.ranks_per_node = static_cast<int>(count_at(root, "stream.ranks_per_node", 0, 0, 1 << 20));
    config.stream.exchange = value_or(root, "stream.exchange", true);
    config.checkpoint_seconds = value_or(root, "checkpoint_seconds", 600.0);
    expect(config.checkpoint_seconds >= 0, "checkpoint_seconds", lookup(root, "checkpoint_seconds"), "0 or more");
    config.threads = static_cast<int>(count_at(root, "threads", 0, 0, most_threads));
    config.output = folder / value_or<std::string>(root, "output", "run");
    config.scratch = lookup(root, "scratch").is_null() ? config.output / "scratch"
                                                       : folder / value_or<std::string>(root, "scratch", "");
    return config;
  } catch (const Json::exception& error) {
    throw_input("config: {}\n  in {}", excerpt(error.what(), longest_json_message), where);
  } catch (const Error& error) {
    throw Error(error.kind(), fmt::format("{}\n  in {}", error.what(), where));
  }
}

std::string method_name(Method method) {
  for (const auto& [name, value] : methods())
    if (value == method) return name;
  throw_fault("method_name: no such method");
}

std::string radius_name(const LayerSettings& settings) {
  const RadiusRule& radius = settings.radius;
  if (radius.kind == RadiusKind::value) return fmt::format("{:g}", radius.value);
  if (radius.kind == RadiusKind::search)
    return fmt::format("{} x {:g} to {:g} x max per {}", radius.candidates, settings.scale() / radius.span,
                       settings.scale(), radius.per_neuron ? "neuron" : "layer");
  return fmt::format("{:g} x {} per {}", settings.scale(), radius.kind == RadiusKind::median ? "median" : "max",
                     radius.per_neuron ? "neuron" : "layer");
}

}  // namespace gpfq::job
