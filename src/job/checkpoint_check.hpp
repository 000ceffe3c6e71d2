// SPDX-License-Identifier: Apache-2.0
// A manifest whose digest is right may still be from somebody who means harm: what it says is held against the plan
// before any of it becomes an index.
#pragma once

#include <string>

#include "gpfq/job/plan.hpp"
#include "gpfq/net/graph.hpp"
#include "job/checkpoint.hpp"

namespace gpfq::job {

/// @param where  the manifest, for messages
/// @throws Error (input) naming what does not belong to this job: numbers of layers, tiles, nodes, inputs or candidates
/// that it does not have, lists of other lengths, values that are not numbers.
void validate(const Checkpoint& checkpoint, const JobPlan& plan, const net::Graph& graph, const std::string& where);

}  // namespace gpfq::job
