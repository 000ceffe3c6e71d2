// SPDX-License-Identifier: Apache-2.0
// What will be done, before it is done: shapes, tiles, blocks and memory of every layer. Pure
// arithmetic on the graph and the config; the numbers that results depend on never see ranks or memory.
#pragma once

#include <boost/serialization/string.hpp>
#include <boost/serialization/vector.hpp>

#include <string>
#include <vector>

#include "gpfq/base/shard_plan.hpp"
#include "gpfq/job/config.hpp"
#include "gpfq/net/propagate.hpp"
#include "gpfq/quant/input_block.hpp"

namespace gpfq::job {

/// One linear layer.
struct LayerPlan {
  int node = 0;
  std::string name;
  std::string tensor;
  bool quantized = true;   ///< false: skipped by the config
  Method method = Method::gpfq;
  quant::PathShape path;   ///< m, N, b, chunk, X = Xq
  Index neurons = 0;       ///< n
  Index tile_width = 0;    ///< neurons per tile
  double flops = 0;        ///< of the path
  Index path_bytes = 0;    ///< smallest memory of a rank for the path: a block and a tile

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& node& name& tensor& quantized& method& path.samples& path.inputs& path.block_width& path.sample_chunk&
        path.shared& neurons& tile_width& flops& path_bytes;
  }
};

/// The whole job.
struct JobPlan {
  Index samples = 0;             ///< m
  std::vector<LayerPlan> layers; ///< linear layers in graph order
  Index sample_chunk = 0;        ///< samples per product of propagation
  Index neuron_tile = 0;         ///< weight rows per product of propagation
  Index weight_tile_bytes = 0;   ///< of a weight tile and a chunk's product in propagation
  Index propagation_bytes = 0;   ///< smallest memory of a rank for propagation: one chunk in both networks
  Index store_bytes = 0;         ///< most that activations take on disk at a time
  Index output_bytes = 0;        ///< of quantized.h5 (and of an imported model)

  /// Smallest memory_per_rank that the job runs in, and what asks for it.
  [[nodiscard]] Index smallest_memory(std::string* reason = nullptr) const;
  /// Layers that get codes.
  [[nodiscard]] std::vector<const LayerPlan*> quantized_layers() const;

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& samples& layers& sample_chunk& neuron_tile& weight_tile_bytes& propagation_bytes& store_bytes& output_bytes;
  }
};

/// @param samples  calibration samples
/// @throws Error (input): nothing to quantize, a rule that matches no layer, memory_per_rank too small (naming the
/// smallest that does, and what would need less).
[[nodiscard]] JobPlan make_plan(const net::Graph& graph, const Config& config, Index samples);

/// The part of a plan that propagation alone needs (evaluation of a model): chunks, tiles and their memory.
/// @throws Error (input): memory_per_rank too small.
[[nodiscard]] JobPlan plan_propagation(const net::Graph& graph, const Config& config);

/// True for nodes whose value differs between the networks: those downstream of a node in `quantized`.
[[nodiscard]] std::vector<bool> differing_nodes(const net::Graph& graph, const std::vector<bool>& quantized);

/// Tiles of a layer that a rank keeps in memory at once, at least 1.
[[nodiscard]] Index tiles_per_wave(const LayerPlan& layer, Index memory_per_rank);

/// Samples, a multiple of the chunk and at least one, that a rank propagates at once through nodes first .. last−1.
[[nodiscard]] Index samples_per_wave(const JobPlan& plan, const net::Graph& graph, int first, int last,
                                     Index memory_per_rank);

/// Bytes per sample of propagation through nodes first .. last−1 in both networks, buffers included.
[[nodiscard]] Index propagation_bytes_per_sample(const net::Graph& graph, int first, int last);

/// The plan as a table, one line per layer, for `ranks` ranks.
[[nodiscard]] std::string plan_table(const JobPlan& plan, const Config& config, int ranks);

}  // namespace gpfq::job
