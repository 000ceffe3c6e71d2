// SPDX-License-Identifier: Apache-2.0
// What a job quantizes, opened and checked on one rank: a network with its data, or layers without one.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "gpfq/job/plan.hpp"
#include "gpfq/store/model_file.hpp"

namespace gpfq::job {

/// A model to read from and the plan for it.
struct Subject {
  std::optional<net::Model> imported;        ///< not native, or changed: to be written as a native model
  std::unique_ptr<store::ModelFile> native;  ///< the user's native model, which `imported` may read from
  int folded = 0;                            ///< BatchNormalization nodes that were folded
  JobPlan plan;

  [[nodiscard]] const net::Graph& graph() const { return imported ? imported->graph : native->graph(); }
};

/// Opens and checks all that the config names, and plans. Reads headers, no values of data.
/// @throws Error (input): whatever does not fit.
[[nodiscard]] Subject open_subject(const Config& config);

/// "mnist.onnx", or "layers without a network": for the log.
[[nodiscard]] std::string subject_name(const Config& config);

}  // namespace gpfq::job
