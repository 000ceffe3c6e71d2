// SPDX-License-Identifier: Apache-2.0
// The jobs that the command line starts.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "gpfq/mpi/communicator.hpp"

namespace gpfq::job {

/// Which config, and how.
struct JobOptions {
  std::filesystem::path config;
  std::vector<std::string> overrides;  ///< "key=value"
  bool overwrite = false;
};

/// Rates that the user gives in place of measured ones; GB are 10⁹ bytes.
struct GivenRates {
  std::optional<double> gflops;     ///< of a core, single-precision product
  std::optional<double> memory_gb;  ///< per second, of a node
  std::optional<double> read_gb;    ///< per second, of a rank from files
  std::optional<double> write_gb;   ///< per second, of a rank to files
  std::optional<int> cores;         ///< of a node
};

/// What a plan is made for.
struct PlanOptions {
  int ranks = 1;
  int nodes = 0;  ///< 0: as many of this machine's cores as the ranks' threads take
  bool json = false;
  GivenRates rates;
};

/// Quantizes the config's network: coordinator and workers in one call. Collective.
/// @returns the closing table on root, empty elsewhere.
/// @throws Error; AgreedError where all ranks have it.
[[nodiscard]] std::string quantize(const mpi::Communicator& comm, const JobOptions& options);

/// Accuracy of a native or importable model on the config's evaluation data. Collective.
/// @returns one line on root.
[[nodiscard]] std::string evaluate_model(const mpi::Communicator& comm, const std::filesystem::path& model,
                                         const JobOptions& options);

/// The plan and what it will cost, as tables or JSON; reads headers only, no MPI. @throws Error (input)
[[nodiscard]] std::string plan_job(const JobOptions& options, const PlanOptions& plan);

/// Imports `from` and writes the native model `to`; returns a line about it.
[[nodiscard]] std::string import_model(const std::filesystem::path& from, const std::filesystem::path& to);

/// What is in a model (native or importable) or in an HDF5 file of data or activations.
[[nodiscard]] std::string inspect(const std::filesystem::path& path);

}  // namespace gpfq::job
