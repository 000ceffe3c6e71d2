// SPDX-License-Identifier: Apache-2.0
// The order in which the residual form visits a layer's inputs where it is asked for: strong ones first.
#pragma once

#include <vector>

#include "gpfq/mpi/communicator.hpp"
#include "job/layer_rows.hpp"

namespace gpfq::job {

/// The inputs by falling ‖Xq_t‖ (as float32), those of equal norm as they are; of one problem. Each rank reads a share of
/// the inputs over all rows, a block at a time. Collective.
///
/// @param rows  without an order yet   @returns the input that is visited t-th, the same on any number of ranks.
/// Cost: 2·m·N flops, Xq read once.
[[nodiscard]] std::vector<Index> order_by_norm(const mpi::Communicator& comm, const LayerPlan& layer, const LayerRows& rows);

}  // namespace gpfq::job
