// SPDX-License-Identifier: Apache-2.0
// Loops over tensors of any rank with a stride per operand: axes that run through together become
// one, and what is left is handed on line by line.
#pragma once

#include <array>
#include <vector>

#include "gpfq/base/types.hpp"

namespace gpfq::net {

/// One loop: how often, and how far each operand moves per step.
template <std::size_t operands>
struct LoopAxis {
  Index extent = 1;
  std::array<Index, operands> strides{};
};

template <std::size_t operands>
using LoopNest = std::vector<LoopAxis<operands>>;

/// Strides of a row-major tensor.
[[nodiscard]] inline std::vector<Index> row_major_strides(const Shape& shape) {
  std::vector<Index> strides(shape.size(), 1);
  for (std::size_t axis = shape.size(); axis-- > 1;) strides[axis - 1] = strides[axis] * shape[axis];
  return strides;
}

/// The same loops in the same order with axes of extent 1 left out and neighbours merged where every operand allows it.
/// At least one axis remains; none is empty, so at most 62 do.
template <std::size_t operands>
[[nodiscard]] LoopNest<operands> merged(const LoopNest<operands>& nest) {
  LoopNest<operands> result;
  for (const LoopAxis<operands>& axis : nest) {
    if (axis.extent == 1) continue;
    bool joins = !result.empty();
    for (std::size_t i = 0; joins && i < operands; ++i)
      joins = result.back().strides[i] == axis.extent * axis.strides[i];
    if (joins) {
      result.back().extent *= axis.extent;
      result.back().strides = axis.strides;
    } else {
      result.push_back(axis);
    }
  }
  if (result.empty()) result.emplace_back();
  return result;
}

/// body(innermost axis, offset of each operand) for every line of a merged nest, outer loops first to last.
template <std::size_t operands, class Body>
void for_each_line(const LoopNest<operands>& nest, const Body& body, std::size_t depth = 0,
                   const std::array<Index, operands>& offsets = {}) {
  if (depth + 1 == nest.size()) return body(nest.back(), offsets);
  std::array<Index, operands> at = offsets;
  for (Index step = 0; step < nest[depth].extent; ++step) {
    for_each_line(nest, body, depth + 1, at);
    for (std::size_t i = 0; i < operands; ++i) at[i] += nest[depth].strides[i];
  }
}

}  // namespace gpfq::net
