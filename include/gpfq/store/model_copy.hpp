// SPDX-License-Identifier: Apache-2.0
// A float model brought to scratch by all ranks together: of layers too wide for one rank to carry alone.
#pragma once

#include <filesystem>

#include "gpfq/mpi/communicator.hpp"
#include "gpfq/store/model_file.hpp"

namespace gpfq::store {

/// Most rows of a tensor, in bytes, that are on their way at a time; at least one row.
inline constexpr Index copy_slab_bytes = Index{16} << 20;

/// Writes a native model: root makes the file, each rank reads and writes its rows of every tensor. Collective.
/// @param model  the same on all ranks, its sources each rank's own
/// @throws Error on all ranks alike: as a source throws it, or when the file cannot be written
void write_model(const mpi::Communicator& comm, const std::filesystem::path& path, const net::Model& model);

}  // namespace gpfq::store
