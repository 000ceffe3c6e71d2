// SPDX-License-Identifier: Apache-2.0
// Runs nodes of a graph on a group of samples. Weights come in tiles from wherever they are kept;
// samples are worked on in fixed chunks, so results do not depend on how samples are grouped.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "gpfq/base/aligned_buffer.hpp"
#include "gpfq/base/types.hpp"
#include "gpfq/net/graph.hpp"

namespace gpfq::net {

/// Values of one node for some samples: samples × shape, row-major.
struct Batch {
  Index samples = 0;
  Shape shape;
  AlignedBuffer<float> values;

  Batch() = default;
  Batch(Index sample_count, Shape sample_shape, Content content = Content::zeros);
  [[nodiscard]] Index sample_size() const { return element_count(shape); }
};

/// Where propagation reads parameters: float weights, decoded codes, rounded weights.
class Parameters {
 public:
  Parameters() = default;
  Parameters(const Parameters&) = delete;
  Parameters& operator=(const Parameters&) = delete;
  virtual ~Parameters() = default;
  /// Rows first .. first+count−1 of a tensor, row-major; a vector has rows of one element.
  virtual void read_rows(const std::string& tensor, Index first, Index count, float* out) const = 0;
};

/// What may differ between machines and jobs without changing any value, and what may not.
struct PropagationOptions {
  Index sample_chunk = 256;  ///< rows of one product; part of the numerical definition
  Index neuron_tile = 256;   ///< weight rows of one product; part of the numerical definition
  int threads = 1;           ///< free
  /// Index of the batch's first sample among all: chunks begin at its multiples, so that a sample has the same place
  /// in its product however samples are grouped.
  Index first_sample = 0;
};

/// Node values that are alive: node index -> batch.
using LiveBatches = std::map<int, Batch>;

/// y = W x without the bias for a linear node.
/// @returns samples × n, for a convolution samples × filters × height × width. No value depends on which samples
///          share the call or on threads.
/// Cost: 2·samples·N·n flops (times positions); memory beside input and output: two weight tiles (neuron_tile × N) and
/// scratch_floats_per_thread per thread.
[[nodiscard]] Batch linear_output(const Graph& graph, int node, const Batch& input, const Parameters& parameters,
                                  const PropagationOptions& options);

/// Adds the bias of a linear node, where it has one, to its linear output.
void add_bias(const Graph& graph, int node, Batch& output, const Parameters& parameters, int threads = 1);

/// Runs nodes first .. last−1 in order on `live`, which must hold what they read from outside.
/// Batches that nothing at or after `last` reads are dropped (the graph's output is kept).
void run_nodes(const Graph& graph, int first, int last, LiveBatches& live, const Parameters& parameters,
               const PropagationOptions& options);

/// The nodes before `cut` that nodes at or after it read (and the output, once it is before `cut`).
[[nodiscard]] std::vector<int> live_at(const Graph& graph, int cut);

/// Upper bound of floats held per sample while nodes first .. last−1 run, live inputs included.
[[nodiscard]] Index peak_floats_per_sample(const Graph& graph, int first, int last);

/// Floats that each thread holds beside that while nodes first .. last−1 run: the buffers of convolutions and means.
/// The products of dense nodes are not in it; they depend on the options.
[[nodiscard]] Index scratch_floats_per_thread(const Graph& graph, int first, int last);

}  // namespace gpfq::net
