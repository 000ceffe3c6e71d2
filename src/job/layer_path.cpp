// SPDX-License-Identifier: Apache-2.0
// Streams blocks of inputs past a wave of tiles. No rank ever holds a whole activation or weight matrix.
#include "job/layer_path.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include "gpfq/base/digest.hpp"
#include "gpfq/base/parallel.hpp"
#include "gpfq/base/system.hpp"
#include "gpfq/quant/tile_path.hpp"

namespace gpfq::job {
namespace {

using store::Network;

/// Neurons of one tile.
Range tile_neurons(const LayerPlan& layer, Index tile) {
  return {tile * layer.tile_width, std::min(layer.neurons, (tile + 1) * layer.tile_width)};
}

std::vector<quant::Alphabet> alphabets_of(const LayerShard& shard, Range neurons) {
  const auto first = shard.alphabets.alphabets.begin() + (neurons.begin - shard.alphabets.neurons.begin);
  return {first, first + neurons.size()};
}

TileReport make_report(Range neurons, std::span<const std::uint8_t> codes) {
  TileReport report;
  report.first_neuron = neurons.begin;
  report.neurons = neurons.size();
  report.codes_sha256 = sha256(codes.data(), static_cast<Index>(codes.size()));
  return report;
}

void read_block(const LayerShard& shard, const store::ActivationStore& inputs, Index first, Index count,
                quant::InputBlock& block) {
  const quant::PathShape& shape = shard.layer.path;
  block.begin(count);
  inputs.read_inputs(shard.input_node, shape.shared ? Network::analog : Network::quantized, first, count,
                     block.quantized(), shape.stride());
  if (!shape.shared)
    inputs.read_inputs(shard.input_node, Network::analog, first, count, block.analog(), shape.stride());
  if (const auto found = block.find_unusable())
    throw_input("layer '{}': input {} is not usable at sample {}: expected finite activations below 1e15",
                shard.layer.name, first + found->second, found->first);
}

}  // namespace

void quantize_by_path(const LayerShard& shard, const net::Parameters& weights, const store::ActivationStore& inputs,
                      store::QuantizedFile& result, RankReport& report) {
  const LayerPlan& layer = shard.layer;
  const quant::PathShape& shape = layer.path;
  const Index wave_tiles = tiles_per_wave(layer, shard.memory_per_rank);
  if (shard.tiles.empty()) return;
  quant::InputBlock block(shape);
  for (Index begin = shard.tiles.begin; begin < shard.tiles.end; begin += wave_tiles) {
    const Range wave{begin, std::min(shard.tiles.end, begin + wave_tiles)};
    Stopwatch reading_weights;
    std::vector<std::unique_ptr<quant::TilePath>> tiles;
    for (Index tile = wave.begin; tile < wave.end; ++tile) {
      const Range neurons = tile_neurons(layer, tile);
      tiles.push_back(std::make_unique<quant::TilePath>(shape, layer.tile_width, alphabets_of(shard, neurons)));
      weights.read_rows(layer.tensor, neurons.begin, neurons.size(), tiles.back()->weights().data());
    }
    report.seconds["read"] += reading_weights.seconds();
    for (Index first = 0; first < shape.inputs; first += shape.block_width) {
      Stopwatch reading;
      read_block(shard, inputs, first, std::min(shape.block_width, shape.inputs - first), block);
      report.seconds["read"] += reading.seconds();
      Stopwatch forming;
      block.form_products(shard.threads);
      report.seconds["products"] += forming.seconds();
      Stopwatch advancing;
      parallel_for(wave.size(), shard.threads, [&](Index i) { tiles[static_cast<std::size_t>(i)]->advance(block); });
      report.seconds["path"] += advancing.seconds();
      if (begin == shard.tiles.begin) report.dead_inputs += block.dead_count();
    }
    Stopwatch writing;
    for (Index tile = wave.begin; tile < wave.end; ++tile) {
      const quant::TilePath& path = *tiles[static_cast<std::size_t>(tile - wave.begin)];
      const Range neurons = tile_neurons(layer, tile);
      result.write_codes(layer.name, neurons.begin, neurons.size(), path.codes().data());
      const quant::TileStatistics statistics = path.statistics();
      TileReport& tile_report = report.tiles.emplace_back(make_report(neurons, path.codes()));
      tile_report.saturated = statistics.saturated;
      tile_report.zeros = statistics.zeros;
      tile_report.residual_squared_norm = statistics.residual_squared_norm;
    }
    report.seconds["write"] += writing.seconds();
  }
}

void quantize_by_rounding(const LayerShard& shard, const net::Parameters& weights, store::QuantizedFile& result,
                          RankReport& report) {
  const LayerPlan& layer = shard.layer;
  const Stopwatch rounding;
  for (Index tile = shard.tiles.begin; tile < shard.tiles.end; ++tile) {
    const Range neurons = tile_neurons(layer, tile);
    const std::vector<quant::Alphabet> alphabets = alphabets_of(shard, neurons);
    std::vector<float> values(static_cast<std::size_t>(neurons.size() * layer.path.inputs));
    std::vector<std::uint8_t> codes(values.size());
    weights.read_rows(layer.tensor, neurons.begin, neurons.size(), values.data());
    Index saturated = 0;
    Index zeros = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const quant::Alphabet& alphabet = alphabets[i / static_cast<std::size_t>(layer.path.inputs)];
      const int code = alphabet.nearest(values[i]);
      codes[i] = static_cast<std::uint8_t>(code);
      saturated += std::abs(values[i]) > static_cast<float>(alphabet.levels()) * alphabet.step() ? 1 : 0;
      zeros += 2 * code == alphabet.levels() - 1 ? 1 : 0;
    }
    result.write_codes(layer.name, neurons.begin, neurons.size(), codes.data());
    TileReport& tile_report = report.tiles.emplace_back(make_report(neurons, codes));
    tile_report.saturated = saturated;
    tile_report.zeros = zeros;
  }
  report.seconds["path"] += rounding.seconds();
}

}  // namespace gpfq::job
