// SPDX-License-Identifier: Apache-2.0
// Tiles in the middle of their path, to state files and back. They are known by tile and chunk of rows, not by rank.
#pragma once

#include <compare>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gpfq/quant/tile_path.hpp"
#include "gpfq/store/state_file.hpp"
#include "job/block_stream.hpp"
#include "job/checkpoint.hpp"
#include "job/layer_path.hpp"

namespace gpfq::job {

using Tiles = std::vector<std::unique_ptr<quant::TilePath>>;

/// A wave on all ranks.
struct TileWave {
  std::vector<Index> all;   ///< tiles of all groups of neurons: the same on all ranks
  std::vector<Index> mine;  ///< of this rank, as in `tiles`
};

/// Where a tile stands: in the search for the layer's radius, in the path, or in a sweep, and at which input of it.
struct TilePosition {
  static constexpr int search = -1;
  static constexpr int path = 0;  ///< sweeps count from 1
  int pass = path;
  Index next_input = 0;
  [[nodiscard]] auto operator<=>(const TilePosition&) const = default;
};

/// Puts the layer's state on disk, the wave's tiles in a new state file. Tiles that are neither finished nor in the wave
/// keep the state that they had. Collective.
/// @param shape   with this rank's rows
/// @param tiles   those of wave.mine, each with all its candidates in turn
/// @param report  of this rank so far
void save_tiles(const LayerTask& task, const StreamRanks& ranks, const quant::PathShape& shape, const TileWave& wave,
                int pass, Index candidates, Tiles& tiles, const PathKnowledge& known, const RankReport& report);

/// Disk that checkpoints inside layers take at most: the tiles that the ranks have at work, or the sums of the Gram form
/// (whole squares), twice, for a state file is written beside the last one.
[[nodiscard]] Index checkpoint_bytes(const JobPlan& plan, const Config& config, int ranks);

/// State files of an earlier run, open for reading.
class TileStates {
 public:
  /// Opens what `records` name. Collective. @throws Error (input) naming a file that is missing or damaged.
  TileStates(const LayerTask& task, const std::vector<TileRecord>& records);

  /// Brings a tile to where it was. @throws Error (input) naming file and tile whose digest is another.
  void restore(const TileRecord& record, const quant::PathShape& shape, quant::TilePath& tile) const;

 private:
  const LayerTask& task_;
  std::map<std::string, store::StateFile> files_;
};

}  // namespace gpfq::job
