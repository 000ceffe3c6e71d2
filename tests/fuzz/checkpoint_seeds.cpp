// SPDX-License-Identifier: Apache-2.0
// Checkpoints of a job in the middle of its second layer, and of one that has not begun.
#include "job/checkpoint.hpp"
#include "seeds.hpp"

namespace gpfq::fuzz {
namespace {

job::Checkpoint halfway() {
  job::Checkpoint checkpoint;
  checkpoint.fingerprint = {{"model", "abc"}, {"quantization.levels", "3"}};
  const store::FileFrame frame{1000, {{16, 8}, {100, 200}}, std::string(64, 'd')};
  checkpoint.result = frame;
  checkpoint.states["state-4.h5"] = frame;
  checkpoint.serial = 4;
  job::LayerRecord layer;
  layer.report.tiles.emplace_back();
  layer.report.seconds = {{"path", 1.5}, {"read", 0.5}};
  layer.radius = layer.step = {0.5F, 0.25F, 1.0F};
  layer.analog_sha256 = layer.quantized_sha256 = std::string(64, 'a');
  checkpoint.layers.push_back(layer);
  checkpoint.tensors.push_back({1, 0, true, frame, {1.0, 2.0}, std::string(64, 'e')});
  job::TileRecord tile;
  tile.tile = 3;
  tile.file = "state-4.h5";
  tile.state.saturated = {1, 2, 3, 4};
  tile.state.squared_norms = tile.state.gains = {0.5, 0.25, 1.0, 2.0};
  tile.state.sweep_gains = {0.5};
  tile.pieces = {{0, {"p", "q"}}, {1, {"r", "s"}}};
  checkpoint.progress.tiles.push_back(tile);
  checkpoint.progress.report = layer.report;
  checkpoint.progress.units.push_back({0, 1, 0.5, 2.0, {"a", "b"}});
  checkpoint.progress.bounds = {std::vector<double>{1, 2}, std::vector<double>{3}};
  checkpoint.progress.known = {16, {{1.0, 2.0}, {3.0}}, {0, 1, -1}, {3}, {0.5, 1.5}};
  checkpoint.progress.sums = {"state-4.h5", {std::string(64, 'f')}, {{0, 2}, {5, 6}}};
  checkpoint.progress.bias = {0.5F};
  checkpoint.progress.propagation = {{{0, {0.5, 1.0, {"p", "q"}}}}, {{1.0}, {2.0, 3.0}}};
  checkpoint.ranks = 2;
  checkpoint.time = 1700000000;
  return checkpoint;
}

}  // namespace

std::vector<std::string> checkpoint_seeds(const std::filesystem::path&) {
  return {job::pack_checkpoint(halfway()), job::pack_checkpoint({})};
}

std::vector<std::string> archive_seeds(const std::filesystem::path& folder) {
  std::vector<std::string> seeds = checkpoint_seeds(folder);
  for (std::string& seed : seeds) seed.erase(0, seed.find('\n') + 1);
  return seeds;
}

}  // namespace gpfq::fuzz
