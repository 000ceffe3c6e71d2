// SPDX-License-Identifier: Apache-2.0
// The table of keys held against a JSON document.
#include "job/config_values.hpp"

#include <algorithm>
#include <sstream>

#include "gpfq/base/text.hpp"

namespace gpfq::job {
namespace {

void check_type(const ConfigKey& key, const Json& value, const std::string& name) {
  if (value.is_null()) {
    expect(key.default_value == "null", name, value, "a " + key.type);
    return;
  }
  if (key.type == "string") expect(value.is_string(), name, value, "a string");
  if (key.type == "integer") expect(value.is_number_integer(), name, value, "an integer");
  if (key.type == "number") expect(value.is_number(), name, value, "a number");
  if (key.type == "boolean") expect(value.is_boolean(), name, value, "true or false");
  if (key.type == "size")
    expect(value.is_string() || value.is_number_integer(), name, value, "a size such as \"4GiB\"");
  if (key.type == "objects") expect(value.is_array(), name, value, "a list of objects");
  if (key.type == "numbers") {
    const bool numbers =
        value.is_number() || (value.is_array() && !value.empty() &&
                              std::all_of(value.begin(), value.end(), [](const Json& v) { return v.is_number(); }));
    expect(numbers, name, value, "a number or a list of numbers");
  }
}

bool is_of_list(const std::string& name) { return name.find('[') != std::string::npos; }

/// Keys and sections that may have been meant: those of lists' entries are not for the config itself.
std::vector<std::string> candidates_for(const std::string& name) {
  std::vector<std::string> names;
  for (const ConfigKey& key : config_keys()) {
    if (is_of_list(key.name) != is_of_list(name)) continue;
    names.push_back(key.name);
    for (std::size_t dot = key.name.find('.'); dot != std::string::npos; dot = key.name.find('.', dot + 1))
      if (key.name[dot - 1] != ']') names.push_back(key.name.substr(0, dot));
  }
  return names;
}

}  // namespace

const ConfigKey* find_key(const std::string& name) {
  for (const ConfigKey& key : config_keys())
    if (key.name == name) return &key;
  return nullptr;
}

bool is_section(const std::string& name) {
  return std::any_of(config_keys().begin(), config_keys().end(),
                     [&](const ConfigKey& key) { return key.name.compare(0, name.size() + 1, name + ".") == 0; });
}

void unknown_key(const std::string& name) {
  const std::vector<std::string> names = candidates_for(name);
  std::string meant = nearest_word(name, names);
  if (meant.empty()) {
    // "samples" for "calibration.samples": compare the last part alone.
    const std::string last = name.substr(name.rfind('.') + 1);
    for (const std::string& known : names)
      if (known.substr(known.rfind('.') + 1) == last) meant = known;
  }
  throw_input("config: unknown key '{}'{}", excerpt(name),
              meant.empty() ? "; gpfq quantize --help lists them" : fmt::format("; did you mean '{}'?", meant));
}

void expect(bool holds, const std::string& name, const Json& found, const std::string& expected) {
  if (!holds) throw_input("config: '{}' is {}, expected {}", excerpt(name), excerpt(found.dump()), expected);
}

void check_keys(const Json& object, const std::string& prefix) {
  for (const auto& [name, value] : object.items()) {
    const std::string full = prefix.empty() ? name : prefix + "." + name;
    if (is_of_list(name)) throw_input("config: unknown key '{}'", excerpt(full));
    if (const ConfigKey* key = find_key(full)) {
      check_type(*key, value, full);
    } else if (is_section(full)) {
      if (value.is_null() && (full == "evaluation" || full == "layers[].quantized_inputs")) continue;
      expect(value.is_object(), full, value, "an object");
      check_keys(value, full);
    } else {
      unknown_key(full);
    }
  }
}

Json lookup(const Json& root, const std::string& name) {
  const Json* at = &root;
  std::istringstream parts(name);
  for (std::string part; std::getline(parts, part, '.');) {
    if (!at->is_object() || !at->contains(part)) return nullptr;
    at = &at->at(part);
  }
  return *at;
}

std::string required_string(const Json& root, const std::string& name, const std::string& prefix) {
  const Json found = lookup(root, name);
  if (found.is_null()) throw_input("config: '{}{}' is missing", prefix, name);
  if (found.get<std::string>().empty()) throw_input("config: '{}{}' is empty", prefix, name);
  return found.get<std::string>();
}

Index count_at(const Json& root, const std::string& name, Index fallback, Index least, Index most,
               const std::string& prefix) {
  const Json found = lookup(root, name);
  if (found.is_null()) return fallback;
  const bool fits = found.is_number_unsigned() ? found.get<std::uint64_t>() <= static_cast<std::uint64_t>(most)
                                               : found.get<Index>() <= most;
  expect(fits && found.get<Index>() >= least, prefix + name, found, fmt::format("{} to {}", least, most));
  return found.get<Index>();
}

std::vector<double> numbers_at(const Json& root, const std::string& name, double fallback) {
  const Json found = lookup(root, name);
  if (found.is_null()) return {fallback};
  return found.is_array() ? found.get<std::vector<double>>() : std::vector<double>{found.get<double>()};
}

}  // namespace gpfq::job
