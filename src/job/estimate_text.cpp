// SPDX-License-Identifier: Apache-2.0
// Estimates for people, for programs and for Slurm.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "gpfq/base/text.hpp"
#include "job/estimate.hpp"
#include "job/grid.hpp"

namespace gpfq::job {

using OrderedJson = nlohmann::ordered_json;

namespace {

// What a job's limits have over its estimate.
constexpr double time_margin = 2;
constexpr double least_minutes = 10;
constexpr double most_minutes = 365.0 * 24 * 60;
constexpr double memory_margin = 1.25;
constexpr Index mebibyte = Index{1} << 20;
// What launch/lib/slurm.sh gives to ranks of a node's memory, in whole mebibytes each.
constexpr Index percent_for_ranks = 80;

/// Of a node, in MiB: the estimate with its margin, or what the job's smallest memory_per_rank follows from. The two
/// differ where ranks share what the smallest memory counts for each of them.
Index memory_to_ask_for(const JobEstimate& estimate, const Placement& placement) {
  const double with_margin = static_cast<double>(estimate.node_memory) * memory_margin;
  const auto estimated = static_cast<Index>(std::ceil(with_margin / static_cast<double>(mebibyte)));
  const Index for_ranks = placement.ranks_per_node() * ceil_div(estimate.smallest_memory, mebibyte);
  return std::max(estimated, ceil_div(for_ranks * 100, percent_for_ranks));
}

/// "0:01:02", or "12.3 ms" where it is short.
std::string format_seconds(double seconds) {
  constexpr double longest = 1e12;
  if (!(seconds < longest)) return fmt::format("{:.3g} s", seconds);
  if (seconds < 100) return seconds < 0.1 ? fmt::format("{:.1f} ms", seconds * 1e3) : fmt::format("{:.2f} s", seconds);
  const auto whole = static_cast<Index>(std::lround(seconds));
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace

std::string sbatch_line(const JobEstimate& estimate, const Placement& placement, int threads) {
  const double minutes = std::clamp(std::ceil(estimate.seconds * time_margin / 60), least_minutes, most_minutes);
  const auto whole = static_cast<Index>(minutes);
  return fmt::format(
      "sbatch --nodes={} --ntasks={} --ntasks-per-node={} --cpus-per-task={} --mem={}M --time={}:{:02}:00",
      placement.nodes, placement.ranks, placement.ranks_per_node(), threads, memory_to_ask_for(estimate, placement),
      whole / 60, whole % 60);
}

std::string estimate_table(const JobPlan& plan, const JobEstimate& estimate, const Config& config,
                           const Placement& placement) {
  const std::vector<const LayerPlan*> layers = plan.quantized_layers();
  std::size_t width = 9;
  for (const LayerPlan* layer : layers) width = std::max(width, layer->name.size());
  std::string text = fmt::format("\n{:<{}} {:>10} {:>10} {:>11} {:>11} {:>11} {:>11} {:>11}\n", "estimated", width,
                                 "seconds", "Gflop/s", "read", "written", "memory/rank", "memory/node", "scratch");
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const LayerEstimate& layer = estimate.layers[i];
    const double seconds = layer.total_seconds();
    text +=
        fmt::format("{:<{}} {:>10} {:>10.1f} {:>11} {:>11} {:>11} {:>11} {:>11}\n", layers[i]->name, width, format_seconds(seconds),
                    layers[i]->flops / std::max(seconds, 1e-9) * 1e-9, format_bytes(layer.bytes_read),
                    format_bytes(layer.bytes_written), format_bytes(layer.rank_memory),
                    format_bytes(layer.node_memory), format_bytes(layer.disk_bytes));
  }
  text += fmt::format("start {}, layers {}, end {}: {} in all on {} nodes of {} cores\n",
                      format_seconds(estimate.start_seconds),
                      format_seconds(estimate.seconds - estimate.start_seconds - estimate.finish_seconds),
                      format_seconds(estimate.finish_seconds), format_seconds(estimate.seconds), placement.nodes,
                      placement.cores_per_node);
  text += fmt::format("memory {} per rank, {} per node; disk {}\n{}\n", format_bytes(estimate.proportional_memory),
                      format_bytes(estimate.node_memory), format_bytes(estimate.disk_bytes),
                      sbatch_line(estimate, placement, config.threads));
  return text;
}

OrderedJson layer_estimate_json(const LayerEstimate& estimate) {
  return {{"seconds", estimate.seconds},         {"seconds_total", estimate.total_seconds()},
          {"bytes_read", estimate.bytes_read},   {"bytes_written", estimate.bytes_written},
          {"peak_memory", estimate.peak_memory}, {"proportional_memory", estimate.proportional_memory},
          {"rank_memory", estimate.rank_memory}, {"node_memory", estimate.node_memory},
          {"disk_bytes", estimate.disk_bytes}};
}

OrderedJson job_estimate_json(const JobEstimate& estimate) {
  return {{"seconds", estimate.seconds},
          {"start_seconds", estimate.start_seconds},
          {"finish_seconds", estimate.finish_seconds},
          {"bytes_read", estimate.bytes_read},
          {"bytes_written", estimate.bytes_written},
          {"peak_memory", estimate.peak_memory},
          {"proportional_memory", estimate.proportional_memory},
          {"node_memory", estimate.node_memory},
          {"disk_bytes", estimate.disk_bytes},
          {"checkpoint_bytes", estimate.checkpoint_bytes}};
}

std::string estimate_json(const JobPlan& plan, const JobEstimate& estimate, const Config& config,
                          const Placement& placement, const MachineRates& rates) {
  OrderedJson json = {{"ranks", placement.ranks},
                      {"nodes", placement.nodes},
                      {"ranks_per_node", placement.ranks_per_node()},
                      {"threads", config.threads},
                      {"samples", plan.samples},
                      {"smallest_memory_per_rank", plan.smallest_memory()},
                      {"rates",
                       {{"flops_per_second", rates.flops_per_second},
                        {"memory_bytes_per_second", rates.memory_bytes_per_second},
                        {"node_memory_bytes_per_second", rates.node_memory_bytes_per_second},
                        {"read_bytes_per_second", rates.read_bytes_per_second},
                        {"write_bytes_per_second", rates.write_bytes_per_second},
                        {"digest_bytes_per_second", rates.digest_bytes_per_second},
                        {"cores", rates.cores},
                        {"latency_us", rates.cluster.latency_us},
                        {"network_gb", rates.cluster.network_gb},
                        {"files_gb", rates.cluster.files_gb},
                        {"node_files_gb", rates.cluster.node_files_gb}}},
                      {"layers", OrderedJson::array()}};
  const std::vector<const LayerPlan*> layers = plan.quantized_layers();
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const LayerPlan& layer = *layers[i];
    const bool is_residual = layer.form == Form::residual;
    const StreamShares stream = stream_shares(layer, config, placement.ranks, placement.nodes);
    json["layers"].push_back({{"name", layer.name},
                              {"method", method_name(layer.method)},
                              {"form", form_name(layer.form)},
                              {"form_reason", layer.reason},
                              {"inputs", layer.inputs},
                              {"neurons", layer.neurons},
                              {"rows", layer.path.samples},
                              {"levels", config.settings_for(layer.name).levels},
                              {"block", layer.path.block_width},
                              {"tile", layer.tile_width},
                              {"shared_inputs", layer.path.shared},
                              {"grid", fmt::format("{}x{}", stream.grid.neurons, stream.grid.samples)},
                              {"idle_ranks", idle_ranks(layer, config, placement.ranks)},
                              {"waves", waves_of(layer, config, placement.ranks, placement.nodes)},
                              {"read_ahead", is_residual ? OrderedJson(stream.memory.read_ahead) : OrderedJson()},
                              {"flops", layer.flops},
                              {"estimated", layer_estimate_json(estimate.layers[i])}});
  }
  json["estimated"] = job_estimate_json(estimate);
  json["sbatch"] = sbatch_line(estimate, placement, config.threads);
  return json.dump(2) + "\n";
}

}  // namespace gpfq::job
