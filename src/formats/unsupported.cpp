// SPDX-License-Identifier: Apache-2.0
// One message for everything that cannot be imported, grouped by kind.
#include "formats/unsupported.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "gpfq/base/error.hpp"

namespace gpfq::formats {

void UnsupportedList::add(const std::string& kind, const std::string& name) {
  std::vector<std::string>& names = names_[kind];
  if (names.empty()) kinds_.push_back(kind);
  names.push_back(fmt::format("'{}'", name));
}

void UnsupportedList::throw_if_any(const std::string& noun) const {
  if (empty()) return;
  std::vector<std::string> parts;
  parts.reserve(kinds_.size());
  for (const std::string& kind : kinds_)
    parts.push_back(fmt::format("{} ({})", kind, fmt::join(names_.at(kind), ", ")));
  throw_input("unsupported {}: {}", noun, fmt::join(parts, "; "));
}

}  // namespace gpfq::formats
