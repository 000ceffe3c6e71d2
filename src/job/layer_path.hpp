// SPDX-License-Identifier: Apache-2.0
// One layer on one rank: the tiles of its neurons, in waves that fit memory, over the layer's rows.
#pragma once

#include <memory>
#include <vector>

#include "gpfq/store/activation_store.hpp"
#include "gpfq/store/quantized_file.hpp"
#include "job/grid.hpp"
#include "job/layer_rows.hpp"
#include "job/messages.hpp"
#include "job/output_collector.hpp"
#include "job/radius_rule.hpp"

namespace gpfq::job {

class Checkpointer;

/// What the ranks need to quantize a layer.
struct LayerTask {
  const mpi::Communicator& comm;
  const net::Graph& graph;
  const LayerPlan& layer;
  const LayerAlphabets& alphabets;
  const net::Parameters& weights;
  const store::ActivationStore& inputs;
  store::QuantizedFile& result;
  Checkpointer& checkpointer;
  RankGrid grid;
  StreamSettings stream;
  int threads = 1;
  Index memory_per_rank = 0;
  OutputCollector* outputs = nullptr;  ///< takes the outputs of a layer that keeps them
};

/// Residual form, from where the checkpoint's progress says: ranks of a row of the grid share their tiles' neurons, each with rows of its own. Collective.
/// @throws Error (input) naming layer and row when an activation is not finite or too large.
void quantize_by_path(const LayerTask& task, RankReport& report);

/// Gram form: all ranks sum G and C over their rows, then each works on tiles of its own. Collective.
/// @param quantized_bounds, analog_bounds  max|x| per channel (feature) of the layer's inputs, over all samples
void quantize_by_gram(const LayerTask& task, const std::vector<double>& quantized_bounds,
                      const std::vector<double>& analog_bounds, RankReport& report);

/// Plain rounding of this rank's tiles. Collective.
void quantize_by_rounding(const LayerTask& task, RankReport& report);

/// Largest magnitude that products in single precision are safe with.
inline constexpr double largest_usable_input = 1e15;

// What the three share.

/// Alphabets of a tile's neurons.
[[nodiscard]] std::vector<quant::Alphabet> alphabets_of(const LayerTask& task, const TileBox& box);
/// The whole rows of weights of a tile's neurons.
void read_tile_weights(const LayerTask& task, const TileBox& box, std::span<float> weights);
/// Writes a box of codes, of one tile or of several that adjoin, and reports it.
void finish_tile(const LayerTask& task, const TileBox& box, std::span<const std::uint8_t> codes, Index saturated,
                 Index zeros, RankReport& report);

}  // namespace gpfq::job
