// SPDX-License-Identifier: Apache-2.0
// The arithmetic of rank grids and the sums along their rows.
#include "job/grid.hpp"

#include <algorithm>

#include "gpfq/quant/tile_path.hpp"
#include "gpfq/base/error.hpp"

namespace gpfq::job {

RankGrid choose_grid(const LayerPlan& layer, const Config& config, int ranks) {
  RankGrid grid = config.grid;
  if (grid.neurons > 0) {
    if (static_cast<Index>(grid.neurons) * grid.samples != ranks)
      throw_input("config: 'quantization.grid' is {}x{}, which is {} ranks; there are {}", grid.neurons, grid.samples,
                  static_cast<Index>(grid.neurons) * grid.samples, ranks);
  }
  if (layer.form != Form::residual) return {ranks, 1};
  if (grid.neurons > 0) return grid;
  grid.neurons = 1;
  for (int divisor = 1; divisor <= ranks; ++divisor)
    if (ranks % divisor == 0 && divisor <= layer.tile_count()) grid.neurons = divisor;
  grid.samples = ranks / grid.neurons;
  return grid;
}

void RankReducer::sum(std::span<std::int64_t> values) {
  if (comm_.size() > 1) comm_.sum(values);
}

void RankReducer::max(std::span<double> values) {
  if (comm_.size() > 1) comm_.max(values);
}

StreamShares stream_shares(const LayerPlan& layer, const Config& config, int ranks, int nodes) {
  StreamShares shares;
  shares.grid = choose_grid(layer, config, ranks);
  shares.shape = layer.path;
  shares.shape.local_chunks = ShardPlan(layer.path.chunk_total(), 1, shares.grid.samples).most_pieces();
  const int on_node = std::max(1, (ranks + nodes - 1) / nodes / shares.grid.samples);
  const int asked = config.stream.ranks_per_node;
  shares.sharers = asked > 0 ? std::min(asked, on_node) : on_node;
  shares.windows = (shares.grid.neurons + shares.sharers - 1) / shares.sharers;
  shares.memory = divide_memory(layer, shares.shape, shares.sharers, config.memory_per_rank);
  shares.tiles = ShardPlan(layer.tile_count(), 1, shares.grid.neurons).most_pieces();
  shares.wave_tiles = std::min(shares.memory.wave_tiles, shares.tiles);
  shares.bytes = shares.memory.bytes - (shares.memory.wave_tiles - shares.wave_tiles) * layer.candidates *
                                           quant::TilePath::bytes(shares.shape, layer.tile_width);
  return shares;
}

}  // namespace gpfq::job
