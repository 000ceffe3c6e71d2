// SPDX-License-Identifier: Apache-2.0
// Values of a config as JSON: looked up by dotted name, checked, and refused with the key in the message.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gpfq/base/error.hpp"
#include "gpfq/job/config.hpp"

namespace gpfq::job {

using Json = nlohmann::json;

/// The key of the table with this name, or null. Keys of a list's entries are "list[].key".
[[nodiscard]] const ConfigKey* find_key(const std::string& name);
/// True when the table has keys below this name.
[[nodiscard]] bool is_section(const std::string& name);
/// @throws Error (input), always, naming the nearest known key.
[[noreturn]] void unknown_key(const std::string& name);

/// @throws Error (input) naming key, value and what is expected, unless `holds`.
void expect(bool holds, const std::string& name, const Json& found, const std::string& expected);

/// Checks names and types of an object's keys; sections recurse.
void check_keys(const Json& object, const std::string& prefix);

/// The value at a dotted name; null where it is absent.
[[nodiscard]] Json lookup(const Json& root, const std::string& name);
/// A text that must be there. @param prefix  before the name in messages
[[nodiscard]] std::string required_string(const Json& root, const std::string& name, const std::string& prefix = "");
/// An integer from `least` to `most`.
[[nodiscard]] Index count_at(const Json& root, const std::string& name, Index fallback, Index least, Index most,
                             const std::string& prefix = "");
/// One number or a list of them.
[[nodiscard]] std::vector<double> numbers_at(const Json& root, const std::string& name, double fallback);

template <class T>
[[nodiscard]] T value_or(const Json& root, const std::string& name, T fallback) {
  const Json found = lookup(root, name);
  return found.is_null() ? fallback : found.get<T>();
}

/// The value that a word stands for.
template <class T>
[[nodiscard]] T choose(const Json& root, const std::string& name, const std::map<std::string, T>& choices, T fallback,
                       const std::string& prefix = "") {
  const Json found = lookup(root, name);
  if (found.is_null()) return fallback;
  const auto choice = choices.find(found.get<std::string>());
  std::string known;
  for (const auto& [word, unused] : choices) known += (known.empty() ? "" : ", ") + word;
  expect(choice != choices.end(), prefix + name, found, "one of " + known);
  return choice->second;
}

}  // namespace gpfq::job
