// SPDX-License-Identifier: Apache-2.0
// Report texts. report.json is a contract: keys are added, not renamed.
#include "job/report.hpp"

#include <H5public.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "gpfq/base/error.hpp"
#include "gpfq/base/text.hpp"
#include "gpfq/mpi/communicator.hpp"
#include "job/blas.hpp"

namespace gpfq::job {
namespace {

using OrderedJson = nlohmann::ordered_json;

OrderedJson versions() {
  unsigned major = 0;
  unsigned minor = 0;
  unsigned release = 0;
  H5get_libversion(&major, &minor, &release);
  char mpi[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  MPI_Get_library_version(mpi, &length);
  const std::string mpi_text(mpi);
  return {{"gpfq", GPFQ_VERSION},
          {"hdf5", fmt::format("{}.{}.{}", major, minor, release)},
          {"mpi", mpi_text.substr(0, mpi_text.find(','))},
          {"compiler", __VERSION__}};
}

OrderedJson accuracy_json(const Accuracy& accuracy) {
  return {{"top1", accuracy.top1_fraction()},
          {"top5", accuracy.top5_fraction()},
          {"top1_correct", accuracy.top1},
          {"top5_correct", accuracy.top5},
          {"samples", accuracy.samples}};
}

Index total(const LayerReport& layer, Index TileReport::* count) {
  Index sum = 0;
  for (const TileReport& tile : layer.all.tiles) sum += tile.*count;
  return sum;
}

OrderedJson layer_json(const LayerReport& layer) {
  OrderedJson json = {{"name", layer.plan.name},
               {"kind", layer.kind},
               {"method", method_name(layer.plan.method)},
               {"form", form_name(layer.plan.form)},
               {"form_reason", layer.plan.reason},
               {"inputs", layer.plan.inputs},
               {"neurons", layer.plan.neurons},
               {"samples", layer.samples()},
               {"rows", layer.plan.path.samples},
               {"groups", layer.plan.groups},
               {"channelwise", layer.plan.channelwise},
               {"block", layer.plan.path.block_width},
               {"tile", layer.plan.tile_width},
               {"shared_inputs", layer.plan.path.shared},
               {"levels", layer.settings.levels},
               {"radius_rule", radius_name(layer.settings)},
               {"radius", layer.all.largest_radius},
               {"radius_smallest", layer.all.smallest_radius},
               {"radius_from_nonzero_weights", layer.all.radius_fell_back},
               {"relative_error", layer.relative_error()},
               {"relative_error_by_sweep", layer.error_by_sweep()},
               {"bias_corrected", layer.plan.corrects_bias},
               {"dead_inputs", layer.all.dead_inputs},
               {"saturated", layer.fraction(total(layer, &TileReport::saturated))},
               {"zeros", layer.fraction(total(layer, &TileReport::zeros))},
               {"activations_sha256", {{"analog", layer.analog_sha256}, {"quantized", layer.quantized_sha256}}},
               {"seconds", layer.all.seconds},
               {"bytes_read", layer.all.bytes_read},
               {"bytes_written", layer.all.bytes_written},
               {"peak_memory", layer.all.peak_memory},
               {"proportional_memory", layer.all.proportional_memory}};
  if (layer.error.reference == 0) json["relative_error"] = nullptr;
  return json;
}

/// The relative error; `none` where the layer's outputs are all zero.
std::string error_text(const LayerReport& layer, fmt::format_string<double> format, const char* none) {
  return layer.error.reference > 0 ? fmt::format(format, layer.relative_error()) : none;
}

std::string percent(const Accuracy& accuracy) {
  return fmt::format("{:.2f} % ({} of {})", 100 * accuracy.top1_fraction(), accuracy.top1, accuracy.samples);
}

}  // namespace

double LayerReport::relative_error() const {
  return error.reference > 0 ? std::sqrt(error.difference / error.reference) : std::nan("");
}

std::vector<double> LayerReport::error_by_sweep() const {
  std::vector<double> gains;
  for (const TileReport& tile : all.tiles) {
    gains.resize(std::max(gains.size(), tile.gains.size()), 0.0);
    for (std::size_t i = 0; i < tile.gains.size(); ++i) gains[i] += tile.gains[i];
  }
  std::vector<double> errors{relative_error()};
  // Gains are over the rows that were used, the error over all.
  const double rows = static_cast<double>(positions) / static_cast<double>(plan.rows_per_sample);
  double difference = error.difference;
  for (auto gain = gains.rbegin(); gain != gains.rend(); ++gain) {
    difference += *gain * rows;
    errors.insert(errors.begin(), error.reference > 0 ? std::sqrt(difference / error.reference) : std::nan(""));
  }
  return errors;
}

double LayerReport::fraction(Index count) const {
  return static_cast<double>(count) / (static_cast<double>(plan.neurons) * static_cast<double>(plan.inputs));
}

RankReport merge_reports(const std::vector<RankReport>& ranks) {
  RankReport all;
  all.smallest_radius = HUGE_VAL;
  for (const RankReport& rank : ranks) {
    all.tiles.insert(all.tiles.end(), rank.tiles.begin(), rank.tiles.end());
    all.dead_inputs = std::max(all.dead_inputs, rank.dead_inputs);
    if (!rank.tiles.empty()) {
      all.smallest_radius = std::min(all.smallest_radius, rank.smallest_radius);
      all.largest_radius = std::max(all.largest_radius, rank.largest_radius);
    }
    all.radius_fell_back = all.radius_fell_back || rank.radius_fell_back;
    all.copies_blocks = all.copies_blocks || rank.copies_blocks;
    for (const auto& [phase, seconds] : rank.seconds) all.seconds[phase] = std::max(all.seconds[phase], seconds);
    all.bytes_read += rank.bytes_read;
    all.bytes_written += rank.bytes_written;
    all.peak_memory = std::max(all.peak_memory, rank.peak_memory);
    all.proportional_memory = std::max(all.proportional_memory, rank.proportional_memory);
  }
  std::sort(all.tiles.begin(), all.tiles.end(), [](const TileReport& a, const TileReport& b) {
    return std::pair{a.first_neuron, a.first_input} < std::pair{b.first_neuron, b.first_input};
  });
  return all;
}

const TileReport* find_overlap(const std::vector<TileReport>& tiles) {
  std::vector<const TileReport*> order;
  for (const TileReport& tile : tiles) order.push_back(&tile);
  std::sort(order.begin(), order.end(), [](const TileReport* a, const TileReport* b) { return a->first_neuron < b->first_neuron; });
  std::map<Index, const TileReport*> open;  // by their first inputs: those that reach the neuron at hand
  std::multimap<Index, Index> ends;         // first inputs by the neuron behind
  for (const TileReport* const tile : order) {
    while (!ends.empty() && ends.begin()->first <= tile->first_neuron) {
      open.erase(ends.begin()->second);
      ends.erase(ends.begin());
    }
    const auto next = open.lower_bound(tile->first_input);
    if (next != open.end() && next->first < tile->first_input + tile->inputs) return tile;
    if (next != open.begin()) {
      const TileReport& before = *std::prev(next)->second;
      if (before.first_input + before.inputs > tile->first_input) return tile;
    }
    open.emplace(tile->first_input, tile);
    ends.emplace(tile->first_neuron + tile->neurons, tile->first_input);
  }
  return nullptr;
}

RankReport join_reports(const LayerPlan& layer, const std::vector<RankReport>& ranks) {
  RankReport all = merge_reports(ranks);
  if (const TileReport* const tile = find_overlap(all.tiles))
    throw_fault("layer '{}': neuron {} was reported twice", layer.name, tile->first_neuron);
  Index weights = 0;
  for (const TileReport& tile : all.tiles) weights += tile.neurons * tile.inputs;
  if (weights != layer.neurons * layer.inputs)
    throw_fault("layer '{}': the ranks reported {} weights, the layer has {}", layer.name, weights,
                layer.neurons * layer.inputs);
  return all;
}

std::string report_json(const JobReport& report) {
  OrderedJson json = {{"gpfq_report", 1}, {"codes_sha256", report.codes_sha256}};
  if (report.accuracy)
    json["accuracy"] = {{"analog", accuracy_json(report.accuracy->analog)},
                        {"quantized", accuracy_json(report.accuracy->quantized)},
                        {"msq", accuracy_json(report.accuracy->msq)}};
  json["layers"] = OrderedJson::array();
  for (std::size_t i = 0; i < report.layers.size(); ++i) {
    OrderedJson layer = layer_json(report.layers[i]);
    if (report.estimate) layer["estimated"] = layer_estimate_json(report.estimate->layers.at(i));
    json["layers"].push_back(std::move(layer));
  }
  if (report.estimate) json["estimated"] = job_estimate_json(*report.estimate);
  json["seconds"] = report.seconds;
  json["bytes_read"] = report.bytes_read;
  json["bytes_written"] = report.bytes_written;
  json["scratch_peak_bytes"] = report.scratch_peak_bytes;
  json["peak_memory"] = report.peak_memory;
  json["memory_per_rank"] = report.memory_per_rank;
  json["ranks"] = report.ranks;
  json["threads"] = report.threads;
  json["restarts"] = report.restarts;
  json["checkpoint_seconds"] = report.checkpoint_seconds;
  json["fingerprint"] = report.fingerprint;
  json["blas"] = blas_core();
  json["versions"] = versions();
  json["config"] = OrderedJson::parse(report.config_text);
  return json.dump(2) + "\n";
}

FinishedRun read_finished_run(const std::filesystem::path& report) {
  std::ifstream file(report);
  const OrderedJson json = OrderedJson::parse(file, nullptr, false);
  try {
    return {json.at("codes_sha256").get<std::string>(), json.at("fingerprint").get<Fingerprint>()};
  } catch (const OrderedJson::exception& error) {
    throw_input("{} is not the report of a run: {}", report.string(), error.what());
  }
}

std::string report_csv(const JobReport& report) {
  std::string text =
      "name,kind,method,form,inputs,neurons,samples,levels,radius,relative_error,dead_inputs,saturated,zeros,seconds,"
      "rows\n";
  for (const LayerReport& layer : report.layers) {
    const OrderedJson json = layer_json(layer);
    double seconds = 0;
    for (const auto& [phase, value] : layer.all.seconds) seconds += value;
    std::string name = layer.plan.name;  // quoted as RFC 4180 has it
    for (std::size_t at = 0; (at = name.find('"', at)) != std::string::npos; at += 2) name.insert(at, 1, '"');
    text += fmt::format("\"{}\",{},{},{},{},{},{},{},{:.9g},{},{},{:.6g},{:.6g},{:.3f},{}\n", name, layer.shown_kind,
                        method_name(layer.plan.method), json["form"].get<std::string>(), layer.plan.inputs,
                        layer.plan.neurons, layer.samples(), layer.settings.levels, layer.all.largest_radius,
                        error_text(layer, "{:.6g}", ""), layer.all.dead_inputs, json["saturated"].get<double>(),
                        json["zeros"].get<double>(), seconds, layer.plan.path.samples);
  }
  return text;
}

std::string report_table(const JobReport& report) {
  std::size_t width = 5;
  for (const LayerReport& layer : report.layers) width = std::max(width, layer.plan.name.size());
  std::size_t kind_width = 5;
  for (const LayerReport& layer : report.layers) kind_width = std::max(kind_width, layer.shown_kind.size());
  std::string text = fmt::format("{:<{}}  {:<{}}  {:>8}  {:>8}  {:>6}  {:>14}  {:>6}\n", "layer", width, "kind",
                                 kind_width, "inputs", "neurons", "levels", "relative error", "method");
  for (const LayerReport& layer : report.layers)
    text += fmt::format("{:<{}}  {:<{}}  {:>8}  {:>8}  {:>6}  {:>14}  {:>6}\n", layer.plan.name, width,
                        layer.shown_kind, kind_width, layer.plan.inputs, layer.plan.neurons, layer.settings.levels,
                        error_text(layer, "{:.4f}", "-"), method_name(layer.plan.method));
  if (report.accuracy) {
    const bool rounds = std::all_of(report.layers.begin(), report.layers.end(),
                                    [](const LayerReport& layer) { return layer.plan.method == Method::msq; });
    text += fmt::format("\naccuracy  float  {}\n", percent(report.accuracy->analog));
    if (!rounds) text += fmt::format("          GPFQ   {}\n", percent(report.accuracy->quantized));
    text += fmt::format("          MSQ    {}   plain rounding to the same levels\n", percent(report.accuracy->msq));
  }
  if (report.estimate)
    text += fmt::format("\ntime {:.1f} s (estimated {:.1f} s), memory {} (estimated {})\n", report.seconds,
                        report.estimate->seconds, format_bytes(report.peak_memory),
                        format_bytes(report.estimate->peak_memory));
  text += fmt::format("\nresults in {}: quantized.h5, report.json, report.csv, log\n", report.output);
  return printable(text);
}

}  // namespace gpfq::job
