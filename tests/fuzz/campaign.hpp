// SPDX-License-Identifier: Apache-2.0
// Many inputs for one importer, in processes of their own, so that a crash costs one input and is named by it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "importer.hpp"

namespace gpfq::fuzz {

inline constexpr std::size_t most_memory_bytes = std::size_t{256} << 20;
inline constexpr int most_seconds = 5;  ///< of processor time; waiting is given a minute

/// How a process ended before its time.
struct Failure {
  std::uint64_t index = 0;
  std::string how;            ///< "signal 11", "hang", "memory", "exception: ...", ...
  bool is_in_hdf5 = false;    ///< libhdf5 calls itself down to where it happened, none of our code below
  std::filesystem::path input;
};

struct Tally {
  std::uint64_t taken = 0;
  std::uint64_t refused = 0;
  std::uint64_t contained = 0;  ///< HDF5 fell over them; the process ended with a message, as the program does
  std::size_t most_memory = 0;
  double slowest_seconds = 0;  ///< of processor time
  std::vector<Failure> failures;
};

/// Input `index` of a campaign with `seed`; the first are the seeds themselves.
[[nodiscard]] std::string input_of(const Importer& importer, const std::vector<std::string>& seeds, std::uint64_t seed,
                                   std::uint64_t index);

/// Runs inputs first .. first+count−1. Inputs that fail are written to `keep`, with what the process said.
[[nodiscard]] Tally run_campaign(const Importer& importer, std::uint64_t seed, std::uint64_t first, std::uint64_t count,
                                 const std::filesystem::path& keep);

/// Runs one input in a process of its own; `said` gets what it wrote to stderr. Empty failures: it passed.
[[nodiscard]] Tally run_one(const Importer& importer, const std::string& bytes, std::string& said);

}  // namespace gpfq::fuzz
