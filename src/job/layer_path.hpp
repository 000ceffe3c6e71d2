// SPDX-License-Identifier: Apache-2.0
// One layer on one rank: the tiles of its neurons, in waves that fit memory, over the layer's rows.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "gpfq/quant/tile.hpp"
#include "gpfq/store/activation_store.hpp"
#include "gpfq/store/quantized_file.hpp"
#include "job/grid.hpp"
#include "job/layer_rows.hpp"
#include "job/messages.hpp"
#include "job/output_collector.hpp"
#include "job/radius_rule.hpp"

namespace gpfq::job {

class Checkpointer;
class WorkDealer;

/// What the ranks need to quantize a layer.
struct LayerTask {
  const mpi::Communicator& comm;
  const net::Graph& graph;
  const LayerPlan& layer;
  LayerAlphabets& alphabets;  ///< a search settles on some
  const net::Parameters& weights;
  const store::ActivationStore& inputs;
  store::QuantizedFile& result;
  Checkpointer& checkpointer;
  WorkDealer& dealer;
  RankGrid grid;
  StreamSettings stream;
  int threads = 1;
  Index memory_per_rank = 0;
  /// Adds to the bias of a tile's neurons, before its outputs are taken, and returns it; none where nothing is to be done.
  std::function<std::vector<float>(const TileBox&, const quant::Tile&, const RankReport&)> correct_bias = nullptr;
  OutputCollector* outputs = nullptr;  ///< takes the outputs of a layer that keeps them
  Index read_before = 0;               ///< bytes of the store, before the layer
  Index written_before = 0;
};

/// Residual form, from where the checkpoint's progress says: ranks of a row of the grid share their tiles' neurons, each with rows of its own. Collective.
/// @throws Error (input) naming layer and row when an activation is not finite or too large.
void quantize_by_path(const LayerTask& task, RankReport& report);

/// Gram form: all ranks sum G and C over their rows, then each works on tiles of its own. Collective.
/// @param quantized_bounds, analog_bounds  max|x| per channel (feature) of the layer's inputs, over all samples
void quantize_by_gram(const LayerTask& task, const std::vector<double>& quantized_bounds,
                      const std::vector<double>& analog_bounds, RankReport& report);

/// Plain rounding of this rank's tiles. No collectives inside.
void quantize_by_rounding(const LayerTask& task, RankReport& report);

/// Largest magnitude that products in single precision are safe with.
inline constexpr double largest_usable_input = 1e15;

// What the three share.

/// Alphabets of a tile's neurons, with a candidate for each.
[[nodiscard]] std::vector<quant::Alphabet> alphabets_of(const LayerTask& task, const TileBox& box,
                                                        std::span<const int> which);
/// The same with one candidate for all of them.
[[nodiscard]] std::vector<quant::Alphabet> alphabets_of(const LayerTask& task, const TileBox& box, int candidate = 0);
/// How a tile's arguments are rounded.
[[nodiscard]] quant::Visit visit_of(const LayerTask& task, const TileBox& box);
/// The whole rows of weights of a tile's neurons.
void read_tile_weights(const LayerTask& task, const TileBox& box, std::span<float> weights);
/// Writes a box of codes, of one tile or of several that adjoin, and reports it. @returns its report, without what only
/// some tiles have: gains, bias, norms
TileReport& finish_tile(const LayerTask& task, const TileBox& box, std::span<const std::uint8_t> codes, Index saturated,
                        Index zeros, RankReport& report);

/// What this rank's report is so far, with what it has read and written and its memory: for a checkpoint.
[[nodiscard]] RankReport so_far(const LayerTask& task, const RankReport& report);

/// Squared residuals (or what they are above a constant of the neuron) by part, neuron and candidate, each known to the
/// ranks that computed it.
class CandidateScores {
 public:
  /// @param parts  problems that share a neuron's alphabet
  CandidateScores(Index parts, Index neurons, std::size_t candidates);
  void set(Index part, Index neuron, std::size_t candidate, double score);
  /// All ranks know all scores from here on. Collective.
  void join(const mpi::Communicator& comm) { comm.max(scores_); }
  [[nodiscard]] const std::vector<double>& values() const { return scores_; }
  void restore(std::vector<double> values);
  /// The candidate of the smallest sum, of each neuron or of all together; the first of equals. Collective.
  [[nodiscard]] std::vector<int> choose(const mpi::Communicator& comm, bool for_layer);

 private:
  Index parts_;
  Index neurons_;
  std::size_t candidates_;
  std::vector<double> scores_;
};

}  // namespace gpfq::job
