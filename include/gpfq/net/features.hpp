// SPDX-License-Identifier: Apache-2.0
// What follows a dense layer feature by feature (bias, normalization, activation), for some of its
// features alone: whoever has computed these needs no others.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "gpfq/base/shard_plan.hpp"
#include "gpfq/net/propagate.hpp"

namespace gpfq::net {

/// True when nodes first+1 .. last−1 are a chain that turns each feature of dense node `first` into one feature of
/// node last−1, and nothing else before `last` is read at or after it.
[[nodiscard]] bool is_feature_chain(const Graph& graph, int first, int last);

/// Such a chain, cut down to a range of features, with its parameters in memory: any thread may run it.
class FeatureChain {
 public:
  /// @param first, last  as in is_feature_chain
  FeatureChain(const Graph& graph, int first, int last, Range features, const Parameters& parameters);

  /// @param output  samples × features of the dense node, before its bias
  /// @returns samples × features of node last−1
  [[nodiscard]] Batch run(Batch output) const;

 private:
  /// Slices of the whole network's vectors.
  class Slices : public Parameters {
   public:
    void read_rows(const std::string& tensor, Index first, Index count, float* out) const override;
    std::map<std::string, std::vector<float>> values;
  };
  Graph graph_;  ///< the dense node first, every shape and vector cut to the features
  Slices slices_;
};

}  // namespace gpfq::net
