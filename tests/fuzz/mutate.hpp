// SPDX-License-Identifier: Apache-2.0
// Changes to valid files, drawn from a seeded generator: the same seed gives the same input everywhere.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "importer.hpp"

namespace gpfq::fuzz {

/// No input is larger.
inline constexpr std::size_t most_input_bytes = (std::size_t{1} << 20) - 1;

/// One of `seeds` after one to eight changes: bits and bytes, ranges cut, doubled, moved or taken from another seed,
/// integers at their limits, varints, tokens of JSON, numbers and nesting.
[[nodiscard]] std::string mutated(const std::vector<std::string>& seeds, Kind kind, std::uint64_t seed);

}  // namespace gpfq::fuzz
