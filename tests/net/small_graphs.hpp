// SPDX-License-Identifier: Apache-2.0
// Small networks to break in tests, and parameters to run them with; branches, which a chain
// cannot show, are made by naming the node that is read.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "gpfq/net/graph.hpp"
#include "gpfq/net/propagate.hpp"

namespace gpfq::net {

/// A node that reads one other (none for from < 0).
[[nodiscard]] Node make_node(const std::string& name, Op op, int from, Shape shape);

/// 0 input 2x3 -> 1 flatten 6 -> 2 hidden (dense 4 with bias) -> 3 norm -> 4 activation (elu) -> 5 scores (dense 3)
/// -> 6 softmax.
[[nodiscard]] Graph chain_graph();

/// Tensors in memory.
class MapParameters : public Parameters {
 public:
  /// Random values, the same for the same graph and seed; those of a variance are positive.
  explicit MapParameters(const Graph& graph, unsigned seed = 1);

  void read_rows(const std::string& tensor, Index first, Index count, float* out) const override;
  [[nodiscard]] std::vector<float>& values(const std::string& tensor) { return values_.at(tensor); }
  [[nodiscard]] const std::vector<float>& values(const std::string& tensor) const { return values_.at(tensor); }

 private:
  std::map<std::string, std::vector<float>> values_;
  std::map<std::string, Index> row_size_;
};

/// A batch of random values.
[[nodiscard]] Batch random_batch(Index samples, const Shape& shape, unsigned seed);

/// Samples first .. first+count−1.
[[nodiscard]] Batch samples_of(const Batch& batch, Index first, Index count);

}  // namespace gpfq::net
