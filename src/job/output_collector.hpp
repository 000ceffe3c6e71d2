// SPDX-License-Identifier: Apache-2.0
// What a dense layer's tiles hand on: the layer's outputs in both networks, a by-product of the
// path, made into the next layer's inputs by the rank that has them.
#pragma once

#include <boost/serialization/string.hpp>
#include <boost/serialization/vector.hpp>

#include <array>
#include <deque>
#include <string>
#include <vector>

#include "gpfq/job/plan.hpp"
#include "gpfq/net/features.hpp"
#include "gpfq/quant/tile_path.hpp"
#include "gpfq/store/activation_store.hpp"

namespace gpfq::job {

/// Norms and digests of one tile's outputs over one chunk of rows.
struct OutputUnit {
  Index tile = 0;
  Index chunk = 0;
  double difference = 0;  ///< ‖XW − XqQ‖²_F
  double reference = 0;   ///< ‖XW‖²_F
  std::array<std::string, 2> digests;  ///< of what was stored, by network

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& tile& chunk& difference& reference& digests[0] & digests[1];
  }
};

/// Digest of what is stored of one tile's outputs over one chunk of rows, as an OutputUnit has it.
[[nodiscard]] std::string output_digest(const store::ActivationStore& store, const LayerPlan& layer, int node,
                                        store::Network network, Index tile, Index chunk);

class OutputCollector {
 public:
  /// @param last  one past the last node of the chain behind the layer, whose values are stored in both networks; or
  ///              the layer's node when nothing is kept but norms
  /// @param store  holds the tensors that are written to
  OutputCollector(const net::Graph& graph, const LayerPlan& layer, int last, const net::Parameters& analog,
                  const net::Parameters& quantized, store::ActivationStore& store);

  /// Takes the outputs of a finished tile, for the rows that lie here, as many chunks at once as there are threads.
  /// @throws Error (input) naming node, sample and feature where a value is not finite.
  void take(Index tile, const quant::TilePath& path, const quant::PathShape& shape, int threads);

  /// Root begins with what an earlier run had.
  void restore(std::vector<OutputUnit> units, std::array<std::vector<double>, 2> bounds);
  /// Makes what was written readable by all. Collective.
  void flush();
  /// Reads what finished tiles handed on earlier. @throws Error (input) naming tile and chunk whose digest is another
  void verify(const OutputUnit& unit) const;

  /// Of this rank's tiles and rows.
  [[nodiscard]] const std::vector<OutputUnit>& units() const { return units_; }
  /// max|x| per feature of the stored node, 0 for those of other ranks, by network.
  [[nodiscard]] const std::array<std::vector<double>, 2>& bounds() const { return bounds_; }

 private:
  /// One tile's rows of one chunk.
  struct Piece {
    Index first_sample = 0;
    std::array<net::Batch, 2> values;  ///< by network
    OutputUnit unit;
  };
  using Chains = std::deque<net::FeatureChain>;
  void refuse_outputs(const Piece& piece) const;
  void run(const quant::TilePath& path, Index chunk, const Chains& chains, Piece& piece) const;
  void write(const Piece& piece, Index first_feature);

  const net::Graph& graph_;
  const LayerPlan& layer_;
  int last_;
  std::array<const net::Parameters*, 2> parameters_;
  store::ActivationStore& store_;
  std::vector<OutputUnit> units_;
  std::array<std::vector<double>, 2> bounds_;
};

}  // namespace gpfq::job
