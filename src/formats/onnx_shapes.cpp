// SPDX-License-Identifier: Apache-2.0
// A small constant folder for shapes, and the operators that only rearrange a sample's values.
#include "formats/onnx_shapes.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "gpfq/base/error.hpp"

namespace gpfq::formats::onnx_reader {

namespace {

Integers require_integers(const Call& call, std::size_t i) {
  std::optional<Integers> found = call.integers(i);
  if (!found) throw Unsupported(fmt::format("whose input {} is no constant or shape", i));
  return std::move(*found);
}

/// Plain numbers, where a batch size makes no sense (indexes, axes).
std::vector<Index> require_numbers(const Call& call, std::size_t i) {
  std::vector<Index> numbers;
  for (const Extent& extent : require_integers(call, i).values) {
    if (extent.is_batch) throw Unsupported("that indexes with the batch size");
    numbers.push_back(extent.value);
  }
  return numbers;
}

/// Axis `axis` of `rank`, counted from the end where negative.
Index normalized(const Call& call, Index axis, Index rank) {
  const Index result = axis < 0 ? axis + rank : axis;
  if (result < 0 || result >= rank) {
    throw_input("node '{}' ({}): axis {} of {} dimensions", display_name(call.node()), call.type(), axis, rank);
  }
  return result;
}

Index rank_with_batch(const Shape& sample) { return static_cast<Index>(sample.size()) + 1; }

/// The axes of Squeeze and Unsqueeze: an attribute before opset 13, then an input.
std::optional<std::vector<Index>> axes_of(const Call& call) {
  if (call.has_input(1)) return require_numbers(call, 1);
  return call.integers_attribute("axes");
}

/// One value per sample stays a vector of one.
Value reshape(const Call& call, Shape shape) {
  if (shape.empty()) shape = {1};
  return Activation{call.builder().add_reshape(call.node().name(), call.activation(0), shape)};
}

Integers with_rank_toggled(const Call& call, bool is_scalar) {
  Integers values = require_integers(call, 0);
  if (is_scalar && values.values.size() != 1) throw Unsupported("of several integers to one");
  values.is_scalar = is_scalar;
  return values;
}

/// Clamps a slice bound as the operator does, counting from the end where negative.
Index slice_bound(Index bound, Index size) { return std::clamp<Index>(bound < 0 ? bound + size : bound, 0, size); }

}  // namespace

Shape reshaped(std::vector<Extent> target, const Shape& sample, Index fixed_batch, bool allow_zero) {
  if (target.empty()) throw Unsupported("to a scalar");
  for (std::size_t i = 0; i < target.size(); ++i) {
    if (target[i].is_batch || target[i].value != 0) continue;
    if (allow_zero || i > sample.size()) throw Unsupported("to an empty shape");
    target[i] = i == 0 ? Extent{0, true} : Extent{sample[i - 1], false};
  }
  Shape shape;
  std::optional<std::size_t> open;
  Index known = 1;
  for (std::size_t i = 1; i < target.size(); ++i) {
    if (target[i].is_batch || target[i].value < -1) throw Unsupported("that moves the batch dimension");
    if (target[i].value == -1 && open) throw Unsupported("with two open extents");
    if (target[i].value == -1) open = i - 1;
    shape.push_back(target[i].value);
    if (target[i].value != -1) known = element_count({known, target[i].value});
  }
  const Index count = element_count(sample);
  if (open) {
    if (known < 1 || count % known != 0) throw Unsupported("that does not keep samples apart");
    shape[*open] = count / known;
  }
  const Extent& first = target.front();
  const bool is_batch = first.is_batch || first.value == (fixed_batch > 0 ? fixed_batch : 1);
  const bool may_follow = !open && first.value == -1;  // the open extent is then the batch
  if ((!is_batch && !may_follow) || element_count(shape) != count)
    throw Unsupported("that does not keep samples apart");
  return shape;
}

Value convert_shape(const Call& call) {
  std::vector<Extent> extents;
  if (call.is_activation(0)) {
    extents.push_back({call.fixed_batch(), true});
    for (const Index extent : call.sample_shape(0)) extents.push_back({extent, false});
  } else if (const Constant* constant = std::get_if<Constant>(&call.input(0))) {
    for (const Index extent : shape_of(*constant->tensor)) extents.push_back({extent, false});
    if (constant->is_transposed) std::reverse(extents.begin(), extents.end());
  } else {
    throw Unsupported("of a shape");
  }
  const Index size = static_cast<Index>(extents.size());
  const Index first = slice_bound(call.integer_attribute("start", 0), size);
  const Index last = slice_bound(call.integer_attribute("end", size), size);
  return Integers{{extents.begin() + first, extents.begin() + std::max(first, last)}, false};
}

Value convert_gather(const Call& call) {
  const Integers from = require_integers(call, 0);
  const Integers indexes = require_integers(call, 1);
  if (call.integer_attribute("axis", 0) != 0 || from.is_scalar) throw Unsupported("along another axis than the first");
  Integers result{{}, indexes.is_scalar};
  for (const Index index : require_numbers(call, 1)) {
    const Index at = normalized(call, index, static_cast<Index>(from.values.size()));
    result.values.push_back(from.values[static_cast<std::size_t>(at)]);
  }
  return result;
}

Value convert_concat(const Call& call) {
  Integers result;
  for (std::size_t i = 0; i < static_cast<std::size_t>(call.node().input_size()); ++i) {
    if (call.is_activation(i)) throw Unsupported("of computed values");
    const Integers part = require_integers(call, i);
    result.values.insert(result.values.end(), part.values.begin(), part.values.end());
  }
  return result;
}

Value convert_slice(const Call& call) {
  if (call.is_activation(0)) throw Unsupported("of computed values");
  const Integers from = require_integers(call, 0);
  // Bounds are inputs from opset 10 on, attributes before.
  const auto bounds = [&](std::size_t i, const char* name) {
    return call.has_input(i) ? require_numbers(call, i) : call.integers_attribute(name).value_or(std::vector<Index>{});
  };
  const std::vector<Index> starts = bounds(1, "starts");
  const std::vector<Index> ends = bounds(2, "ends");
  const std::vector<Index> axes = bounds(3, "axes");
  const std::vector<Index> steps = call.has_input(4) ? require_numbers(call, 4) : std::vector<Index>{1};
  if (starts.size() != 1 || ends.size() != 1 || (!axes.empty() && axes != std::vector<Index>{0}) ||
      steps != std::vector<Index>{1}) {
    throw Unsupported("of a shape other than a range");
  }
  const Index size = static_cast<Index>(from.values.size());
  const Index first = slice_bound(starts.front(), size);
  const Index last = std::max(first, slice_bound(ends.front(), size));
  return Integers{{from.values.begin() + first, from.values.begin() + last}, false};
}

Value convert_flatten(const Call& call) {
  const Shape& sample = call.sample_shape(0);
  const Index rank = rank_with_batch(sample);
  Index axis = call.integer_attribute("axis", 1);
  if (axis < 0) axis += rank;
  if (axis < 0 || axis > rank) throw_input("node '{}' (Flatten): axis {}", display_name(call.node()), axis);
  const bool keeps_batch =
      axis == 0 ? call.fixed_batch() == 1 : element_count({sample.begin(), sample.begin() + (axis - 1)}) == 1;
  if (!keeps_batch) throw Unsupported(fmt::format("at axis {}, which mixes samples with values", axis));
  return reshape(call, {element_count(sample)});
}

Value convert_reshape(const Call& call) {
  if (!call.is_activation(0)) {
    const std::vector<Index> target = require_numbers(call, 1);
    if (call.integers(0) && target == std::vector<Index>{-1}) return with_rank_toggled(call, false);
    throw Unsupported("of a constant");
  }
  const bool allow_zero = call.integer_attribute("allowzero", 0) != 0;
  const Integers target = require_integers(call, 1);
  return reshape(call, reshaped(target.values, call.sample_shape(0), call.fixed_batch(), allow_zero));
}

Value convert_squeeze(const Call& call) {
  if (!call.is_activation(0)) return with_rank_toggled(call, true);
  const std::optional<std::vector<Index>> axes = axes_of(call);
  if (!axes) throw Unsupported("without axes");
  Shape shape = call.sample_shape(0);
  for (const Index axis : *axes) {
    const Index at = normalized(call, axis, rank_with_batch(call.sample_shape(0)));
    if (at == 0) throw Unsupported("of the batch dimension");
    Index& extent = shape[static_cast<std::size_t>(at - 1)];
    if (extent > 1) throw_input("node '{}' (Squeeze): extent {} is not 1", display_name(call.node()), extent);
    extent = 0;  // marked; no extent of a sample is 0
  }
  shape.erase(std::remove(shape.begin(), shape.end(), 0), shape.end());
  return reshape(call, shape);
}

Value convert_unsqueeze(const Call& call) {
  if (!call.is_activation(0)) {
    if (!require_integers(call, 0).is_scalar) throw Unsupported("of a shape");
    return with_rank_toggled(call, false);
  }
  std::vector<Index> axes = axes_of(call).value_or(std::vector<Index>{});
  Shape shape = call.sample_shape(0);
  const Index rank = rank_with_batch(shape) + static_cast<Index>(axes.size());
  for (Index& axis : axes) axis = normalized(call, axis, rank);
  std::sort(axes.begin(), axes.end());
  if (axes.empty() || std::adjacent_find(axes.begin(), axes.end()) != axes.end()) {
    throw_input("node '{}' (Unsqueeze): axes [{}]", display_name(call.node()), fmt::join(axes, ", "));
  }
  if (axes.front() == 0) throw Unsupported("before the batch dimension");
  for (const Index axis : axes) shape.insert(shape.begin() + (axis - 1), 1);
  return reshape(call, shape);
}

Value convert_transpose(const Call& call) {
  const std::optional<std::vector<Index>> order = call.integers_attribute("perm");
  if (!call.is_activation(0)) {
    Constant matrix = call.constant(0);
    if (shape_of(*matrix.tensor).size() != 2) throw Unsupported("of a constant that is no matrix");
    const bool is_identity = order == std::vector<Index>{0, 1};
    if (!is_identity) matrix.is_transposed = !matrix.is_transposed;
    return matrix;
  }
  const Shape& sample = call.sample_shape(0);
  if (!order || static_cast<Index>(order->size()) != rank_with_batch(sample) || order->front() != 0) {
    throw Unsupported("of the batch dimension");
  }
  // Moving extents of 1 about keeps the values in order; anything else would not.
  Shape shape;
  Index last_moved = 0;
  for (std::size_t i = 1; i < order->size(); ++i) {
    const Index axis = normalized(call, (*order)[i], rank_with_batch(sample));
    const Index extent = axis == 0 ? 0 : sample[static_cast<std::size_t>(axis - 1)];
    if (extent == 0 || (extent > 1 && axis < last_moved)) {
      throw Unsupported(fmt::format("that reorders the values (perm [{}])", fmt::join(*order, ", ")));
    }
    if (extent > 1) last_moved = axis;
    shape.push_back(extent);
  }
  return reshape(call, shape);
}

std::optional<Integers> integer_arithmetic(const Call& call) {
  const std::optional<Integers> left = call.integers(0);
  const std::optional<Integers> right = call.integers(1);
  if (!left || !right) return std::nullopt;
  const std::size_t size = std::max(left->values.size(), right->values.size());
  Integers result{{}, left->is_scalar && right->is_scalar};
  for (std::size_t i = 0; i < size; ++i) {
    if ((left->values.size() != size && left->values.size() != 1) ||
        (right->values.size() != size && right->values.size() != 1)) {
      throw Unsupported("of shapes of different lengths");
    }
    const Extent& a = left->values[left->values.size() == 1 ? 0 : i];
    const Extent& b = right->values[right->values.size() == 1 ? 0 : i];
    const bool keeps_batch =
        a.is_batch && !b.is_batch && b.value == (call.type() == "Mul" || call.type() == "Div" ? 1 : 0);
    if (keeps_batch) {
      result.values.push_back(a);
      continue;
    }
    constexpr Index limit = Index{1} << 30;  // no extent in sight is larger; keeps the products in range
    const auto is_large = [](const Extent& extent) { return extent.value < -limit || extent.value > limit; };
    if (a.is_batch || b.is_batch || is_large(a) || is_large(b)) throw Unsupported("of the batch size");
    if (call.type() == "Div" && b.value == 0) throw_input("node '{}' divides by zero", display_name(call.node()));
    result.values.push_back({call.type() == "Mul"   ? a.value * b.value
                             : call.type() == "Div" ? a.value / b.value
                             : call.type() == "Sub" ? a.value - b.value
                                                    : a.value + b.value,
                             false});
  }
  return result;
}

}  // namespace gpfq::formats::onnx_reader
