// SPDX-License-Identifier: Apache-2.0
// Regular expressions that a config gives, for names that a model gives: neither is to hang a job.
#pragma once

#include <regex>
#include <string>

namespace gpfq::job {

/// Matching takes time in proportion to pattern times name; libstdc++'s usual way is to try all ways, which for
/// "(a*)*b" are exponentially many. Without back-references, which have no such bound.
/// @throws std::regex_error
[[nodiscard]] inline std::regex name_pattern(const std::string& text) {
#ifdef __GLIBCXX__
  return std::regex(text, std::regex_constants::ECMAScript | std::regex_constants::__polynomial);
#else
  return std::regex(text);
#endif
}

}  // namespace gpfq::job
