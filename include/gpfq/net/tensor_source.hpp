// SPDX-License-Identifier: Apache-2.0
// Parameters as something to read from, a few rows at a time: an importer hands these on, and no
// one needs to hold a whole weight matrix of a very wide layer.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "gpfq/base/types.hpp"
#include "gpfq/net/graph.hpp"

namespace gpfq::net {

/// A float32 tensor that is read by rows of its first dimension.
struct TensorSource {
  Shape shape;
  /// Writes rows first .. first+count−1 (row-major, rest of the shape contiguous) to `out`.
  /// A one-dimensional tensor has rows of one element.
  std::function<void(Index first, Index count, float* out)> read_rows;
  /// Gives back what reading holds (a file, memory) until rows are asked for again; may be empty. For whoever has read
  /// what it needs of one source of many.
  std::function<void()> release = {};
};

/// A network read from a file: its graph and a source for each of graph.tensors.
struct Model {
  Graph graph;
  std::map<std::string, TensorSource> tensors;
  std::set<std::filesystem::path> other_files = {};  ///< that tensors are read from, beside the file that was named
};

/// A source over values that it owns, row-major.
[[nodiscard]] TensorSource make_source(Shape shape, std::vector<float> values);

/// The whole tensor, its source released; for small parameters (bias, normalization) and tests.
[[nodiscard]] std::vector<float> read_all(const TensorSource& source);

}  // namespace gpfq::net
