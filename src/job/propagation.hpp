// SPDX-License-Identifier: Apache-2.0
// Both networks' activations on their way from layer to layer, by all ranks, over samples.
#pragma once

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "gpfq/job/plan.hpp"
#include "gpfq/mpi/communicator.hpp"
#include "gpfq/store/activation_store.hpp"
#include "job/checkpointer.hpp"
#include "job/output_collector.hpp"
#include "job/samples.hpp"
#include "job/work_dealer.hpp"

namespace gpfq::job {

/// Squared norms of one layer's output before the bias, over all samples (on root; zero elsewhere).
struct LayerError {
  double difference = 0;  ///< ‖XW − XqQ‖²_F
  double reference = 0;   ///< ‖XW‖²_F
};

/// Carries activations through the graph, cut by cut. What is stored at a cut are the values of
/// earlier nodes that later ones read, in both networks where they differ. What nobody reads any more is deleted when the
/// checkpoint that no longer needs it is on disk.
class Propagation {
 public:
  Propagation(const mpi::Communicator& comm, const net::Graph& graph, const JobPlan& plan, const Config& config,
              const net::Parameters& analog, const net::Parameters& quantized, store::ActivationStore& store,
              Checkpointer& checkpointer, WorkDealer& dealer);

  /// Opens the whole tensors that the checkpoint names, and compares their values with its digests. Others are opened
  /// when their time comes. Collective.
  /// @throws Error (input) naming a file that is missing or damaged
  void restore();
  /// Brings the checkpoint's list of tensors up to date. Collective. @returns files of those that are new to it, which may
  /// not be on disk yet
  [[nodiscard]] std::vector<std::filesystem::path> record() const;

  /// True when a tensor stands: start() has been there.
  [[nodiscard]] bool has_started() const { return !whole_.empty(); }

  /// Brings the calibration samples to the inputs of node `cut`. Collective.
  void start(const Samples& samples, int cut);
  /// Some of a layer's inputs in one network, for all samples: inputs × samples.
  using InputReader = std::function<void(store::Network network, Range inputs, float* values)>;
  /// Stores, in both networks where they differ, what `read` gives as the inputs of a layer without a network, from where
  /// an earlier run has stopped. Collective.
  void load_inputs(const LayerPlan& layer, const InputReader& read);
  /// Runs nodes layer.node .. layer.next_cut−1 in both networks and measures the layer's error. With `keep` false, at
  /// the end of the network, nothing is stored. Collective.
  LayerError advance(const LayerPlan& layer, bool keep);

  /// The same for a layer whose path keeps its outputs, in two steps: collect() makes room for what the tiles hand
  /// on, take() finishes when all of them have. Collective.
  [[nodiscard]] std::unique_ptr<OutputCollector> collect(const LayerPlan& layer, bool keep);
  LayerError take(const LayerPlan& layer, const OutputCollector& outputs, bool keep);
  /// After a layer whose outputs nobody takes. Collective.
  void end(const LayerPlan& layer) { drop_read(layer.node, {}); }

  /// max|x| of each channel (first extent of the sample shape) of a stored node, over all samples, on every rank.
  [[nodiscard]] const std::vector<double>& bounds(int node, store::Network network) const;
  /// Digest of a node's stored values: SHA-256 over the digests of its units of samples, in order (on root).
  [[nodiscard]] std::string digest(int node, store::Network network) const;

 private:
  using Wave = std::function<void(Range samples, net::LiveBatches& analog, net::LiveBatches& quantized)>;
  void create(int node, store::Network network);
  void grow(int node, store::Network network);
  using Tensor = std::pair<int, store::Network>;
  void store_cut(int first, int cut, const Wave& wave);
  /// Parts of tensors that are stored, kept and compared by themselves: samples, or inputs.
  struct Units {
    Index items;
    Index size;
    const char* name;
    std::function<std::string(const Tensor&, Range items)> digest;  ///< of what is stored of a unit
    [[nodiscard]] Range items_of(Range units) const { return {units.begin * size, std::min(items, units.end * size)}; }
  };
  [[nodiscard]] Units sample_units() const;
  [[nodiscard]] Units input_units(const LayerPlan& layer) const;
  [[nodiscard]] std::string stored_digest(const Tensor& tensor) const;
  [[nodiscard]] std::vector<Index> restore_units(const std::vector<Tensor>& tensors, const Units& units);
  void save_units(const std::vector<Tensor>& tensors);
  void pause_if_due(const std::vector<Tensor>& tensors);
  void drop_read(int first, const std::vector<int>& live);
  [[nodiscard]] std::vector<store::Network> networks_of(int node) const;
  void load(Range samples, int cut, net::LiveBatches& analog, net::LiveBatches& quantized) const;
  void measure(Range samples, const net::Batch& analog, const net::Batch& quantized);
  void measure_inputs(Range inputs, Index unit, const float* values, std::vector<double>& bounds,
                      std::map<Index, std::string>& digests) const;
  void finish_tensor(int node, store::Network network);
  void write_batch(int node, store::Network network, Range samples, const net::Batch& batch);

  const mpi::Communicator& comm_;
  const net::Graph& graph_;
  const JobPlan& plan_;
  const Config& config_;
  const net::Parameters& analog_;
  const net::Parameters& quantized_;
  store::ActivationStore& store_;
  Checkpointer& checkpointer_;
  WorkDealer& dealer_;
  std::set<std::pair<int, store::Network>> whole_;  ///< tensors that stand
  net::PropagationOptions options_;
  std::vector<bool> differs_;
  std::map<std::pair<int, store::Network>, std::map<Index, std::string>> unit_digests_;  ///< of this rank, by unit
  std::map<Index, std::array<double, 2>> errors_;  ///< of this rank, by unit of samples: difference, reference
  std::map<std::pair<int, store::Network>, std::vector<double>> bounds_;
  std::map<std::pair<int, store::Network>, std::string> digests_;                    ///< on root
};

}  // namespace gpfq::job
