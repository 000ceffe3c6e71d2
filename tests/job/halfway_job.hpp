// SPDX-License-Identifier: Apache-2.0
// What a job has on disk in the middle of its work, for tests that damage it.
#pragma once

#include "gpfq/job/plan.hpp"
#include "gpfq/net/graph.hpp"
#include "job/checkpoint.hpp"

namespace gpfq::job {

/// A network of two dense layers with a search for a radius, and a run that stands in its second layer.
struct HalfwayJob {
  HalfwayJob();

  net::Graph graph;
  JobPlan plan;
  Checkpoint checkpoint;  ///< fits both
};

}  // namespace gpfq::job
