// SPDX-License-Identifier: Apache-2.0
// The rows of a layer's X and Xq, from the store: samples of a dense layer's inputs, or patches of
// feature maps made on the way.
#pragma once

#include <utility>
#include <vector>

#include "gpfq/job/plan.hpp"
#include "gpfq/net/patches.hpp"
#include "gpfq/store/activation_store.hpp"

namespace gpfq::job {

/// Rows of one layer. Row r is sample r / K at its (r mod K)-th used position, K = rows_per_sample.
class LayerRows {
 public:
  LayerRows(const net::Graph& graph, const LayerPlan& layer, const store::ActivationStore& store);

  /// From here on blocks are made of inputs in this order: the t-th is order[t].
  void set_order(std::vector<Index> order) { order_ = std::move(order); }
  [[nodiscard]] const std::vector<Index>& order() const { return order_; }
  /// The input that is visited t-th.
  [[nodiscard]] Index input_at(Index t) const { return order_.empty() ? t : order_[static_cast<std::size_t>(t)]; }

  /// Fills some inputs of a block that begins at the `first`-th input, for the rows that its shape says lie here. One
  /// problem only. @param part  inputs, counted from the block's first
  void fill(Index first, Range part, quant::InputBlock& block) const;
  /// The sample that a row belongs to.
  [[nodiscard]] Index sample_of(Index row) const { return row / layer_.rows_per_sample; }

  /// Used positions of each sample of a part; none where all are used.
  using Positions = std::vector<std::vector<Index>>;

  /// Samples, all channels, both networks.
  struct Window {
    Index first_sample = 0;
    net::Batch analog;
    net::Batch quantized;  ///< empty where X = Xq
    Positions positions;
  };
  [[nodiscard]] Window read_window(Range samples) const;
  /// All columns of a dense layer for some rows, as they lie in the store: column t at out + t·stride, zeros beyond its rows.
  void read_columns(store::Network network, Range rows, float* out, Index stride) const;
  /// Columns of one problem of a convolution for some rows: column t at out + t·stride.
  /// @param maps  one of the window's, which has the rows' samples
  void extract(const Window& window, const net::Batch& maps, Index problem, Range rows, Range columns, float* out,
               Index stride) const;
  /// Rows of a chunk.
  [[nodiscard]] Range rows_of(Index chunk) const;
  /// Rows of a run of chunks.
  [[nodiscard]] Range rows_of(Range chunks) const { return {rows_of(chunks.begin).begin, rows_of(chunks.end - 1).end}; }
  /// Samples that rows belong to.
  [[nodiscard]] Range samples_of(Range rows) const;
  /// The part of `rows` that belongs to these samples.
  [[nodiscard]] Range rows_within(Range rows, Range samples) const;
  /// The channel (or feature) that input t of a problem reads.
  [[nodiscard]] Index channel_of(Index problem, Index input) const;

 private:
  void fill_dense(store::Network network, Range inputs, const quant::PathShape& shape, float* out) const;
  void fill_patches(store::Network network, Range inputs, const quant::PathShape& shape, float* out) const;
  void extract_rows(const net::ConvGeometry& geometry, Index group, Index first_input, Index count, const float* maps,
                    const Positions& positions, Index first_sample, Range rows, float* out, Index stride) const;
  [[nodiscard]] Range run_of(Index at, Index end) const;
  [[nodiscard]] Positions positions_of(Range samples) const;

  const LayerPlan& layer_;
  const store::ActivationStore& store_;
  int input_node_;
  net::ConvGeometry geometry_;  ///< of a convolution
  std::vector<Index> order_;    ///< input visited t-th; empty: as they are
};

}  // namespace gpfq::job
