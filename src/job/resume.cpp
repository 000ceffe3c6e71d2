// SPDX-License-Identifier: Apache-2.0
#include "job/resume.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <set>

#include "gpfq/base/digest.hpp"
#include "job/bias.hpp"
#include "job/tile_states.hpp"

namespace gpfq::job {
namespace {

/// "4 at input 512 of 4096 of sweep 2": the tiles, and where the first of them stands.
std::string position_text(const std::vector<TileRecord>& records, Index inputs) {
  std::set<Index> tiles;
  for (const TileRecord& record : records) tiles.insert(record.tile);
  const TileRecord& first = records.front();
  const std::string pass = first.pass == TilePosition::search ? " of the search for a radius"
                           : first.pass == TilePosition::path ? ""
                                                              : fmt::format(" of sweep {}", first.pass);
  return fmt::format("{} at input {} of {}{}", tiles.size(), first.state.next_input, inputs, pass);
}

/// This rank's share of the tiles.
void compare_codes(const mpi::Communicator& comm, const LayerPlan& layer, const std::vector<TileReport>& tiles,
                   const store::QuantizedFile& result) {
  const Range mine = ShardPlan(static_cast<Index>(tiles.size()), 1, comm.size()).pieces_of(comm.rank());
  std::vector<std::uint8_t> codes;
  for (Index i = mine.begin; i < mine.end; ++i) {
    const TileReport& tile = tiles[static_cast<std::size_t>(i)];
    codes.resize(static_cast<std::size_t>(tile.neurons * tile.inputs));
    result.read_codes(layer.name, {tile.first_neuron, tile.neurons, tile.first_input, tile.inputs}, codes.data());
    if (sha256(codes.data(), static_cast<Index>(codes.size())) != tile.codes_sha256)
      throw_input("{}.partial is damaged: the codes of layer '{}', neurons {} to {}, are not those of the checkpoint",
                  result.path().string(), layer.name, tile.first_neuron, tile.first_neuron + tile.neurons - 1);
  }
}

}  // namespace

std::string resume_text(const Checkpoint& state, const JobPlan& plan, int ranks) {
  const std::vector<const LayerPlan*> layers = plan.quantized_layers();
  std::string text = fmt::format("resumed after layer {} of {}", state.layers.size(), layers.size());
  const LayerProgress& progress = state.progress;
  const std::size_t units = progress.propagation.units.size();
  const bool has_begun = !progress.tiles.empty() || !progress.report.tiles.empty() || !progress.sums.done.empty();
  if (state.layers.size() < layers.size() && has_begun) {
    const LayerPlan& layer = *layers[state.layers.size()];
    const Index chunks = count_of(progress.sums.done);
    text += fmt::format(", in '{}' with {} of {} tiles finished", layer.name, progress.report.tiles.size(), layer.tile_count());
    if (!progress.tiles.empty()) text += " and " + position_text(progress.tiles, layer.path.inputs);
    if (chunks > 0)
      text += fmt::format(" and {} of {} rows in its sums", std::min(layer.path.samples, chunks * layer.path.sample_chunk),
                          layer.path.samples);
  }
  if (units > 0) text += fmt::format(", {} samples propagated", std::min(plan.samples, static_cast<Index>(units) * plan.sample_unit));
  const double age = static_cast<double>(std::time(nullptr)) - static_cast<double>(state.time);
  return text + fmt::format("; the checkpoint is {:.0f} s old, after {:.1f} s of work on {} ranks (now {}), restart {}", age,
                            state.seconds, state.ranks, ranks, state.restarts);
}

void restore_result(const mpi::Communicator& comm, const net::Graph& graph, const JobPlan& plan, const Checkpoint& state,
                    store::QuantizedFile& result) {
  const std::vector<const LayerPlan*> plans = plan.quantized_layers();
  const auto write = [&](const LayerPlan& layer, const auto& known) {
    result.write_alphabets(layer.name, 0, known.radius, known.step);
    if (!known.bias.empty()) result.write_vector(bias_of(graph, layer), 0, known.bias);
  };
  comm.agree([&] {
    for (std::size_t i = 0; i < state.layers.size(); ++i) {
      compare_codes(comm, *plans[i], state.layers[i].report.tiles, result);
      if (comm.is_root()) write(*plans[i], state.layers[i]);
    }
    if (state.layers.size() == plans.size()) return;
    const LayerPlan& layer = *plans[state.layers.size()];
    compare_codes(comm, layer, state.progress.report.tiles, result);
    if (!comm.is_root()) return;
    for (const TileReport& tile : state.progress.report.tiles)
      if (!tile.bias.empty()) result.write_vector(bias_of(graph, layer), tile.first_neuron, tile.bias);
    if (state.progress.is_quantized) write(layer, state.progress);
  });
  result.flush();
}

}  // namespace gpfq::job
