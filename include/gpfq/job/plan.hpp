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
#include "gpfq/quant/gram_path.hpp"
#include "gpfq/quant/input_block.hpp"

namespace gpfq::job {

/// How a layer's codes are computed.
enum class Form { residual, gram, rounding };
[[nodiscard]] std::string form_name(Form form);

/// One linear layer. Its path is one problem, or several that share nothing: the groups of a grouped
/// convolution, or the input channels of one that is quantized channelwise.
struct LayerPlan {
  int node = 0;
  std::string name;
  std::string tensor;
  bool quantized = true;   ///< false: skipped by the config
  Method method = Method::gpfq;
  Form form = Form::residual;
  std::string reason;      ///< of the form
  int candidates = 1;      ///< radii tried
  bool searches_layer = false;  ///< one of them for all neurons, else for each
  int sweeps = 0;          ///< at most
  bool diffuses = false;   ///< optq, qronos
  bool corrects_target = false;  ///< qronos
  bool orders_by_activation = false;
  bool corrects_bias = false;
  double threshold = 0;    ///< λ of the sparse path, in steps
  bool shifts_levels = false;  ///< ... by hard thresholding
  double damping = 0;
  std::uint64_t rounding_seed = 0;  ///< of stochastic rounding
  bool is_conv = false;
  bool channelwise = false;
  Index inputs = 0;        ///< weights per neuron (filter)
  Index neurons = 0;       ///< n, filters of a convolution
  Index rows_per_sample = 1;  ///< output positions used
  Index positions = 1;        ///< output positions
  std::uint64_t patch_seed = 0;  ///< of the draw of these positions
  Index problems = 1;
  Index problem_neurons = 0;  ///< neurons of one problem
  Index groups = 1;           ///< of the convolution
  quant::PathShape path;   ///< of one problem: rows, inputs, b, chunk, X = Xq
  Index tile_width = 0;    ///< neurons per tile
  int next_cut = 0;        ///< node of the next layer that gets codes; one past this one after the last
  /// Gram form: nobody takes the layer's outputs, so that they are not computed; the products give its error.
  bool error_from_products = false;
  double flops = 0;        ///< of the path
  Index shared_bytes = 0;  ///< memory of a rank for what its tiles share: a block, or G and C and a chunk of rows
  Index tile_bytes = 0;    ///< memory of one tile
  Index piece_bytes = 0;   ///< of that shared memory: a chunk of outputs on its way to the next layer
  Index thread_bytes = 0;  ///< Gram form: memory of one thread that makes patches and products
  Index window_samples = 0;       ///< Gram form: samples whose inputs are at hand together, of a convolution for a chunk of rows
  Index window_sample_bytes = 0;  ///< ... and memory of one of them; 0 for a dense layer, whose columns are read as they are
  bool gathers_chunks = false;    ///< Gram form: a chunk's columns are gathered from windows of so many samples in turn
  Index patch_samples = 0;        ///< residual form: samples of a convolution's inputs that patches are made from at once

  /// Gram form: what is kept of one problem's products. Both triangles serve whatever comes after the path.
  [[nodiscard]] quant::GramExtent gram_extent() const;
  /// True where the job needs XqᵀU after the first pass.
  [[nodiscard]] bool measures() const { return candidates > 1 || sweeps > 0; }
  /// True where a part of the positions leaves fewer rows than a neuron has inputs, and all would not.
  [[nodiscard]] bool lacks_rows() const {
    return method != Method::msq && path.samples < path.inputs && path.samples / rows_per_sample * positions >= path.inputs;
  }

  /// Gram form: all samples of a chunk of rows are at hand while its columns are made.
  [[nodiscard]] bool needs_whole_chunks() const { return is_conv && !gathers_chunks; }

  [[nodiscard]] Index tiles_per_problem() const { return ceil_div(problem_neurons, tile_width); }
  [[nodiscard]] Index tile_count() const { return problems * tiles_per_problem(); }

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& node& name& tensor& quantized& method& form& reason& candidates& searches_layer& sweeps& diffuses& corrects_target& orders_by_activation& corrects_bias&
        threshold& shifts_levels& damping& rounding_seed& path.sums_columns& is_conv& channelwise& inputs& neurons& rows_per_sample& positions& patch_seed&
        problems& problem_neurons& groups& path.samples& path.inputs& path.block_width& path.sample_chunk& path.shared&
            path.keeps_outputs& tile_width& next_cut& error_from_products& flops& shared_bytes& tile_bytes& piece_bytes& thread_bytes& window_samples& window_sample_bytes&
                gathers_chunks& patch_samples;
  }
};

/// The box of the codes that one tile fills, and the columns of the layer's inputs that it reads.
struct TileBox {
  Index problem = 0;
  Index first_neuron = 0;
  Index neurons = 0;
  Index first_input = 0;  ///< among a neuron's weights
  Index inputs = 0;
};
/// Channelwise, the channels of the same neurons follow each other.
[[nodiscard]] TileBox tile_box(const LayerPlan& layer, Index tile);

/// Rows of weights that a layer with several problems reads, and whose codes it writes, together.
[[nodiscard]] Index rows_together(const LayerPlan& layer);

/// The whole job.
struct JobPlan {
  Index samples = 0;             ///< m
  std::vector<LayerPlan> layers; ///< linear layers in graph order
  Index sample_unit = 0;         ///< samples that stay together: dealt to ranks, hashed, propagated
  Index sample_chunk = 0;        ///< samples per product of a dense layer in propagation
  Index neuron_tile = 0;         ///< weight rows per product of propagation
  Index weight_tile_bytes = 0;   ///< of a weight tile and a chunk's product in propagation
  Index propagation_bytes = 0;   ///< smallest memory of a rank for propagation: one unit in both networks
  Index store_bytes = 0;         ///< most that activations take on disk at a time
  Index model_copy_bytes = 0;    ///< of the float model in scratch; 0 where the given file serves
  Index output_bytes = 0;        ///< of quantized.h5: a byte per code; what is not quantized as floats

  /// Smallest memory_per_rank that the job runs in, and what asks for it.
  [[nodiscard]] Index smallest_memory(std::string* reason = nullptr) const;
  /// Layers that get codes.
  [[nodiscard]] std::vector<const LayerPlan*> quantized_layers() const;

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& samples& layers& sample_unit& sample_chunk& neuron_tile& weight_tile_bytes& propagation_bytes& store_bytes&
        model_copy_bytes& output_bytes;
  }
};

/// @param samples  calibration samples
/// @throws Error (input): nothing to quantize, a rule that matches no layer, memory_per_rank too small (naming the
/// smallest that does, and what would need less).
[[nodiscard]] JobPlan make_plan(const net::Graph& graph, const Config& config, Index samples);

/// Of all codes, a byte each.
[[nodiscard]] Index code_bytes(const JobPlan& plan);

/// What the float model takes in a file of its own, at most: tensors, the graph's text, HDF5's tables.
[[nodiscard]] Index model_file_bytes(const net::Graph& graph);
/// What a layer without a network comes with.
struct LayerInputs {
  Index samples = 0;
  bool shared = true;  ///< X = Xq
};

/// The plan of layers without a network, each by itself, with its own samples; `samples` is the most of them.
/// @param inputs  of the graph's layers, in order
/// @throws Error (input) as make_plan().
[[nodiscard]] JobPlan make_layers_plan(const net::Graph& graph, const Config& config,
                                       const std::vector<LayerInputs>& inputs);

/// A plan in which `layer` is the only one: what propagation takes for its samples does not depend on the others.
[[nodiscard]] JobPlan plan_alone(const net::Graph& graph, const LayerPlan& layer);

/// The part of a plan that propagation alone needs (evaluation of a model): chunks, tiles and their memory.
/// @throws Error (input): memory_per_rank too small.
[[nodiscard]] JobPlan plan_propagation(const net::Graph& graph, const Config& config);

/// True for nodes whose value differs between the networks: those downstream of a node in `quantized`.
[[nodiscard]] std::vector<bool> differing_nodes(const net::Graph& graph, const std::vector<bool>& quantized);

/// How a rank's memory is used by a layer in residual form.
struct StreamMemory {
  bool read_ahead = false;  ///< room for two blocks
  Index wave_tiles = 1;     ///< tiles in memory at once
  Index bytes = 0;          ///< blocks and tiles of a full wave
  Index pieces = 1;         ///< chunks of outputs that may be worked on at once
};
/// As few waves as fit; two blocks where that makes none more.
/// @param shape  with the rows that lie here   @param sharers  ranks that share the memory of a block
/// @param tiles  most of a rank                @param blocks   most that a node has room for
[[nodiscard]] StreamMemory divide_memory(const LayerPlan& layer, const quant::PathShape& shape, int sharers, Index tiles,
                                         Index memory_per_rank, Index blocks = 2);
/// What a rank does at once in Gram form, so that memory_per_rank holds. Results do not depend on it.
struct GramShares {
  int threads = 1;          ///< that make patches and products
  Index window_chunks = 1;  ///< chunks of rows whose samples are read together
  Index tiles = 1;          ///< tiles in memory together
  Index bytes = 0;          ///< what all that takes
};
[[nodiscard]] GramShares gram_shares(const LayerPlan& layer, int threads, Index memory_per_rank);

/// How the activations of a layer without a network come to the store.
struct LoadShares {
  Index unit = 1;    ///< inputs with a digest of their own: depends on the layer only
  Index inputs = 1;  ///< inputs in memory together, a multiple of the unit
};
[[nodiscard]] LoadShares load_shares(const LayerPlan& layer, Index memory_per_rank);

/// Samples, a multiple of the unit and at least one unit, that a rank propagates at once through nodes first .. last−1.
[[nodiscard]] Index samples_per_wave(const JobPlan& plan, const net::Graph& graph, int first, int last,
                                     Index memory_per_rank);

/// Bytes per sample of propagation through nodes first .. last−1 in both networks, buffers included.
[[nodiscard]] Index propagation_bytes_per_sample(const net::Graph& graph, int first, int last);

/// The plan as a table, one line per layer, for `ranks` ranks.
[[nodiscard]] std::string plan_table(const JobPlan& plan, const Config& config, int ranks, int nodes);

}  // namespace gpfq::job
