// SPDX-License-Identifier: Apache-2.0
// The index and shape types that every room shares: signed 64-bit, because one layer alone may
// hold more than 2^31 values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace gpfq {

using Index = std::int64_t;

/// Extents of a tensor, outermost first. Per-sample shapes leave the sample dimension out.
using Shape = std::vector<Index>;

/// More dimensions than this no file format here has (HDF5's limit).
inline constexpr std::size_t most_dimensions = 32;

/// Product of the extents; 1 for an empty shape.
/// @throws Error (input) when there are too many extents, one is negative or the product exceeds 2^62.
[[nodiscard]] Index element_count(const Shape& shape);

/// "28x28x1"; "scalar" for an empty shape.
[[nodiscard]] std::string to_string(const Shape& shape);

/// Smallest multiple of `step` (> 0) that is at least `value` (>= 0).
[[nodiscard]] constexpr Index round_up(Index value, Index step) { return (value + step - 1) / step * step; }

/// Number of pieces of size `step` (> 0) that cover `value` (>= 0).
[[nodiscard]] constexpr Index ceil_div(Index value, Index step) { return (value + step - 1) / step; }

}  // namespace gpfq
