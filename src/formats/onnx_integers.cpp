// SPDX-License-Identifier: Apache-2.0
// Folding of integer tensors. None of them is large, so clarity comes before speed.
#include "formats/onnx_integers.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "formats/float_check.hpp"
#include "formats/unsupported.hpp"
#include "gpfq/base/error.hpp"

namespace gpfq::formats::onnx_reader {

namespace {

/// A tensor of `shape`, to be filled. @throws Unsupported where it is too large.
Integers of_shape(Shape shape) {
  const Index count = element_count(shape);
  if (count > most_integers) throw Unsupported(fmt::format("that makes {} integers", count));
  return {std::vector<Extent>(static_cast<std::size_t>(count)), std::move(shape)};
}

std::size_t flat_index(const Shape& index, const Shape& shape) {
  Index flat = 0;
  for (std::size_t d = 0; d < shape.size(); ++d) flat = flat * shape[d] + index[d];
  return static_cast<std::size_t>(flat);
}

/// result[i] = from[source(i)] for every index i of `shape`.
template <class Source>
Integers picked(const Integers& from, Shape shape, Source&& source) {
  Integers result = of_shape(std::move(shape));
  for (std::size_t i = 0; i < result.values.size(); ++i) {
    result.values[i] = from.values[flat_index(source(unflatten(static_cast<Index>(i), result.shape)), from.shape)];
  }
  return result;
}

Index combined_value(const std::string& operation, Index a, Index b) {
  if (operation == "Mul") return a * b;
  if (operation == "Sub") return a - b;
  if (operation == "Add") return a + b;
  if (b == 0) throw_input("a shape is divided by zero");
  return a / b;
}

Extent combined_extent(const std::string& operation, const Extent& a, const Extent& b) {
  const Index neutral = operation == "Mul" || operation == "Div" ? 1 : 0;
  if (a.is_batch && !b.is_batch && b.value == neutral) return a;
  if (b.is_batch && !a.is_batch && a.value == neutral && (operation == "Mul" || operation == "Add")) return b;
  constexpr Index limit = Index{1} << 30;  // no extent in sight is larger; keeps the products in range
  const auto is_large = [](const Extent& extent) { return extent.value < -limit || extent.value > limit; };
  if (a.is_batch || b.is_batch || is_large(a) || is_large(b)) throw Unsupported("of the batch size");
  return {combined_value(operation, a.value, b.value), false};
}

}  // namespace

Integers integer_vector(std::vector<Extent> values) {
  Integers result{std::move(values), {}};
  result.shape = {static_cast<Index>(result.values.size())};
  return result;
}

std::size_t axis_of(Index axis, std::size_t rank) {
  const Index size = static_cast<Index>(rank);
  if (axis < -size || axis >= size) throw_input("axis {} of {} dimensions", axis, rank);
  return static_cast<std::size_t>(axis < 0 ? axis + size : axis);
}

Range slice_range(Index extent, Index start, Index end, Index step) {
  const auto bound = [&](Index at, Index lowest, Index highest) {
    return std::clamp<Index>(at < 0 ? at + extent : at, lowest, highest);
  };
  if (step > 0) {
    const Index first = bound(start, 0, extent);
    const Index last = std::max(first, bound(end, 0, extent));
    return {first, (last - first) / step + ((last - first) % step != 0 ? 1 : 0)};
  }
  if (extent == 0) return {};
  const Index first = bound(start, 0, extent - 1);
  // −1 is before the first value; bounds further below have been counted from the end already.
  const Index last = std::min(first, bound(end, -1, extent - 1));
  if (step == -1) return {first, first - last};
  const Index stride = -std::max(step, -extent);  // a longer step takes one value as well
  return {first, (first - last + stride - 1) / stride};
}

Integers gathered(const Integers& from, const std::vector<Index>& indexes, const Shape& index_shape, Index axis) {
  const std::size_t at = axis_of(axis, from.shape.size());
  Shape shape(from.shape.begin(), from.shape.begin() + static_cast<Index>(at));
  shape.insert(shape.end(), index_shape.begin(), index_shape.end());
  shape.insert(shape.end(), from.shape.begin() + static_cast<Index>(at) + 1, from.shape.end());
  return picked(from, shape, [&](const Shape& index) {
    const auto begin = index.begin() + static_cast<Index>(at);
    const auto end = begin + static_cast<Index>(index_shape.size());
    const Index chosen = indexes[flat_index({begin, end}, index_shape)];
    Shape source(index.begin(), begin);
    source.push_back(static_cast<Index>(axis_of(chosen, static_cast<std::size_t>(from.shape[at]))));
    source.insert(source.end(), end, index.end());
    return source;
  });
}

Integers concatenated(const std::vector<Integers>& parts, Index axis) {
  require(!parts.empty(), "concatenation of nothing");
  Shape shape = parts.front().shape;
  const std::size_t at = axis_of(axis, shape.size());
  shape[at] = 0;
  for (const Integers& part : parts) {
    Shape rest = part.shape;
    if (rest.size() == shape.size()) rest[at] = shape[at];
    if (rest != shape) throw Unsupported("of shapes of different lengths");
    shape[at] += part.shape[at];
  }
  Integers result = of_shape(shape);
  Index offset = 0;
  for (const Integers& part : parts) {
    for (std::size_t i = 0; i < part.values.size(); ++i) {
      Shape index = unflatten(static_cast<Index>(i), part.shape);
      index[at] += offset;
      result.values[flat_index(index, shape)] = part.values[i];
    }
    offset += part.shape[at];
  }
  return result;
}

Integers sliced(const Integers& from, Index axis, Index start, Index end, Index step) {
  const std::size_t at = axis_of(axis, from.shape.size());
  if (step == 0) throw_input("a slice with a step of 0");
  const Range range = slice_range(from.shape[at], start, end, step);
  Shape shape = from.shape;
  shape[at] = range.count;
  return picked(from, shape, [&](Shape index) {
    index[at] = range.first + index[at] * step;
    return index;
  });
}

Integers transposed(const Integers& from, std::vector<Index> order) {
  const std::size_t rank = from.shape.size();
  if (order.empty()) {
    order.resize(rank);
    std::iota(order.rbegin(), order.rend(), 0);
  }
  std::vector<Index> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (std::size_t d = 0; d < sorted.size(); ++d) {
    if (sorted.size() != rank || sorted[d] != static_cast<Index>(d)) {
      throw_input("an order of axes [{}] for {} dimensions", fmt::join(order, ", "), rank);
    }
  }
  Shape shape;
  for (const Index axis : order) shape.push_back(from.shape[static_cast<std::size_t>(axis)]);
  return picked(from, shape, [&](const Shape& index) {
    Shape source(rank);
    for (std::size_t d = 0; d < rank; ++d) source[static_cast<std::size_t>(order[d])] = index[d];
    return source;
  });
}

Shape reshaped_shape(const Shape& shape, const std::vector<Index>& target) {
  Shape result;
  std::optional<std::size_t> open;
  Index known = 1;
  for (std::size_t d = 0; d < target.size(); ++d) {
    Index extent = target[d];
    if (extent == 0 && d < shape.size()) extent = shape[d];
    if (extent < -1 || (extent == -1 && open)) throw Unsupported("to a shape without meaning");
    if (extent == -1) open = d;
    if (extent != -1) known = element_count({known, extent});
    result.push_back(extent);
  }
  const Index count = element_count(shape);
  if (open && known > 0 && count % known == 0) result[*open] = count / known;
  const bool is_open = open && result[*open] == -1;
  if (is_open || element_count(result) != count) throw Unsupported(fmt::format("of {} values", count));
  return result;
}

Integers reshaped_integers(Integers from, const std::vector<Index>& target) {
  from.shape = reshaped_shape(from.shape, target);
  return from;
}

Shape squeezed_shape(const Shape& shape, const std::vector<Index>& axes) {
  std::vector<bool> drop(shape.size(), false);
  for (const Index axis : axes) drop[axis_of(axis, shape.size())] = true;
  Shape result;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (drop[d] && shape[d] != 1) throw_input("extent {} is not 1", shape[d]);
    if (axes.empty() ? shape[d] != 1 : !drop[d]) result.push_back(shape[d]);
  }
  return result;
}

Shape unsqueezed_shape(const Shape& shape, std::vector<Index> axes) {
  const std::size_t rank = shape.size() + axes.size();
  for (Index& axis : axes) axis = static_cast<Index>(axis_of(axis, rank));
  std::sort(axes.begin(), axes.end());
  if (axes.empty() || std::adjacent_find(axes.begin(), axes.end()) != axes.end()) {
    throw_input("axes [{}]", fmt::join(axes, ", "));
  }
  Shape result = shape;
  for (const Index axis : axes) result.insert(result.begin() + axis, 1);
  return result;
}

Integers squeezed(Integers from, const std::vector<Index>& axes) {
  from.shape = squeezed_shape(from.shape, axes);
  return from;
}

Integers unsqueezed(Integers from, std::vector<Index> axes) {
  from.shape = unsqueezed_shape(from.shape, std::move(axes));
  return from;
}

Integers filled(const std::vector<Index>& shape, Index value) {
  Integers result = of_shape(shape);
  std::fill(result.values.begin(), result.values.end(), Extent{value, false});
  return result;
}

Integers combined(const std::string& operation, const Integers& left, const Integers& right) {
  const bool left_is_single = left.values.size() == 1;
  const bool right_is_single = right.values.size() == 1;
  if (left.shape != right.shape && !left_is_single && !right_is_single) {
    throw Unsupported("of shapes of different lengths");
  }
  const bool left_is_larger = right_is_single && (!left_is_single || left.shape.size() >= right.shape.size());
  Integers result = left_is_larger || left.shape == right.shape ? left : right;
  for (std::size_t i = 0; i < result.values.size(); ++i) {
    result.values[i] =
        combined_extent(operation, left.values[left_is_single ? 0 : i], right.values[right_is_single ? 0 : i]);
  }
  return result;
}

}  // namespace gpfq::formats::onnx_reader
