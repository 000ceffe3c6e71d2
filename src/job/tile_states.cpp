// SPDX-License-Identifier: Apache-2.0
#include "job/tile_states.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "gpfq/base/digest.hpp"
#include "job/checkpointer.hpp"
#include "job/grid.hpp"
#include "job/report.hpp"

namespace gpfq::job {
namespace {

/// Where the kept arrays of a tile lie in its slot: array by array, all rows of the layer, neurons of a row together.
struct SlotLayout {
  explicit SlotLayout(const LayerPlan& layer) : width(layer.tile_width), whole(layer.path) {
    whole.first_chunk = 0;
    whole.local_chunks = -1;
  }
  [[nodiscard]] Index floats() const { return quant::TilePath::kept_arrays(whole) * whole.stride() * width; }
  [[nodiscard]] Index first(Index array, Index chunk) const { return (array * whole.stride() + whole.offset(chunk)) * width; }
  Index width;
  quant::PathShape whole;
};

std::string digest_of(std::span<const float> values) {
  return sha256(values.data(), static_cast<Index>(values.size_bytes()));
}

/// Fills what is not known of the record: all of it on the first rank of a row, the others tell of their rows.
void write_tile(const SlotLayout& layout, const quant::PathShape& shape, bool writes_codes, quant::TilePath& path,
                store::StateFile& file, TileRecord& record) {
  for (Index chunk = 0; chunk < shape.chunk_count(); ++chunk)
    for (Index array = 0; array < quant::TilePath::kept_arrays(shape); ++array) {
      const std::span<const float> values = path.kept(array, chunk);
      file.write_floats(record.slot, layout.first(array, shape.first_chunk + chunk), values);
      record.pieces[shape.first_chunk + chunk].push_back(digest_of(values));
    }
  if (!writes_codes) return;
  const std::span<const std::uint8_t> codes = path.codes();
  file.write_bytes(record.slot, 0, codes);
  record.state = path.state();
  record.codes_sha256 = sha256(codes.data(), static_cast<Index>(codes.size()));
}

/// Ranks with the same tiles and other rows tell of their rows.
std::vector<TileRecord> join_records(const std::vector<std::vector<TileRecord>>& ranks, const std::string& file) {
  std::map<Index, TileRecord> joined;  // by slot
  for (const std::vector<TileRecord>& records : ranks)
    for (const TileRecord& part : records) {
      TileRecord& record = joined.try_emplace(part.slot).first->second;
      std::map<Index, std::vector<std::string>> pieces = std::move(record.pieces);
      pieces.insert(part.pieces.begin(), part.pieces.end());
      if (!part.codes_sha256.empty()) record = part;
      record.pieces = std::move(pieces);
    }
  std::vector<TileRecord> all;
  for (auto& [slot, record] : joined) {
    record.file = file;
    all.push_back(std::move(record));
  }
  return all;
}

bool contains(const std::vector<Index>& tiles, Index tile) {
  return std::find(tiles.begin(), tiles.end(), tile) != tiles.end();
}

/// Root's side of the manifest.
void update_progress(LayerProgress& progress, std::vector<TileRecord> records, const TileWave& wave, Index tile_width,
                     const std::vector<RankReport>& reports) {
  progress.report = merge_reports(reports);
  std::vector<Index> done = wave.all;
  for (const TileReport& tile : progress.report.tiles) done.push_back(tile.first_neuron / tile_width);
  for (TileRecord& earlier : progress.tiles) {
    const bool was_searched = earlier.pass == TilePosition::search && contains(progress.known.scored, earlier.tile);
    if (!was_searched && !contains(done, earlier.tile)) records.push_back(std::move(earlier));
  }
  progress.tiles = std::move(records);
}

}  // namespace

Index checkpoint_bytes(const JobPlan& plan, const Config& config, int ranks) {
  constexpr Index overhead = 16384;  // HDF5's tables
  Index most = 0;
  for (const LayerPlan* layer : plan.quantized_layers()) {
    if (layer->form == Form::gram)
      most = std::max(most, 2 * (layer->problems * quant::GramProducts::sum_bytes(layer->gram_extent()) + overhead));
    if (layer->form != Form::residual) continue;
    const RankGrid grid = choose_grid(*layer, config, ranks);
    const Index at_once = std::max<Index>(1, config.memory_per_rank / layer->tile_bytes) * grid.samples;
    const Index tiles = std::min(layer->tile_count(), at_once * grid.neurons);
    const SlotLayout layout(*layer);
    const Index slot = layout.floats() * static_cast<Index>(sizeof(float)) + layout.width * layout.whole.inputs;
    most = std::max(most, 2 * (tiles * layer->candidates * slot + overhead));
  }
  return most;
}

void save_tiles(const LayerTask& task, const StreamRanks& ranks, const quant::PathShape& shape, const TileWave& wave,
                int pass, Index candidates, Tiles& tiles, const PathKnowledge& known, const RankReport& report) {
  Checkpointer& checkpointer = task.checkpointer;
  const SlotLayout layout(task.layer);
  task.result.flush();
  if (task.outputs != nullptr) task.outputs->flush();
  const std::string name = checkpointer.next_state_name();
  checkpointer.make_folder();
  store::StateFile file(task.comm, checkpointer.path_of(name),
                        {static_cast<Index>(wave.all.size()) * candidates, layout.floats(),
                         layout.width * layout.whole.inputs});
  std::vector<TileRecord> mine;
  task.comm.agree([&] {
    for (std::size_t i = 0; i < tiles.size(); ++i) {
      TileRecord& record = mine.emplace_back();
      record.tile = wave.mine[i / static_cast<std::size_t>(candidates)];
      record.candidate = static_cast<Index>(i) % candidates;
      record.slot = (std::lower_bound(wave.all.begin(), wave.all.end(), record.tile) - wave.all.begin()) * candidates +
                    record.candidate;
      record.pass = pass;
      write_tile(layout, shape, ranks.row.is_root(), *tiles[i], file, record);
    }
  });
  file.close();
  std::vector<TileRecord> records = join_records(task.comm.gather(mine), name);
  const std::vector<RankReport> reports = task.comm.gather(so_far(task, report));
  std::vector<OutputUnit> units;
  std::array<std::vector<double>, 2> bounds;
  if (task.outputs != nullptr) {
    for (const std::vector<OutputUnit>& part : task.comm.gather(task.outputs->units()))
      units.insert(units.end(), part.begin(), part.end());
    bounds = task.outputs->bounds();
    for (std::vector<double>& bound : bounds) task.comm.max(bound);
  }
  task.comm.agree([&] {
    if (!task.comm.is_root()) return;
    LayerProgress& progress = checkpointer.state().progress;
    progress.known = known;
    update_progress(progress, std::move(records), wave, layout.width, reports);
    progress.units = std::move(units);
    progress.bounds = std::move(bounds);
    std::map<std::string, store::FileFrame> states;
    states[name] = file.frame();
    for (const TileRecord& record : progress.tiles)
      if (record.file != name) states[record.file] = checkpointer.state().states.at(record.file);
    checkpointer.state().states = std::move(states);
  });
  checkpointer.save();
}

TileStates::TileStates(const LayerTask& task, const std::vector<TileRecord>& records) : task_(task) {
  const Checkpointer& checkpointer = task.checkpointer;
  for (const TileRecord& record : records) {
    if (files_.count(record.file) != 0) continue;
    const std::filesystem::path path = checkpointer.path_of(record.file);
    task.comm.agree([&] {
      if (!task.comm.is_root()) return;
      const auto frame = checkpointer.state().states.find(record.file);
      if (frame == checkpointer.state().states.end()) throw_input("{} is not in the checkpoint's list", path.string());
      store::check_frame(path, frame->second);
    });
    files_.try_emplace(record.file, task.comm, path);
  }
}

void TileStates::restore(const TileRecord& record, const quant::PathShape& shape, quant::TilePath& tile) const {
  const SlotLayout layout(task_.layer);
  const store::StateFile& file = files_.at(record.file);
  const auto expect = [&](const std::string& found, const std::string& expected, const std::string& what) {
    if (found != expected)
      throw_input("{} is damaged: {} of tile {} has SHA-256 {:.12}, the checkpoint expects {:.12}",
                  task_.checkpointer.path_of(record.file).string(), what, record.tile, found, expected);
  };
  for (Index chunk = 0; chunk < shape.chunk_count(); ++chunk) {
    const Index at = shape.first_chunk + chunk;
    const auto digests = record.pieces.find(at);
    const Index arrays = quant::TilePath::kept_arrays(shape);
    if (digests == record.pieces.end() || static_cast<Index>(digests->second.size()) != arrays)
      throw_input("the checkpoint does not tell of chunk {} of tile {}", at, record.tile);
    for (Index array = 0; array < arrays; ++array) {
      const std::span<float> values = tile.kept(array, chunk);
      file.read_floats(record.slot, layout.first(array, at), values);
      expect(digest_of(values), digests->second[static_cast<std::size_t>(array)], fmt::format("chunk {}", at));
    }
  }
  std::vector<std::uint8_t> codes(tile.codes().size());
  file.read_bytes(record.slot, 0, codes);
  expect(sha256(codes.data(), static_cast<Index>(codes.size())), record.codes_sha256, "codes");
  tile.restore(record.state, codes);
}

}  // namespace gpfq::job
