// SPDX-License-Identifier: Apache-2.0
// Chunks of a tile's rows are worked on by all threads, then written one by one: HDF5 takes one thread at a time.
#include "job/output_collector.hpp"

#include <algorithm>
#include <cmath>

#include "gpfq/base/digest.hpp"
#include "gpfq/base/error.hpp"
#include "gpfq/base/parallel.hpp"

namespace gpfq::job {
namespace {

constexpr std::array networks{store::Network::analog, store::Network::quantized};

Range rows_of(const LayerPlan& layer, Index chunk) {
  const Index first = chunk * layer.path.sample_chunk;
  return {first, std::min(layer.path.samples, first + layer.path.sample_chunk)};
}

}  // namespace

std::string output_digest(const store::ActivationStore& store, const LayerPlan& layer, int node, store::Network network,
                          Index tile, Index chunk) {
  const TileBox box = tile_box(layer, tile);
  const Range rows = rows_of(layer, chunk);
  const net::Batch batch = store.read_features(node, network, box.first_neuron, box.neurons, rows.begin, rows.size());
  return sha256(batch.values.data(), batch.values.size() * static_cast<Index>(sizeof(float)));
}

OutputCollector::OutputCollector(const net::Graph& graph, const LayerPlan& layer, int last,
                                 const net::Parameters& analog, const net::Parameters& quantized,
                                 store::ActivationStore& store)
    : graph_(graph), layer_(layer), last_(last), parameters_{&analog, &quantized}, store_(store) {
  for (std::vector<double>& bounds : bounds_) bounds.assign(static_cast<std::size_t>(layer.neurons), 0.0);
}

/// Squares of finite outputs are finite in double precision, so one of them is not.
void OutputCollector::refuse_outputs(const Piece& piece) const {
  for (const net::Batch& batch : piece.values)
    for (Index i = 0; i < batch.values.size(); ++i)
      if (!std::isfinite(batch.values[i]))
        throw_input("outputs of layer '{}' become {} at sample {}, value {}: expected finite numbers", layer_.name,
                    batch.values[i], piece.first_sample + i / batch.sample_size(),
                    tile_box(layer_, piece.unit.tile).first_neuron + i % batch.sample_size());
  throw_fault("layer '{}': sums of finite outputs are not finite", layer_.name);
}

/// Norms of the outputs, then what the chain makes of them.
void OutputCollector::run(const quant::TilePath& path, Index chunk, const Chains& chains, Piece& piece) const {
  for (net::Batch& batch : piece.values) batch = net::Batch(path.rows_of(chunk), {path.neurons()});
  float* analog = piece.values[0].values.data();
  float* quantized = piece.values[1].values.data();
  path.outputs(chunk, analog, quantized);
  for (Index i = 0; i < piece.values[0].values.size(); ++i) {
    const double difference = static_cast<double>(analog[i]) - static_cast<double>(quantized[i]);
    piece.unit.difference += difference * difference;
    piece.unit.reference += static_cast<double>(analog[i]) * analog[i];
  }
  if (!std::isfinite(piece.unit.difference) || !std::isfinite(piece.unit.reference)) refuse_outputs(piece);
  for (std::size_t network = 0; network < chains.size(); ++network) {
    net::Batch& batch = piece.values[network];
    batch = chains[network].run(std::move(batch));
    piece.unit.digests[network] =
        sha256(batch.values.data(), batch.values.size() * static_cast<Index>(sizeof(float)));
  }
}

void OutputCollector::write(const Piece& piece, Index first_feature) {
  for (std::size_t network = 0; network < networks.size(); ++network) {
    const net::Batch& batch = piece.values[network];
    const Index features = batch.sample_size();
    for (Index i = 0; i < batch.values.size(); ++i) {
      const Index feature = first_feature + i % features;
      if (!std::isfinite(batch.values[i]))
        throw_input("activations of '{}' become {} at sample {}, value {}: expected finite numbers",
                    graph_.node(last_ - 1).name, batch.values[i], piece.first_sample + i / features, feature);
      double& bound = bounds_[network][static_cast<std::size_t>(feature)];
      bound = std::max(bound, std::abs(static_cast<double>(batch.values[i])));
    }
    store_.write_inputs(last_ - 1, networks[network], first_feature, piece.first_sample, batch);
  }
}

void OutputCollector::restore(std::vector<OutputUnit> units, std::array<std::vector<double>, 2> bounds) {
  units_ = std::move(units);
  for (std::size_t network = 0; network < bounds.size(); ++network)
    if (bounds[network].size() == bounds_[network].size()) bounds_[network] = std::move(bounds[network]);
}

void OutputCollector::flush() {
  if (last_ <= layer_.node) return;
  for (const store::Network network : networks) store_.flush(last_ - 1, network);
}

void OutputCollector::verify(const OutputUnit& unit) const {
  if (last_ <= layer_.node) return;
  for (std::size_t network = 0; network < networks.size(); ++network) {
    const std::string found = output_digest(store_, layer_, last_ - 1, networks[network], unit.tile, unit.chunk);
    if (found == unit.digests[network]) continue;
    const TileBox box = tile_box(layer_, unit.tile);
    const Range rows = rows_of(layer_, unit.chunk);
    throw_input("stored activations of '{}' are damaged: features {} to {} of samples {} to {} have SHA-256 {:.12}, "
                "the checkpoint expects {:.12}",
                graph_.node(last_ - 1).name, box.first_neuron, box.first_neuron + box.neurons - 1, rows.begin,
                rows.end - 1, found, unit.digests[network]);
  }
}

void OutputCollector::take(Index tile, const quant::TilePath& path, const quant::PathShape& shape, int threads) {
  const TileBox box = tile_box(layer_, tile);
  const Range features{box.first_neuron, box.first_neuron + box.neurons};
  Chains chains;  // of both networks; none where nothing is kept
  if (last_ > layer_.node)
    for (const net::Parameters* parameters : parameters_)
      chains.emplace_back(graph_, layer_.node, last_, features, *parameters);
  for (Index begin = 0; begin < shape.chunk_count(); begin += threads) {
    std::vector<Piece> pieces(static_cast<std::size_t>(std::min<Index>(threads, shape.chunk_count() - begin)));
    parallel_for(static_cast<Index>(pieces.size()), threads, [&](Index i) {
      Piece& piece = pieces[static_cast<std::size_t>(i)];
      piece.unit.tile = tile;
      piece.unit.chunk = shape.first_chunk + begin + i;
      piece.first_sample = piece.unit.chunk * shape.sample_chunk;
      run(path, begin + i, chains, piece);
    });
    for (const Piece& piece : pieces) {
      if (!chains.empty()) write(piece, features.begin);
      units_.push_back(piece.unit);
    }
  }
}

}  // namespace gpfq::job
