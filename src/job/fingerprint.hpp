// SPDX-License-Identifier: Apache-2.0
// What a run's numbers depend on, by name, so that a checkpoint of something else can be told and the difference named.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "gpfq/job/config.hpp"

namespace gpfq::job {

using Fingerprint = std::map<std::string, std::string>;

/// Of model, data (size and a sample of the bytes), every config key that matters for the numbers, program and BLAS
/// core; not of ranks, threads, memory, or where the output goes. Reads files.
/// @param model_files  that hold weights beside config.model @throws Error (input)
[[nodiscard]] Fingerprint fingerprint_of(const Config& config, const std::set<std::filesystem::path>& model_files);

/// What an evaluation's counts depend on beside that: its keys and its data; empty without one. Reads files.
[[nodiscard]] std::string evaluation_text(const Config& config);

/// "" when equal, else one line per difference.
[[nodiscard]] std::string differences(const Fingerprint& then, const Fingerprint& now);

}  // namespace gpfq::job
