// SPDX-License-Identifier: Apache-2.0
// What a run makes of an earlier one's checkpoint before it goes on.
#pragma once

#include <string>

#include "gpfq/job/plan.hpp"
#include "gpfq/store/quantized_file.hpp"
#include "job/checkpoint.hpp"

namespace gpfq::job {

/// For the log: "resumed after layer 2 of 3, in 'fc3' with 2 of 16 tiles finished and 4 at input 512 of 4096; the checkpoint is ..."
[[nodiscard]] std::string resume_text(const Checkpoint& state, const JobPlan& plan, int ranks);

/// Finished layers and tiles: alphabets and biases are written again, codes compared with their digests. Collective.
/// @throws Error (input) naming file, layer and neurons whose codes are not those of the checkpoint
void restore_result(const mpi::Communicator& comm, const net::Graph& graph, const JobPlan& plan, const Checkpoint& state,
                    store::QuantizedFile& result);

}  // namespace gpfq::job
