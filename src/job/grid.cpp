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
  Index least = 0;  // chunks of tiles of the rank with most of them
  for (int divisor = ranks; divisor >= 1; --divisor) {
    if (ranks % divisor != 0) continue;
    const Index work = ceil_div(layer.tile_count(), Index{divisor}) * ceil_div(layer.path.chunk_total(), Index{ranks / divisor});
    if (grid.neurons > 0 && work >= least) continue;
    grid = {divisor, ranks / divisor};
    least = work;
  }
  return grid;
}

int idle_ranks(const LayerPlan& layer, const Config& config, int ranks) {
  const RankGrid grid = choose_grid(layer, config, ranks);
  const Index tiles = std::min<Index>(grid.neurons, layer.tile_count());
  const Index rows = std::min<Index>(grid.samples, layer.path.chunk_total());
  const Index busy = layer.form == Form::gram ? std::min<Index>(ranks, std::max(layer.tile_count(), layer.path.chunk_total()))
                                              : tiles * (layer.form == Form::residual ? rows : 1);
  return ranks - static_cast<int>(busy);
}

Index shared_blocks(Index room, Index block_bytes, Index windows) {
  if (block_bytes == 0) return 2;
  return std::clamp<Index>(room / (block_bytes * windows), 0, 2);
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
  shares.tiles = ShardPlan(layer.tile_count(), 1, shares.grid.neurons).most_pieces();
  shares.memory = divide_memory(layer, shares.shape, shares.sharers, shares.tiles, config.memory_per_rank);
  shares.wave_tiles = std::min(shares.memory.wave_tiles, shares.tiles);
  shares.bytes = shares.memory.bytes - (shares.memory.wave_tiles - shares.wave_tiles) * layer.candidates *
                                           quant::TilePath::bytes(shares.shape, layer.tile_width);
  return shares;
}

Index waves_of(const LayerPlan& layer, const Config& config, int ranks, int nodes) {
  if (layer.form == Form::residual) return stream_shares(layer, config, ranks, nodes).waves();
  const Index tiles = ShardPlan(layer.tile_count(), 1, ranks).most_pieces();
  return layer.form == Form::gram ? ceil_div(tiles, gram_shares(layer, config.threads, config.memory_per_rank).tiles) : tiles;
}

}  // namespace gpfq::job
