// SPDX-License-Identifier: Apache-2.0
// Top-1 and top-5 accuracy, sample-parallel.
#pragma once

#include "gpfq/job/plan.hpp"
#include "gpfq/mpi/communicator.hpp"
#include "job/checkpointer.hpp"
#include "job/samples.hpp"
#include "job/work_dealer.hpp"

namespace gpfq::job {

/// Counts over all samples, on every rank.
struct Accuracy {
  Index top1 = 0;
  Index top5 = 0;
  Index samples = 0;
  Index unusable = 0;         ///< samples with a score that is not a number
  Index first_unusable = -1;  ///< ... and the first of them
  [[nodiscard]] double top1_fraction() const { return samples == 0 ? 0 : static_cast<double>(top1) / static_cast<double>(samples); }
  [[nodiscard]] double top5_fraction() const { return samples == 0 ? 0 : static_cast<double>(top5) / static_cast<double>(samples); }
};

/// What evaluation needs besides parameters.
struct EvaluationData {
  const Samples& samples;
  const std::vector<Index>& labels;
};

/// Where an evaluation's progress is kept, so that a job that is stopped in the middle goes on from there.
struct EvaluationKeeper {
  Checkpointer& checkpointer;
  std::size_t network;  ///< of Checkpoint::evaluations
};

/// Runs the network on all samples. A class counts as ahead of the label's when its score is larger, or equal with a
/// smaller index; a sample with a score that is not a number counts as wrong. Collective.
/// @param dealer  of `comm`
/// @param keeper  looked at between two waves of samples: checkpoints, and stops on request; none: nothing is kept
/// @throws Error (input) when a label is not a class of the network.
[[nodiscard]] Accuracy evaluate(const mpi::Communicator& comm, const net::Graph& graph, const JobPlan& plan,
                                const Config& config, const net::Parameters& parameters, const EvaluationData& data,
                                WorkDealer& dealer, const EvaluationKeeper* keeper = nullptr);

/// "3 samples have scores that are not numbers ..., the first is sample 12"; empty where there are none.
[[nodiscard]] std::string unusable_text(const net::Graph& graph, const Accuracy& accuracy);

}  // namespace gpfq::job
