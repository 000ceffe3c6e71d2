// SPDX-License-Identifier: Apache-2.0
// The user's data as batches that the network takes: selection, preprocessing, transposition.
#pragma once

#include <vector>

#include "gpfq/job/config.hpp"
#include "gpfq/net/propagate.hpp"
#include "gpfq/store/sample_file.hpp"

namespace gpfq::job {

/// Samples of one source, prepared for one network.
class Samples {
 public:
  /// @param input_shape  per-sample shape that the network takes
  /// @throws Error (input): file, dataset or shape do not fit; more samples asked for than there are.
  Samples(const DataSource& source, const Preprocess& preprocess, const Shape& input_shape);

  [[nodiscard]] Index count() const { return static_cast<Index>(indexes_.size()); }
  /// Samples first .. first+count−1 of the selection. @throws Error (input) on a value that is not finite.
  [[nodiscard]] net::Batch read(Index first, Index count) const;
  /// Labels of the same samples, from another dataset of the same file. @throws Error (input) when their number differs.
  [[nodiscard]] std::vector<Index> labels(const DataSource& source) const;
  /// The same without their values: what can be said from headers.
  void check_labels(const DataSource& source) const { static_cast<void>(label_file(source)); }

 private:
  [[nodiscard]] store::SampleFile label_file(const DataSource& source) const;
  void check_shapes();
  void check_order(const Shape& stored);
  void prepare(const float* stored, float* out) const;

  store::SampleFile file_;
  Preprocess preprocess_;
  Shape input_shape_;
  std::vector<Index> indexes_;
  Index channels_ = 1;
  Index positions_ = 1;         ///< values per channel
  bool stored_last_ = false;    ///< channels are the last dimension of the stored data
  bool network_last_ = false;   ///< ... of the network's input
};

}  // namespace gpfq::job
