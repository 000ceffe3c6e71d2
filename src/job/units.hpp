// SPDX-License-Identifier: Apache-2.0
// Sizes and units that the plan, its estimates and its models of other machines count in.
#pragma once

#include <cstdint>

#include "gpfq/base/types.hpp"

namespace gpfq::job {

inline constexpr Index float_bytes = sizeof(float);
/// An entry of a sum in fixed point.
inline constexpr Index sum_bytes = sizeof(std::int64_t);
inline constexpr double giga = 1e9;
/// Values of a layer's rows that are looked at together, where any number of rows would do.
inline constexpr Index slab_floats = Index{1} << 20;

[[nodiscard]] inline double real(Index value) { return static_cast<double>(value); }

}  // namespace gpfq::job
