// SPDX-License-Identifier: Apache-2.0
// The BLAS as this job uses it: single-threaded inside a tile, the same core on every rank.
#pragma once

#include <string>

#include "gpfq/mpi/communicator.hpp"

namespace gpfq::job {

/// Makes the BLAS single-threaded (threads are ours: a tile's product is computed by one).
void make_blas_serial();

/// The kernel family that the BLAS chose for this processor ("Haswell", "SkylakeX", ...), or "unknown".
[[nodiscard]] std::string blas_core();

/// @throws Error (input) on all ranks when they would compute with different cores, which would round
/// differently; OPENBLAS_CORETYPE pins one. Collective.
void agree_on_blas_core(const mpi::Communicator& comm);

}  // namespace gpfq::job
