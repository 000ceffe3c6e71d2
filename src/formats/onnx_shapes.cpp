// SPDX-License-Identifier: Apache-2.0
// What only rearranges values, of samples and of constants, and the integers that shapes are
// computed with.
#include "formats/onnx_shapes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "gpfq/base/error.hpp"

namespace gpfq::formats::onnx_reader {

namespace {

constexpr Index most_steps = Index{1} << 30;  // of a strided slice; no extent in sight is larger

Integers require_integers(const Call& call, std::size_t i) {
  std::optional<Integers> found = call.integers(i);
  if (!found) throw Unsupported(fmt::format("whose input {} is no constant or shape", i));
  return std::move(*found);
}

/// One value per sample stays a vector of one.
Value reshape(const Call& call, Shape shape) {
  if (shape.empty()) shape = {1};
  return Activation{call.builder().add_reshape(call.node().name(), call.activation(0), shape)};
}

/// A floating-point constant under another shape; the values are not touched.
Value reshaped_constant(const Call& call, Shape shape) {
  Constant constant = call.constant(0);
  if (constant.is_transposed) throw Unsupported("of a transposed constant");
  constant.extents = std::move(shape);
  return constant;
}

Shape with_batch(const Shape& sample) {
  Shape shape = sample;
  shape.insert(shape.begin(), 1);
  return shape;
}

/// The per-sample part of a shape whose first extent must still be the batch (here 1).
Shape without_batch(const Shape& shape) { return {shape.begin() + 1, shape.end()}; }

/// start, end and step along one axis.
struct Bounds {
  Index axis = 0;
  Index start = 0;
  Index end = 0;
  Index step = 1;
};

/// They are inputs from opset 10 on, attributes before.
std::vector<Bounds> bounds_of(const Call& call) {
  const std::vector<Index> starts = call.numbers(1, "starts").value_or(std::vector<Index>{});
  const std::vector<Index> ends = call.numbers(2, "ends").value_or(std::vector<Index>{});
  const auto axes = call.numbers(3, "axes");
  const auto steps = call.has_input(4) ? std::optional(call.numbers(4)) : std::nullopt;
  std::vector<Bounds> result;
  for (std::size_t i = 0; i < starts.size(); ++i) {
    const bool is_complete = i < ends.size() && (!axes || i < axes->size()) && (!steps || i < steps->size());
    if (!is_complete) throw_input("{} starts, {} ends", starts.size(), ends.size());
    result.push_back({axes ? (*axes)[i] : static_cast<Index>(i), starts[i], ends[i], steps ? (*steps)[i] : 1});
  }
  return result;
}

/// Exporters write "to the end" as one of these.
bool is_open_end(Index end) { return end >= std::numeric_limits<std::int32_t>::max(); }

/// A part of an axis is a slice; every step-th value of it, from its first one on, a subsampling.
Value slice_sample(const Call& call) {
  int result = call.activation(0);
  const std::size_t rank = call.sample_shape(0).size() + 1;
  for (const Bounds& bounds : bounds_of(call)) {
    const std::size_t axis = axis_of(bounds.axis, rank);
    const Index extent = axis == 0 ? call.fixed_batch() : call.builder().shape(result)[axis - 1];
    const bool is_whole = bounds.start == 0 && (is_open_end(bounds.end) || (extent > 0 && bounds.end >= extent));
    if (bounds.step < 1 || bounds.step > most_steps || (axis == 0 && bounds.step != 1)) {
      throw Unsupported(fmt::format("of samples with step {} along axis {}", bounds.step, axis));
    }
    if (is_whole && bounds.step == 1) continue;
    if (axis == 0) throw Unsupported("of the batch dimension");
    const Range range = slice_range(extent, bounds.start, bounds.end, bounds.step);
    if (range.count < 1) throw Unsupported(fmt::format("of samples that takes nothing of axis {}", axis));
    if (range.first != 0 || range.count != ceil_div(extent, bounds.step)) {
      const Index reach = (range.count - 1) * bounds.step + 1;
      result = call.builder().add_slice(call.node().name(), result, axis - 1, range.first, reach);
    }
    if (bounds.step > 1) result = call.builder().add_subsampling(call.node().name(), result, axis - 1, bounds.step);
  }
  return Activation{result};
}

/// One value along an axis, which goes (a scalar index), or neighbouring values, ascending.
Value gather_sample(const Call& call) {
  const std::vector<Index> indexes = call.numbers(1);
  const Shape index_shape = require_integers(call, 1).shape;
  const Shape sample = call.sample_shape(0);
  const std::size_t axis = axis_of(call.integer_attribute("axis", 0), sample.size() + 1);
  if (axis == 0) throw Unsupported("of the batch dimension");
  if (index_shape.size() > 1 || indexes.empty()) throw Unsupported("of samples by a table of indexes");
  const std::size_t extent = static_cast<std::size_t>(sample[axis - 1]);
  const Index first = static_cast<Index>(axis_of(indexes.front(), extent));
  for (std::size_t i = 0; i < indexes.size(); ++i) {
    if (axis_of(indexes[i], extent) != static_cast<std::size_t>(first) + i)
      throw Unsupported("of samples by indexes that do not ascend by one");
  }
  const Index count = static_cast<Index>(indexes.size());
  const int part = call.builder().add_slice(call.node().name(), call.activation(0), axis - 1, first, count);
  if (!index_shape.empty()) return Activation{part};
  Shape rest = sample;
  rest.erase(rest.begin() + static_cast<Index>(axis) - 1);
  if (rest.empty()) rest = {1};  // one value per sample stays a vector of one
  return Activation{call.builder().add_reshape(call.node().name(), part, rest)};
}

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
    for (const Index extent : constant->shape()) extents.push_back({extent, false});
  } else {
    for (const Index extent : require_integers(call, 0).shape) extents.push_back({extent, false});
  }
  const Index size = static_cast<Index>(extents.size());
  return sliced(integer_vector(std::move(extents)), 0, call.integer_attribute("start", 0),
                call.integer_attribute("end", size), 1);
}

Value convert_constant_of_shape(const Call& call) {
  Index value = 0;
  if (const onnx::AttributeProto* attribute = call.attribute("value")) {
    if (!attribute->has_t() || is_floating(attribute->t())) throw Unsupported("of floating-point values");
    const std::vector<Index> values = read_integers(call.file(), attribute->t());
    if (values.size() != 1) throw_input("attribute 'value' has {} values; expected one", values.size());
    value = values.front();
  } else {
    throw Unsupported("of floating-point values");  // the operator's default is float 0
  }
  return filled(call.numbers(0), value);
}

Value convert_gather(const Call& call) {
  if (call.is_activation(0)) return gather_sample(call);
  const Integers from = require_integers(call, 0);
  return gathered(from, call.numbers(1), require_integers(call, 1).shape, call.integer_attribute("axis", 0));
}

Value convert_concat(const Call& call) {
  const std::size_t count = static_cast<std::size_t>(call.node().input_size());
  std::size_t activations = 0;
  for (std::size_t i = 0; i < count; ++i) activations += call.is_activation(i) ? 1 : 0;
  if (activations == 0) {
    std::vector<Integers> parts;
    for (std::size_t i = 0; i < count; ++i) parts.push_back(require_integers(call, i));
    if (parts.empty()) throw_input("no inputs");
    return concatenated(parts, call.integer_attribute("axis", 0));
  }
  if (activations != count) throw Unsupported("of computed values and constants");
  const std::size_t axis = axis_of(call.integer_attribute("axis", 0), call.sample_shape(0).size() + 1);
  if (axis == 0) throw Unsupported("of the batch dimension");
  std::vector<int> inputs;
  for (std::size_t i = 0; i < count; ++i) inputs.push_back(call.activation(i));
  if (count == 1) return Activation{inputs.front()};
  return call.add(net::Op::concat, std::move(inputs), {{"axis", {static_cast<double>(axis - 1)}}});
}

Value convert_slice(const Call& call) {
  if (call.is_activation(0)) return slice_sample(call);
  Integers result = require_integers(call, 0);
  for (const Bounds& bounds : bounds_of(call)) {
    result = sliced(result, bounds.axis, bounds.start, bounds.end, bounds.step);
  }
  return result;
}

Value convert_flatten(const Call& call) {
  const Shape& sample = call.sample_shape(0);
  const Index rank = static_cast<Index>(sample.size()) + 1;
  Index axis = call.integer_attribute("axis", 1);
  if (axis < 0) axis += rank;
  if (axis < 0 || axis > rank) throw_input("node '{}' (Flatten): axis {}", display_name(call.node()), axis);
  const bool keeps_batch =
      axis == 0 ? call.fixed_batch() == 1 : element_count({sample.begin(), sample.begin() + (axis - 1)}) == 1;
  if (!keeps_batch) throw Unsupported(fmt::format("at axis {}, which mixes samples with values", axis));
  return reshape(call, {element_count(sample)});
}

Value convert_reshape(const Call& call) {
  if (call.is_float_constant(0))
    return reshaped_constant(call, reshaped_shape(call.constant(0).shape(), call.numbers(1)));
  if (!call.is_activation(0)) return reshaped_integers(require_integers(call, 0), call.numbers(1));
  const bool allow_zero = call.integer_attribute("allowzero", 0) != 0;
  const Integers target = require_integers(call, 1);
  return reshape(call, reshaped(target.values, call.sample_shape(0), call.fixed_batch(), allow_zero));
}

Value convert_squeeze(const Call& call) {
  const std::optional<std::vector<Index>> axes = call.numbers(1, "axes");
  const std::vector<Index> listed = axes.value_or(std::vector<Index>{});
  if (call.is_float_constant(0)) return reshaped_constant(call, squeezed_shape(call.constant(0).shape(), listed));
  if (!call.is_activation(0)) return squeezed(require_integers(call, 0), listed);
  if (!axes) throw Unsupported("without axes");
  const Shape shape = with_batch(call.sample_shape(0));
  for (const Index axis : listed) {
    if (axis_of(axis, shape.size()) == 0) throw Unsupported("of the batch dimension");
  }
  return listed.empty() ? call.input(0) : reshape(call, without_batch(squeezed_shape(shape, listed)));
}

Value convert_unsqueeze(const Call& call) {
  const std::vector<Index> axes = call.numbers(1, "axes").value_or(std::vector<Index>{});
  if (call.is_float_constant(0)) return reshaped_constant(call, unsqueezed_shape(call.constant(0).shape(), axes));
  if (!call.is_activation(0)) return unsqueezed(require_integers(call, 0), axes);
  const Shape shape = with_batch(call.sample_shape(0));
  const Shape target = unsqueezed_shape(shape, axes);
  const auto is_first = [&](Index axis) { return axis_of(axis, target.size()) == 0; };
  if (std::any_of(axes.begin(), axes.end(), is_first)) throw Unsupported("before the batch dimension");
  return reshape(call, without_batch(target));
}

Value convert_transpose(const Call& call) {
  const std::optional<std::vector<Index>> order = call.integers_attribute("perm");
  if (call.is_float_constant(0)) {
    Constant matrix = call.constant(0);
    if (matrix.shape().size() != 2) throw Unsupported("of a constant that is no matrix");
    const bool is_identity = order == std::vector<Index>{0, 1};
    if (!is_identity) matrix.is_transposed = !matrix.is_transposed;
    return matrix;
  }
  if (!call.is_activation(0)) return transposed(require_integers(call, 0), order.value_or(std::vector<Index>{}));
  const std::size_t rank = call.sample_shape(0).size() + 1;
  if (!order || order->size() != rank || order->front() != 0) throw Unsupported("of the batch dimension");
  std::vector<std::size_t> perm;
  for (std::size_t i = 1; i < rank; ++i) {
    const std::size_t axis = axis_of((*order)[i], rank);
    if (axis == 0 || std::find(perm.begin(), perm.end(), axis - 1) != perm.end()) {
      throw_input("perm names axis {} twice", axis);
    }
    perm.push_back(axis - 1);
  }
  return Activation{call.builder().add_transpose(call.node().name(), call.activation(0), perm)};
}

std::optional<Integers> integer_arithmetic(const Call& call) {
  const std::optional<Integers> left = call.integers(0);
  const std::optional<Integers> right = call.integers(1);
  if (!left || !right) return std::nullopt;
  return combined(call.type(), *left, *right);
}

}  // namespace gpfq::formats::onnx_reader
