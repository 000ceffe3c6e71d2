// SPDX-License-Identifier: Apache-2.0
// Jobs for tests: written, run, read back.
#include "job/job_testing.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "gpfq/store/model_file.hpp"
#include "support/data_files.hpp"
#include "support/networks.hpp"

namespace gpfq::job {
namespace {

using Json = nlohmann::json;
using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

}  // namespace

JobFolder::JobFolder(const mpi::Communicator& comm, const net::Model& model, const Eigen::MatrixXf& inputs,
                     const Json& quantization, const std::vector<std::int32_t>& labels)
    : comm_(comm), folder_(comm) {
  comm_.agree([&] {
    if (!comm_.is_root()) return;
    store::write_model(folder_ / "model.h5", model);
    const RowMajor rows = inputs;
    test::write_dataset(folder_ / "data.h5", "x", {inputs.rows(), inputs.cols()},
                        std::vector<float>(rows.data(), rows.data() + rows.size()));
    Json config = {
        {"model", "model.h5"}, {"calibration", {{"file", "data.h5"}, {"inputs", "x"}}}, {"quantization", quantization}};
    config["threads"] = 1;
    if (!quantization.contains("preset")) config["quantization"]["preset"] = "paper";
    // So few inputs are cheapest in Gram form; what most tests are about is the residual form.
    const auto is_conv = [](const net::Node& node) { return node.op == net::Op::conv; };
    if (std::none_of(model.graph.nodes.begin(), model.graph.nodes.end(), is_conv) && !quantization.contains("form"))
      config["quantization"]["form"] = "residual";
    if (!labels.empty()) {
      test::write_dataset(folder_ / "data.h5", "y", {static_cast<Index>(labels.size())}, labels);
      config["evaluation"] = {{"file", "data.h5"}, {"inputs", "x"}, {"labels", "y"}};
    }
    test::write_text(folder_ / "job.json", config.dump());
  });
}

void JobFolder::configure(const Json& config) const {
  comm_.agree([&] {
    if (comm_.is_root()) test::write_text(folder_ / "job.json", config.dump());
  });
}

Json JobFolder::run(const mpi::Communicator& comm, const std::string& name, std::vector<std::string> overrides) const {
  overrides.push_back("output=" + name);
  const std::string table = quantize(comm, {folder_ / "job.json", std::move(overrides), false});
  EXPECT_EQ(table.empty(), !comm.is_root());
  if (!comm.is_root()) return nullptr;
  EXPECT_EQ(test::listing(folder_ / name), "log quantized.h5 report.csv report.json");
  return Json::parse(test::read_text(folder_ / (name + "/report.json")));
}

Json JobFolder::run_alone(const std::string& name, std::vector<std::string> overrides) const {
  const mpi::Communicator alone(MPI_COMM_SELF);
  Json report;
  comm_.agree([&] {
    if (comm_.is_root()) report = run(alone, name, std::move(overrides));
  });
  return report;
}

std::string JobFolder::refusal(const std::string& name, std::vector<std::string> overrides) const {
  overrides.push_back("output=" + name);
  std::string message;
  try {
    static_cast<void>(quantize(comm_, {folder_ / "job.json", std::move(overrides), false}));
    ADD_FAILURE() << "the job ran";
  } catch (const mpi::AgreedError& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input) << error.what();
    message = error.what();
  }
  comm_.barrier();
  EXPECT_FALSE(std::filesystem::exists(folder_ / name)) << test::listing(folder_ / name);
  comm_.barrier();
  return message;
}

Eigen::MatrixXi JobFolder::codes(const std::string& run, const std::string& layer) const {
  const store::ModelFile model(folder_ / (run + "/quantized.h5"));
  const auto found = std::find_if(model.quantized_layers().begin(), model.quantized_layers().end(),
                                  [&](const store::QuantizedLayer& candidate) { return candidate.name == layer; });
  require(found != model.quantized_layers().end(), "codes: no such layer");
  const std::vector<double> values =
      test::read_dataset(folder_ / (run + "/quantized.h5"), "layers/" + layer + "/codes");
  const Eigen::Map<const Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>> matrix(
      values.data(), found->shape.at(0), found->shape.at(1));
  return matrix.cast<int>();
}

std::vector<double> JobFolder::steps(const std::string& run, const std::string& layer) const {
  return test::read_dataset(folder_ / (run + "/quantized.h5"), "layers/" + layer + "/step");
}

PlanOptions with_ranks(int ranks) {
  PlanOptions options;
  options.ranks = ranks;
  return options;
}

Eigen::MatrixXf random_inputs(Index samples, Index inputs, std::uint64_t seed) {
  test::Random random(seed);
  return Eigen::MatrixXf::NullaryExpr(samples, inputs,
                                      [&](Eigen::Index, Eigen::Index) { return static_cast<float>(random.normal()); });
}

Eigen::MatrixXd tensor_of(const net::Model& model, const std::string& name) {
  const std::vector<float> values = net::read_all(model.tensors.at(name));
  const Shape& shape = model.graph.tensor_shape(name);
  const Index columns = shape.size() == 1 ? 1 : shape[1];
  return Eigen::Map<const RowMajor>(values.data(), shape[0], columns).cast<double>();
}

Eigen::MatrixXd decode(const Eigen::MatrixXi& codes, const std::vector<double>& steps, int levels) {
  Eigen::MatrixXd values(codes.rows(), codes.cols());
  for (Index neuron = 0; neuron < codes.rows(); ++neuron)
    for (Index input = 0; input < codes.cols(); ++input)
      values(neuron, input) = (2 * codes(neuron, input) - (levels - 1)) * steps[static_cast<std::size_t>(neuron)];
  return values;
}

Eigen::MatrixXd to_next_layer(const net::Model& model, const std::string& layer, Eigen::MatrixXd values) {
  const auto of_channel = [&](const net::Node& node, const char* role, Index c) {
    return tensor_of(model, node.parameters.at(role))(c, 0);
  };
  bool after = false;
  for (const net::Node& node : model.graph.nodes) {
    if (after && node.op == net::Op::dense) break;
    if (node.name == layer) {
      after = true;
      if (node.has_parameter("bias"))
        values.rowwise() += tensor_of(model, node.parameters.at("bias")).col(0).transpose();
    } else if (after && node.op == net::Op::relu) {
      values = values.cwiseMax(0.0);
    } else if (after && node.op == net::Op::clip) {
      values = values.cwiseMax(node.attribute("min", 0)).cwiseMin(node.attribute("max", 0));
    } else if (after && node.op == net::Op::batch_norm) {
      for (Index c = 0; c < values.cols(); ++c)
        values.col(c) = ((values.col(c).array() - of_channel(node, "mean", c)) /
                             std::sqrt(of_channel(node, "variance", c) + node.attribute("epsilon", 1e-5)) *
                             of_channel(node, "scale", c) +
                         of_channel(node, "shift", c))
                            .matrix();
    } else if (after) {
      throw_fault("to_next_layer: no arithmetic for '{}'", node.name);
    }
  }
  return values;
}

}  // namespace gpfq::job
