// SPDX-License-Identifier: Apache-2.0
// Integers that an ONNX graph computes with, for shapes and paddings: small tensors folded as the
// file is read, in which the batch size stays a symbol.
#pragma once

#include <string>
#include <vector>

#include "gpfq/base/types.hpp"

namespace gpfq::formats::onnx_reader {

/// One extent in a computed shape. The batch is symbolic: it may have any size.
struct Extent {
  Index value = 0;
  bool is_batch = false;
};

/// A tensor of them, row-major; an empty shape is a scalar.
struct Integers {
  std::vector<Extent> values;
  Shape shape;

  [[nodiscard]] bool is_scalar() const { return shape.empty(); }
};

/// More integers than this are no shape; the limit keeps a small file from making large tensors.
inline constexpr Index most_integers = 1024;

/// A vector of `values`.
[[nodiscard]] Integers integer_vector(std::vector<Extent> values);

// The operators of the same names. All throw Unsupported where the result would be too large, and
// Error (input) where axes or indexes are out of range.

[[nodiscard]] Integers gathered(const Integers& from, const std::vector<Index>& indexes, const Shape& index_shape,
                                Index axis);
[[nodiscard]] Integers concatenated(const std::vector<Integers>& parts, Index axis);
/// @param step  not 0; bounds count from the end where negative, and are clamped
[[nodiscard]] Integers sliced(const Integers& from, Index axis, Index start, Index end, Index step);
/// @param order  empty: reversed axes
[[nodiscard]] Integers transposed(const Integers& from, std::vector<Index> order);
/// @param target  one −1 at most; 0 copies an extent
[[nodiscard]] Integers reshaped_integers(Integers from, const std::vector<Index>& target);
/// Drops the axes, or all extents of 1 where `axes` is empty.
[[nodiscard]] Integers squeezed(Integers from, const std::vector<Index>& axes);
[[nodiscard]] Integers unsqueezed(Integers from, std::vector<Index> axes);
/// `value` in every place of a tensor of `shape`.
[[nodiscard]] Integers filled(const std::vector<Index>& shape, Index value);
/// Add, Sub, Mul, Div: operands of one shape, or one of them a single value.
[[nodiscard]] Integers combined(const std::string& operation, const Integers& left, const Integers& right);

/// Axis `axis` of `rank`, counted from the end where negative. @throws Error (input).
[[nodiscard]] std::size_t axis_of(Index axis, std::size_t rank);
/// The slice's first index and number of steps along an extent.
struct Range {
  Index first = 0;
  Index count = 0;
};
[[nodiscard]] Range slice_range(Index extent, Index start, Index end, Index step);

/// Extents of a shape with `axes` of 1 dropped or inserted (for tensors that are not folded).
[[nodiscard]] Shape squeezed_shape(const Shape& shape, const std::vector<Index>& axes);
[[nodiscard]] Shape unsqueezed_shape(const Shape& shape, std::vector<Index> axes);
/// `shape` reshaped to `target`. @throws Unsupported where the number of values would change.
[[nodiscard]] Shape reshaped_shape(const Shape& shape, const std::vector<Index>& target);

}  // namespace gpfq::formats::onnx_reader
