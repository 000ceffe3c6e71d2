// SPDX-License-Identifier: Apache-2.0
// The result in numbers: gathered from the ranks, checked, written as JSON and CSV, shown as a table.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "gpfq/job/plan.hpp"
#include "job/estimate.hpp"
#include "job/evaluation.hpp"
#include "job/fingerprint.hpp"
#include "job/messages.hpp"
#include "job/propagation.hpp"

namespace gpfq::job {

/// One quantized layer, all ranks together.
struct LayerReport {
  LayerPlan plan;
  LayerSettings settings;
  std::string kind;        ///< the operator
  std::string shown_kind;  ///< as people call it: "depthwise conv", "grouped conv", else the operator
  RankReport all;      ///< tiles in order; seconds and memory the largest of the ranks, bytes summed
  LayerError error;
  Index positions = 1;  ///< of a sample's outputs, used or not
  std::string analog_sha256;
  std::string quantized_sha256;

  [[nodiscard]] Index samples() const { return plan.path.samples / plan.rows_per_sample; }
  [[nodiscard]] double relative_error() const;
  [[nodiscard]] double fraction(Index count) const;
  /// The relative error after the method, then after each sweep: what the sweeps took off is added to what is left.
  [[nodiscard]] std::vector<double> error_by_sweep() const;
};

/// Accuracy of the three networks.
struct AccuracyReport {
  Accuracy analog;
  Accuracy quantized;
  Accuracy msq;
};

/// The whole job.
struct JobReport {
  std::vector<LayerReport> layers;
  std::optional<AccuracyReport> accuracy;
  std::string codes_sha256;
  std::string config_text;
  std::string output;
  int ranks = 1;
  int threads = 1;
  Index memory_per_rank = 0;
  Index peak_memory = 0;
  Index scratch_peak_bytes = 0;  ///< on disk: activations and a copy of the float model
  Index bytes_read = 0;
  Index bytes_written = 0;
  double seconds = 0;
  Index restarts = 0;
  double checkpoint_seconds = 0;        ///< spent on checkpoints, by the last of the runs
  Fingerprint fingerprint;
  std::optional<JobEstimate> estimate;  ///< made before the job began
};

/// What a report tells of the run that it closes.
struct FinishedRun {
  std::string codes_sha256;
  Fingerprint fingerprint;
};
/// @throws Error (input) when the file is not a report
[[nodiscard]] FinishedRun read_finished_run(const std::filesystem::path& report);

/// What the ranks reported for a layer so far, tiles in order. Times and memory are the largest of any rank.
[[nodiscard]] RankReport merge_reports(const std::vector<RankReport>& ranks);
/// One of the tiles that has a weight of another one; null where there is none. @param tiles  with neurons and inputs
[[nodiscard]] const TileReport* find_overlap(const std::vector<TileReport>& tiles);
/// Joins what the ranks reported for a layer. @throws Error (fault) unless their tiles cover each neuron once.
[[nodiscard]] RankReport join_reports(const LayerPlan& layer, const std::vector<RankReport>& ranks);

[[nodiscard]] std::string report_json(const JobReport& report);
[[nodiscard]] std::string report_csv(const JobReport& report);
/// The closing table: a line per layer, then accuracy and where the results lie.
[[nodiscard]] std::string report_table(const JobReport& report);

}  // namespace gpfq::job
