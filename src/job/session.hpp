// SPDX-License-Identifier: Apache-2.0
// What every job on ranks starts with: one config text for all, a serial BLAS of one kind.
#pragma once

#include "gpfq/job/config.hpp"
#include "gpfq/job/job.hpp"
#include "gpfq/net/graph.hpp"

namespace gpfq::job {

/// The config, read by root and parsed alike on every rank.
class Session {
 public:
  /// Collective. @throws Error (input) on all ranks.
  Session(const mpi::Communicator& comm, const JobOptions& options);
  [[nodiscard]] const Config& config() const { return config_; }

 private:
  Config config_;
};

/// Checks evaluation data against the network: shapes, number of labels, each label a class. Reads the labels.
void check_evaluation(const DataSource& source, const Preprocess& preprocess, const net::Graph& graph);

/// Samples that accuracy is taken on; 0 without evaluation. Checks what headers tell of them and of their labels.
[[nodiscard]] Index evaluation_samples(const Config& config, const net::Graph& graph);

}  // namespace gpfq::job
