// SPDX-License-Identifier: Apache-2.0
// Layers without a network: as a model whose graph only lists them, and their activations.
#pragma once

#include <memory>
#include <vector>

#include "gpfq/job/plan.hpp"
#include "gpfq/net/tensor_source.hpp"
#include "gpfq/store/activation_store.hpp"

namespace gpfq::job {

/// The config's layers, with what their files' headers say.
struct LayerList {
  net::Model model;                 ///< per layer an input "<name>.inputs" and the dense node; weights stream
  std::vector<LayerInputs> inputs;  ///< of the layers, in order
};

/// Reads the headers of all files, one after another; no values.
/// @param ranks  that read the weights, each a share of the rows
/// @throws Error (input) naming layer, file and tensor: as formats::open_tensor(), and where the shapes of weights,
/// inputs and inputs of the quantized network, or the samples asked for, do not fit.
[[nodiscard]] LayerList read_layer_list(const Config& config, int ranks);

/// Most memory of a rank while weights are copied: rows on their way, and a strip of those that lie as inputs × neurons.
/// @param graph  read_layer_list()'s, of the same config
[[nodiscard]] Index copying_bytes(const Config& config, const net::Graph& graph, int ranks);

/// The activations of one layer's inputs, open for reading.
class LayerSamples {
 public:
  /// @throws Error (input) when a file cannot be read, or no longer is as the plan says.
  LayerSamples(const LayerSource& source, const LayerPlan& plan);
  ~LayerSamples();
  LayerSamples(const LayerSamples&) = delete;
  LayerSamples& operator=(const LayerSamples&) = delete;

  /// Some inputs of X or Xq for all samples of the plan, inputs × samples.
  /// @throws Error (input) naming layer, sample and input of a value that is not finite.
  void read(store::Network network, Range inputs, float* values) const;

 private:
  std::string layer_;
  Index samples_ = 0;
  std::unique_ptr<formats::TensorFile> analog_;
  std::unique_ptr<formats::TensorFile> quantized_;  ///< null where X = Xq
};

}  // namespace gpfq::job
