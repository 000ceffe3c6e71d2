// SPDX-License-Identifier: Apache-2.0
#include "job/checkpoint_check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "gpfq/base/error.hpp"
#include "gpfq/base/text.hpp"
#include "job/report.hpp"
#include "job/tile_states.hpp"

namespace gpfq::job {
namespace {

constexpr Index most_serial = Index{1} << 40;

/// Checks that name what they look at: "run/checkpoint/job.ckpt: layer 'fc1': tile 7, expected 0 to 3".
class Check {
 public:
  Check(std::string where, std::string what) : where_(std::move(where)), what_(std::move(what)) {}

  void range(const char* name, Index found, Index first, Index last) const {
    if (found < first || found > last) throw_input("{}: {}: {} {}, expected {} to {}", where_, what_, name, found, first, last);
  }
  void length(const char* name, std::size_t found, Index expected) const {
    if (static_cast<Index>(found) != expected)
      throw_input("{}: {}: {} values of {}, expected {}", where_, what_, found, name, expected);
  }
  /// Of that length, or none.
  void length_if_any(const char* name, std::size_t found, Index expected) const {
    if (found != 0) length(name, found, expected);
  }
  template <class T>
  void finite(const char* name, const std::vector<T>& values) const {
    for (const T value : values) finite(name, value);
  }
  /// Largest magnitudes: numbers, and not negative.
  void magnitudes(const char* name, const std::vector<double>& values) const {
    for (const double value : values)
      if (!(std::isfinite(value) && value >= 0))
        throw_input("{}: {}: {} is {}, expected a finite number, not negative", where_, what_, name, value);
  }
  void finite(const char* name, double value) const {
    if (!std::isfinite(value)) throw_input("{}: {}: {} is {}, expected a finite number", where_, what_, name, value);
  }
  void holds(bool condition, const char* text) const {
    if (!condition) throw_input("{}: {}: expected {}", where_, what_, text);
  }
  /// Runs as missing_from() takes them.
  void runs(const char* name, const std::map<Index, Index>& runs, Index last) const {
    for (const auto& [begin, end] : runs) {
      range(name, begin, 0, last);
      range(name, end, begin, last);
    }
  }
  void frame(const store::FileFrame& frame) const {
    for (const store::FileRange& hole : frame.holes) {
      range("a file's range at", hole.begin, 0, frame.size);
      range("a file's range of", hole.bytes, 0, frame.size - hole.begin);
    }
  }

 private:
  std::string where_;
  std::string what_;
};

/// What is written to the result again when a run goes on.
void check_values(const Check& check, const LayerPlan& layer, const std::vector<float>& radius,
                  const std::vector<float>& step, const std::vector<float>& bias, bool must_be_there) {
  if (must_be_there) check.length("radius", radius.size(), layer.neurons);
  check.length_if_any("radius", radius.size(), layer.neurons);
  check.length("step", step.size(), static_cast<Index>(radius.size()));
  check.length_if_any("bias", bias.size(), layer.corrects_bias ? layer.neurons : 0);
  check.finite("radius", radius);
  check.finite("step", step);
  check.finite("bias", bias);
}

/// @param is_whole  of a finished layer, whose tiles are all there
void check_report(const Check& check, const LayerPlan& layer, const net::Graph& graph, const RankReport& report, bool is_whole) {
  const Shape& shape = graph.tensor_shape(layer.tensor);
  const Index kernel = shape.size() > 1 ? element_count(shape) / shape[0] / shape[1] : 1;
  const Index most_rows = std::max(layer.tile_width, rows_together(layer));
  Index weights = 0;
  for (const TileReport& tile : report.tiles) {
    check.range("a finished tile's neuron", tile.first_neuron, 0, layer.neurons - 1);
    check.range("a finished tile's neurons", tile.neurons, 1, std::min(most_rows, layer.neurons - tile.first_neuron));
    check.range("a finished tile's input", tile.first_input, 0, layer.inputs - 1);
    check.range("a finished tile's inputs", tile.inputs, 1, layer.inputs - tile.first_input);
    check.holds(tile.first_input % kernel == 0 && tile.inputs % kernel == 0, "finished tiles of whole kernels");
    check.length_if_any("a finished tile's bias", tile.bias.size(), layer.corrects_bias ? tile.neurons : 0);
    check.finite("a finished tile's bias", tile.bias);
    check.holds(!(tile.difference < 0 || tile.reference < 0), "norms of a finished tile's outputs, none below 0");
    weights += tile.neurons * tile.inputs;
  }
  check.holds(find_overlap(report.tiles) == nullptr, "each finished weight once");
  if (is_whole) check.range("weights of finished tiles", weights, layer.neurons * layer.inputs, layer.neurons * layer.inputs);
}

void check_tensor(const Check& check, const net::Graph& graph, const TensorRecord& tensor) {
  check.range("node", tensor.node, 0, graph.size() - 1);
  check.range("network", tensor.network, 0, 1);
  check.frame(tensor.frame);
  if (!tensor.is_whole) return;
  const Shape& shape = graph.node(tensor.node).shape;
  check.length("bounds", tensor.bounds.size(), shape.empty() ? 1 : shape.front());
  check.magnitudes("a bound", tensor.bounds);
}

void check_record(const Check& check, const LayerPlan& layer, const TileRecord& record) {
  check.range("tile", record.tile, 0, layer.tile_count() - 1);
  check.range("candidate", record.candidate, 0, layer.candidates - 1);
  check.range("slot", record.slot, 0, layer.tile_count() * layer.candidates - 1);
  check.range("pass", record.pass, layer.searches_layer ? TilePosition::search : TilePosition::path, layer.sweeps);
  check.range("input", record.state.next_input, 0, layer.path.inputs);
  check.holds(record.state.next_input % layer.path.block_width == 0 || record.state.next_input == layer.path.inputs,
              "a tile between two blocks of inputs");
}

/// Sums of columns as far as they are counted: of each network by itself, then, at the end, one behind the other.
void check_sums(const Check& check, const LayerPlan& layer, const PathKnowledge& known) {
  const quant::PathShape& path = layer.path;
  check.range("inputs counted", known.counted, 0, path.inputs);
  const bool has_sums = path.sums_columns && known.counted > 0;
  const bool is_whole = known.counted == path.inputs;
  check.length("sums", known.column_sums.size(), !has_sums ? 0 : is_whole ? 1 : path.networks());
  for (const std::vector<double>& sums : known.column_sums)
    check.length("a sum", sums.size(), known.counted * (is_whole ? path.networks() : 1));
}

/// Which neurons have a radius already follows from how far their tiles are.
void check_chosen(const Check& check, const LayerPlan& layer, const LayerProgress& progress) {
  const std::vector<int>& chosen = progress.known.chosen;
  check.length_if_any("chosen radii", chosen.size(), layer.neurons);
  for (const int which : chosen) check.range("a chosen radius", which, layer.candidates > 1 ? -1 : 0, layer.candidates - 1);
  if (layer.candidates == 1) return;
  const auto is_chosen = [&](Index neuron) { return !chosen.empty() && chosen[static_cast<std::size_t>(neuron)] >= 0; };
  if (layer.form != Form::residual || layer.searches_layer) {
    const bool all = is_chosen(0);
    for (Index neuron = 0; neuron < static_cast<Index>(chosen.size()); ++neuron)
      check.holds(is_chosen(neuron) == all, "radii of all neurons or none");
    check.holds(all || layer.form != Form::gram || chosen.empty(), "radii of all neurons or none");
    check.holds(all || progress.report.tiles.empty(), "a radius where tiles are finished");
  }
  std::set<Index> past;
  for (const TileRecord& record : progress.tiles)
    if (record.pass > TilePosition::path) past.insert(record.tile);
  for (const TileReport& tile : progress.report.tiles) past.insert(tile.first_neuron / layer.tile_width);
  if (layer.form != Form::residual) return;
  for (Index tile = 0; tile < layer.tile_count(); ++tile) {
    const TileBox box = tile_box(layer, tile);
    for (Index neuron = box.first_neuron; neuron < box.first_neuron + box.neurons; ++neuron)
      check.holds(layer.searches_layer ? is_chosen(neuron) || past.count(tile) == 0 : is_chosen(neuron) == (past.count(tile) != 0),
                  "a radius for the tiles that are past their path, and for no others");
  }
}

void check_progress(const Check& check, const LayerPlan& layer, const net::Graph& graph, const LayerProgress& progress) {
  check_report(check, layer, graph, progress.report, false);
  check_values(check, layer, progress.radius, progress.step, progress.bias, progress.is_quantized);
  check.holds(progress.units.empty() || layer.path.keeps_outputs, "no outputs of a layer whose path keeps none");
  for (const std::vector<double>& bounds : progress.bounds)
    if (!progress.units.empty()) check.length("bounds of outputs", bounds.size(), layer.neurons);
  for (const OutputUnit& unit : progress.units) {
    check.range("an output's tile", unit.tile, 0, layer.tile_count() - 1);
    check.range("an output's chunk", unit.chunk, 0, layer.path.chunk_total() - 1);
  }
  check.holds(progress.tiles.empty() || layer.form == Form::residual, "tiles in residual form only");
  for (const TileRecord& record : progress.tiles) check_record(check, layer, record);
  for (const Index tile : progress.known.scored) check.range("a scored tile", tile, 0, layer.tile_count() - 1);
  const Index parts = layer.form == Form::gram && layer.channelwise ? layer.problems / layer.groups : 1;
  check.length_if_any("scores", progress.known.scores.size(), parts * layer.neurons * layer.candidates);
  check_sums(check, layer, progress.known);
  if (!progress.is_quantized) check_chosen(check, layer, progress);
  check.holds(progress.sums.file.empty() || layer.form == Form::gram, "sums in Gram form only");
  check.runs("summed rows", progress.sums.done, layer.path.chunk_total());
  check.holds(progress.sums.done.empty() == progress.sums.file.empty(), "rows in sums where there is a file of them");
}

}  // namespace

void validate(const Checkpoint& checkpoint, const JobPlan& plan, const net::Graph& graph, const std::string& where) {
  const std::vector<const LayerPlan*> layers = plan.quantized_layers();
  const Check whole(where, "the run");
  whole.range("finished layers", static_cast<Index>(checkpoint.layers.size()), 0, static_cast<Index>(layers.size()));
  whole.range("serial number", checkpoint.serial, 0, most_serial);
  whole.range("restarts", checkpoint.restarts, 0, most_serial);
  whole.finite("time spent", checkpoint.seconds);
  whole.frame(checkpoint.result);
  for (const auto& [name, frame] : checkpoint.states) Check(where, name).frame(frame);
  for (std::size_t i = 0; i < checkpoint.layers.size(); ++i) {
    const LayerRecord& record = checkpoint.layers[i];
    const Check check(where, fmt::format("layer '{}'", layers[i]->name));
    check_report(check, *layers[i], graph, record.report, true);
    check_values(check, *layers[i], record.radius, record.step, record.bias, true);
  }
  std::set<std::pair<int, int>> seen;
  for (const TensorRecord& tensor : checkpoint.tensors) {
    const Check check(where, fmt::format("stored tensor {}", seen.size()));
    check_tensor(check, graph, tensor);
    check.holds(seen.emplace(tensor.node, tensor.network).second, "each tensor once");
  }
  for (const EvaluationRecord& record : checkpoint.evaluations) {
    const Check check(where, "an evaluation");
    check.runs("units", record.done, most_serial);
    for (const std::int64_t count : record.counts) check.range("count", count, 0, most_serial);
  }
  const LayerProgress& progress = checkpoint.progress;
  for (const std::vector<double>& bounds : progress.bounds) whole.magnitudes("an output's bound", bounds);
  for (const std::vector<double>& bounds : progress.propagation.bounds) whole.magnitudes("a bound", bounds);
  if (checkpoint.layers.size() < layers.size()) {
    const LayerPlan& layer = *layers[checkpoint.layers.size()];
    check_progress(Check(where, fmt::format("layer '{}'", layer.name)), layer, graph, progress);
  } else {
    whole.holds(progress.tiles.empty() && progress.report.tiles.empty() && progress.sums.file.empty(),
                "no layer at work behind the last");
  }
}

}  // namespace gpfq::job
