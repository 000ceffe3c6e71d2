// SPDX-License-Identifier: Apache-2.0
// The jobs that the command line starts.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "gpfq/mpi/communicator.hpp"

namespace gpfq::job {

/// info: what root has to say, in run/log. debug: details too, and a file for every other rank, run/log.rank<r>.
enum class LogLevel { info, debug };

/// Which config, and how.
struct JobOptions {
  std::filesystem::path config;
  std::vector<std::string> overrides;  ///< "key=value"
  bool overwrite = false;
  bool resume = false;  ///< go on from the output's checkpoint where there is one
  LogLevel log_level = LogLevel::info;
  /// A file made as soon as `resume` goes on with this run and not another; its text changes with
  /// every checkpoint that has more of the run than the one before. Empty: none.
  std::filesystem::path progress = {};
};

/// Rates that the user gives in place of measured ones; GB are 10⁹ bytes.
struct GivenRates {
  std::optional<double> gflops;     ///< of a core, single-precision product
  std::optional<double> memory_gb;  ///< per second, of a node
  std::optional<double> read_gb;    ///< per second, of a rank from files
  std::optional<double> write_gb;   ///< per second, of a rank to files
  std::optional<int> cores;         ///< of a node
  std::optional<double> latency_us;  ///< between nodes; this and what follows count for several nodes only
  std::optional<double> network_gb;     ///< per second, in and out of a node
  std::optional<double> files_gb;       ///< per second, the file system to all nodes
  std::optional<double> node_files_gb;  ///< per second, to one node
};

/// What a plan is made for.
struct PlanOptions {
  int ranks = 1;
  int nodes = 0;  ///< 0: as many of this machine's cores as the ranks' threads take
  bool json = false;
  GivenRates rates;
};

/// A dense layer for the model of scale.
struct ScaleShape {
  Index inputs = 65536;
  Index neurons = 65536;
  Index samples = 65536;
  bool shared = false;  ///< X = Xq
  Index block = 0;      ///< 0: as the plan chooses
};

/// A cluster for the model of scale. The defaults are those of a node of two 32-core EPYC 7543 with HDR100 InfiniBand on
/// a Lustre of middling size; README "Time, memory and scale" says where each is from.
struct ScaleMachine {
  double gflops = 40;                 ///< of a core, large single-precision products
  int cores_per_node = 64;            ///< one rank each
  double node_memory_gb = 256;        ///< of which ranks take 9/10
  double memory_gb = 200;             ///< per second, read and written by a node
  double latency_us = 2;              ///< between nodes
  double node_latency_us = 0.5;       ///< inside one
  double network_gb = 12.5;           ///< per second, in and out of a node
  double files_gb = 50;               ///< per second, the file system to all nodes
  double node_files_gb = 2.5;         ///< per second, to one node
  double digest_gb = 2;               ///< per second, SHA-256 by a core
};

/// Who reads a block and who forms its products; the defaults are what the program does.
struct ScaleDesign {
  enum class Reading { each_node, once };             ///< every node the whole block; or a share, then exchanged
  enum class Products { each_rank, node, all_ranks };  ///< by every rank; shared by ranks with the same rows, or by all
  Reading reading = Reading::once;
  Products products = Products::node;
  bool read_ahead = true;  ///< the next block is read while this one is computed
  bool copies_model = true;  ///< ranks bring the float weights to scratch first, as of layers without a network
};

/// The model of scale for 2, 4, 8 ... 4096 ranks, and all designs side by side. @throws Error (input)
[[nodiscard]] std::string scale_table(const ScaleShape& shape, const ScaleMachine& machine, const ScaleDesign& design);
[[nodiscard]] std::string scale_json(const ScaleShape& shape, const ScaleMachine& machine, const ScaleDesign& design);

/// Quantizes the config's network: coordinator and workers in one call. Collective.
/// @returns the closing table on root, empty elsewhere.
/// @throws Error; AgreedError where all ranks have it.
[[nodiscard]] std::string quantize(const mpi::Communicator& comm, const JobOptions& options);

/// A synthetic dense layer to time.
struct BenchOptions {
  ScaleShape shape;
  int levels = 15;
  int threads = 1;
  int repeat = 1;  ///< runs of the same job
  std::string memory_per_rank = "4GiB";
  std::filesystem::path folder = ".";  ///< for its files, removed at the end
};

/// Quantizes a synthetic layer and times it beside products of matrices on the same cores. Collective.
/// @returns one line of JSON on root: seconds from the store to the codes (the median of the runs, and their spread: the
///          slowest less the fastest), flops per second (6·m·N·n flops, 4 where X = Xq; in Gram form
///          2·N²·(m + n), 1 where X = Xq), their share of the products' rate, and what the block kernel takes of it.
/// @throws Error (fault) when two runs give different codes
[[nodiscard]] std::string bench(const mpi::Communicator& comm, const BenchOptions& options);

/// Accuracy of a native or importable model on the config's evaluation data. Collective.
/// @returns one line on root.
[[nodiscard]] std::string evaluate_model(const mpi::Communicator& comm, const std::filesystem::path& model,
                                         const JobOptions& options);

/// The plan and what it will cost, as tables or JSON; reads headers only, no MPI. @throws Error (input)
[[nodiscard]] std::string plan_job(const JobOptions& options, const PlanOptions& plan);

/// Imports `from` and writes the native model `to`; returns a line about it.
[[nodiscard]] std::string import_model(const std::filesystem::path& from, const std::filesystem::path& to);

/// Opens the HDF5 files that a job begins with, reads a sample of its data and lets go of them: for a process that HDF5 may
/// bring down. What is wrong with the data or the config is the job's to say.
/// @param model  in place of the config's; empty: the config's
/// @throws Error (input): the model cannot be read, as the job would say
void try_files(const JobOptions& options, const std::filesystem::path& model);

/// What is in a model (native or importable) or in an HDF5 file of data or activations.
[[nodiscard]] std::string inspect(const std::filesystem::path& path);

}  // namespace gpfq::job
