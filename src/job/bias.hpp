// SPDX-License-Identifier: Apache-2.0
// What quantizing a layer does to the mean of its outputs, taken back by its bias.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "gpfq/job/plan.hpp"
#include "gpfq/net/tensor_source.hpp"
#include "gpfq/quant/tile.hpp"
#include "gpfq/store/quantized_file.hpp"
#include "job/messages.hpp"

namespace gpfq::job {

/// The tensor that holds a layer's bias.
[[nodiscard]] inline const std::string& bias_of(const net::Graph& graph, const LayerPlan& layer) {
  return graph.node(layer.node).parameters.at("bias");
}

/// Gives every layer whose bias is to be corrected one of zeros where it has none. @returns how many got one.
int add_missing_biases(net::Model& model, const Config& config);

/// Adds the mean over the rows of XW − XqQ to the bias of some neurons: (Σ_i X_i) W − (Σ_i Xq_i) Q, divided by the rows.
/// The same whoever does it.
/// @param W, Q  neurons × inputs of these neurons, whole rows   @returns the biases
std::vector<float> correct_bias(const net::Graph& graph, const LayerPlan& layer, const net::Parameters& analog,
                                store::QuantizedFile& result, Range neurons, std::span<const float> W,
                                std::span<const float> Q, const std::vector<std::vector<double>>& column_sums);

/// The same for the neurons of a tile whose outputs are taken next, some at a time, in the memory that is set aside for
/// these. @returns the biases
std::vector<float> correct_tile_bias(const net::Graph& graph, const LayerPlan& layer, const net::Parameters& analog,
                                     store::QuantizedFile& result, const TileBox& box, const quant::Tile& tile,
                                     const std::vector<std::vector<double>>& column_sums);

/// The same for neurons whose codes are in the file already (after flush()), some at a time.
void correct_stored_bias(const net::Graph& graph, const LayerPlan& layer, const net::Parameters& analog,
                         store::QuantizedFile& result, Range neurons,
                         const std::vector<std::vector<double>>& column_sums);

}  // namespace gpfq::job
