// SPDX-License-Identifier: Apache-2.0
// How fast this machine is: a calibration of under two seconds, remembered in the user's cache.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "gpfq/job/job.hpp"

namespace gpfq::job {

/// What estimates are made of. Rates are of one core that has the machine to itself, but for node_memory.
struct MachineRates {
  double flops_per_second = 0;              ///< single-precision product, as the BLAS in use runs it
  double memory_bytes_per_second = 0;       ///< copied (each byte counted once)
  double node_memory_bytes_per_second = 0;  ///< copied by all cores together (by 16, where there are more)
  double read_bytes_per_second = 0;         ///< of a file that the system holds in memory
  double write_bytes_per_second = 0;        ///< to a new file
  double digest_bytes_per_second = 0;       ///< SHA-256
  int cores = 1;
  ScaleMachine cluster;  ///< its network and file system, for several nodes: never measured
};

/// Measures. @param folder  where files will lie; its nearest existing parent is written to (64 MiB, unlinked at once)
[[nodiscard]] MachineRates measure_machine(const std::filesystem::path& folder);

/// The cached rates of this host, BLAS core, version and file system. Where they are missing or older than an hour,
/// rates are measured and cached, the better of old and new, since others at work on the machine only slow it down.
/// A cache that cannot be read or written is as none.
/// @param cache  file to use; empty: no cache
[[nodiscard]] MachineRates machine_rates(const std::filesystem::path& folder, const std::filesystem::path& cache);

/// $XDG_CACHE_HOME/gpfq/machine.json, or the one in ~/.cache; empty where neither is known.
[[nodiscard]] std::filesystem::path machine_cache();

/// The rates with what the user gave in their place.
[[nodiscard]] MachineRates with_given(MachineRates rates, const GivenRates& given);

}  // namespace gpfq::job
