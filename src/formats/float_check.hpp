// SPDX-License-Identifier: Apache-2.0
// The check that every tensor from a file passes as it is read: a NaN or infinity in a weight
// would quietly spoil every neuron that it meets.
#pragma once

#include <span>
#include <string>

#include "gpfq/base/types.hpp"

namespace gpfq::formats {

/// @param values  consecutive elements (row-major) of a tensor of `shape`, from flat index `first` on
/// @throws Error (input) naming the tensor and the index of the first value that is not finite.
void require_finite(std::span<const float> values, Index first, const Shape& shape, const std::string& tensor,
                    const std::string& where);

/// The index along each dimension of the element at `flat`.
[[nodiscard]] Shape unflatten(Index flat, const Shape& shape);

}  // namespace gpfq::formats
