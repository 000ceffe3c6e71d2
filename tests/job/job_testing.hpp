// SPDX-License-Identifier: Apache-2.0
// Whole jobs in a temporary folder: files in, report and codes out, and the same computed in double.
#pragma once

#include <Eigen/Core>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gpfq/job/job.hpp"
#include "gpfq/net/tensor_source.hpp"
#include "support/temp_folder.hpp"

namespace gpfq::job {

/// A network and its data, from which one config makes many runs. Collective.
class JobFolder {
 public:
  /// Root writes model.h5, data.h5 (x, and labels y where given) and job.json. @param inputs  samples × inputs
  JobFolder(const mpi::Communicator& comm, const net::Model& model, const Eigen::MatrixXf& inputs,
            const nlohmann::json& quantization = nlohmann::json::object(),
            const std::vector<std::int32_t>& labels = {});

  /// Replaces job.json. Collective.
  void configure(const nlohmann::json& config) const;
  /// Runs quantize on `comm` with results in folder `name`; returns the report on its root, null elsewhere.
  [[nodiscard]] nlohmann::json run(const mpi::Communicator& comm, const std::string& name,
                                   std::vector<std::string> overrides = {}) const;
  /// The same on root alone, on a communicator of its own; null elsewhere.
  [[nodiscard]] nlohmann::json run_alone(const std::string& name, std::vector<std::string> overrides = {}) const;
  /// The message that every rank gets from a run that must be refused as bad input. Collective.
  [[nodiscard]] std::string refusal(const std::string& name, std::vector<std::string> overrides = {}) const;

  [[nodiscard]] std::filesystem::path operator/(const std::string& name) const { return folder_ / name; }
  /// Codes of a layer as they lie in a run's result, neurons × inputs.
  [[nodiscard]] Eigen::MatrixXi codes(const std::string& run, const std::string& layer) const;
  /// Steps of a layer's neurons.
  [[nodiscard]] std::vector<double> steps(const std::string& run, const std::string& layer) const;

 private:
  const mpi::Communicator& comm_;
  test::SharedFolder folder_;
};

/// What `plan --ranks P` asks for.
[[nodiscard]] PlanOptions with_ranks(int ranks);

/// Random inputs, samples × inputs, each about normal.
[[nodiscard]] Eigen::MatrixXf random_inputs(Index samples, Index inputs, std::uint64_t seed);

/// A weight matrix (neurons × inputs) or vector of a model in double.
[[nodiscard]] Eigen::MatrixXd tensor_of(const net::Model& model, const std::string& name);

/// Values of the decoded codes: (2k − (M−1))·step of each neuron.
[[nodiscard]] Eigen::MatrixXd decode(const Eigen::MatrixXi& codes, const std::vector<double>& steps, int levels);

/// Outputs of a dense layer's successors up to the next dense layer, in double: relu, clip and batch norm.
/// @param values  samples × neurons, the layer's outputs
[[nodiscard]] Eigen::MatrixXd to_next_layer(const net::Model& model, const std::string& layer, Eigen::MatrixXd values);

}  // namespace gpfq::job
