// SPDX-License-Identifier: Apache-2.0
// Tensor sources over memory.
#include "gpfq/net/tensor_source.hpp"

#include <algorithm>
#include <memory>

#include "gpfq/base/error.hpp"

namespace gpfq::net {

TensorSource make_source(Shape shape, std::vector<float> values) {
  require(element_count(shape) == static_cast<Index>(values.size()), "make_source: shape and values disagree");
  const Index rows = shape.empty() ? 1 : shape.front();
  const Index row_size = rows == 0 ? 0 : static_cast<Index>(values.size()) / rows;
  auto owned = std::make_shared<const std::vector<float>>(std::move(values));
  return {std::move(shape), [owned, rows, row_size](Index first, Index count, float* out) {
            require(first >= 0 && count >= 0 && first + count <= rows, "tensor source: rows out of range");
            std::copy_n(owned->data() + first * row_size, count * row_size, out);
          }};
}

std::vector<float> read_all(const TensorSource& source) {
  std::vector<float> values(static_cast<std::size_t>(element_count(source.shape)));
  source.read_rows(0, source.shape.empty() ? 1 : source.shape.front(), values.data());
  if (source.release) source.release();
  return values;
}

}  // namespace gpfq::net
