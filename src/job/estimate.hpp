// SPDX-License-Identifier: Apache-2.0
// What a job will cost, before it runs: a plan's arithmetic times a machine's rates. No clock, no file, no MPI, so that
// a plan for 4096 ranks is made on a laptop.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "gpfq/job/plan.hpp"
#include "job/machine.hpp"

namespace gpfq::job {

/// Where the ranks run.
struct Placement {
  int ranks = 1;
  int nodes = 1;
  int cores_per_node = 1;
  [[nodiscard]] int ranks_per_node() const { return (ranks + nodes - 1) / nodes; }
  /// How much longer a rank's work takes because cores are shared, at least 1.
  [[nodiscard]] double crowding(int threads) const;
};

/// `nodes` nodes (0: as few as have a core for each thread) with the cores that the rates tell.
[[nodiscard]] Placement place_ranks(int ranks, int nodes, int threads, int cores_per_node);

/// One layer, in the terms of report.json: seconds by phase of the slowest rank, bytes of all ranks together, peak_memory
/// of the largest rank up to the end of the layer.
struct LayerEstimate {
  std::map<std::string, double> seconds;
  Index bytes_read = 0;           ///< from the activation store
  Index bytes_written = 0;        ///< to it
  Index peak_memory = 0;          ///< of a rank, the program itself included: resident, as the system counts it (VmHWM)
  Index proportional_memory = 0;  ///< of a rank in the path, shared pages by its share (Pss)
  Index rank_memory = 0;          ///< of a rank in the layer's largest phase, shared pages by its share
  Index node_memory = 0;          ///< of a node, likewise
  Index disk_bytes = 0;           ///< scratch while the layer is at work and its outputs are made
  [[nodiscard]] double total_seconds() const;
};

/// The whole job. Layers as plan.quantized_layers().
struct JobEstimate {
  std::vector<LayerEstimate> layers;
  double start_seconds = 0;   ///< import, folders, calibration samples up to the first layer
  double finish_seconds = 0;  ///< digest of the codes, evaluation
  double seconds = 0;
  Index bytes_read = 0;
  Index bytes_written = 0;
  Index peak_memory = 0;          ///< of a rank, resident (VmHWM)
  Index proportional_memory = 0;  ///< of a rank, shared pages by its share (Pss)
  Index node_memory = 0;          ///< of a node: the shares of its ranks together
  Index disk_bytes = 0;           ///< scratch, results and checkpoints
  Index smallest_memory = 0;      ///< memory_per_rank that the job runs in
  Index checkpoint_bytes = 0;     ///< of that: state files, the last one and the one that is written
  double flops = 0;               ///< of the paths
};

/// What the plan does not know of a job.
struct JobExtent {
  Index evaluation_samples = 0;
  bool is_imported = false;  ///< the model is copied to scratch in native form first
};

[[nodiscard]] JobEstimate estimate_job(const JobPlan& plan, const net::Graph& graph, const Config& config,
                                       const MachineRates& rates, const Placement& placement, const JobExtent& extent);

/// "sbatch --nodes=2 --ntasks=128 ...": room for a quarter more memory, and twice the time, than is estimated; at least
/// the memory of which the batch script makes a memory_per_rank that the job runs in.
[[nodiscard]] std::string sbatch_line(const JobEstimate& estimate, const Placement& placement, int threads);

/// A line per layer and the totals.
[[nodiscard]] std::string estimate_table(const JobPlan& plan, const JobEstimate& estimate, const Config& config,
                                         const Placement& placement);

/// A layer's and a job's estimate, keys as in report.json.
[[nodiscard]] nlohmann::ordered_json layer_estimate_json(const LayerEstimate& estimate);
[[nodiscard]] nlohmann::ordered_json job_estimate_json(const JobEstimate& estimate);

/// The plan and its estimate for programs: keys as in report.json, "estimated" objects beside them.
[[nodiscard]] std::string estimate_json(const JobPlan& plan, const JobEstimate& estimate, const Config& config,
                                        const Placement& placement, const MachineRates& rates);

/// Seconds of the block kernel per weight: b inputs of which half lie before a weight on average.
[[nodiscard]] double kernel_seconds_per_weight(Index block_width);

/// Memory of a rank that holds no data, measured on jobs of 32 samples (Pss and Rss on 1, 2 and 4 ranks of a node): its
/// own, with MPI, HDF5 and BLAS, and the pages of program and libraries, which the ranks of a node share.
inline constexpr Index own_base_memory = Index{8} << 20;
inline constexpr Index library_memory = Index{29} << 20;
/// Buffers of collective writes (two-phase), which MPI-IO keeps at the rank that gathers others' values, and takes for
/// pieces that do not adjoin.
inline constexpr Index collective_write_memory = Index{12} << 20;

}  // namespace gpfq::job
