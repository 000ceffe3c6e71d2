// SPDX-License-Identifier: Apache-2.0
// Shape arithmetic with the overflow checks that shapes from files need.
#include "gpfq/base/types.hpp"

#include <algorithm>

#include "gpfq/base/error.hpp"

namespace gpfq {

Index element_count(const Shape& shape) {
  constexpr Index limit = Index{1} << 62;
  if (shape.size() > most_dimensions)
    throw_input("a shape has {} dimensions, expected at most {}", shape.size(), most_dimensions);
  Index count = 1;
  for (const Index extent : shape)
    if (extent < 0) throw_input("shape {} has a negative extent", to_string(shape));
  for (const Index extent : shape) {
    if (extent == 0) return 0;
    if (count > limit / extent) throw_input("shape {} holds more than 2^62 elements", to_string(shape));
    count *= extent;
  }
  return count;
}

std::string to_string(const Shape& shape) {
  if (shape.empty()) return "scalar";
  std::string text = std::to_string(shape.front());
  for (std::size_t i = 1; i < std::min(shape.size(), most_dimensions); ++i) {
    text += 'x';
    text += std::to_string(shape[i]);
  }
  return shape.size() > most_dimensions ? text + "x..." : text;
}

}  // namespace gpfq
