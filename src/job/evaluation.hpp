// SPDX-License-Identifier: Apache-2.0
// Top-1 and top-5 accuracy, sample-parallel.
#pragma once

#include "gpfq/job/plan.hpp"
#include "gpfq/mpi/communicator.hpp"
#include "job/samples.hpp"

namespace gpfq::job {

/// Counts over all samples, on every rank.
struct Accuracy {
  Index top1 = 0;
  Index top5 = 0;
  Index samples = 0;
  [[nodiscard]] double top1_fraction() const { return samples == 0 ? 0 : static_cast<double>(top1) / static_cast<double>(samples); }
  [[nodiscard]] double top5_fraction() const { return samples == 0 ? 0 : static_cast<double>(top5) / static_cast<double>(samples); }
};

/// What evaluation needs besides parameters.
struct EvaluationData {
  const Samples& samples;
  const std::vector<Index>& labels;
};

/// Runs the network on all samples. A class counts as ahead of the label's when its score is larger, or equal with a
/// smaller index; a label whose score is not a number counts as wrong. Collective.
/// @throws Error (input) when a label is not a class of the network.
[[nodiscard]] Accuracy evaluate(const mpi::Communicator& comm, const net::Graph& graph, const JobPlan& plan,
                                const Config& config, const net::Parameters& parameters, const EvaluationData& data);

}  // namespace gpfq::job
