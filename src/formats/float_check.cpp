// SPDX-License-Identifier: Apache-2.0
// Finds the first value that is not finite and says where it stands.
#include "formats/float_check.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "gpfq/base/error.hpp"

namespace gpfq::formats {

Shape unflatten(Index flat, const Shape& shape) {
  Shape index(shape.size(), 0);
  for (std::size_t d = shape.size(); d-- > 0;) {
    if (shape[d] < 1) continue;
    index[d] = flat % shape[d];
    flat /= shape[d];
  }
  return index;
}

void require_finite(std::span<const float> values, Index first, const Shape& shape, const std::string& tensor,
                    const std::string& where) {
  const auto bad = std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
  if (bad == values.end()) return;
  throw_input("{}: tensor '{}' holds {} at index [{}]; expected finite float32 values", where, tensor, *bad,
              fmt::join(unflatten(first + (bad - values.begin()), shape), ", "));
}

}  // namespace gpfq::formats
