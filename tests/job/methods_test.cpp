// SPDX-License-Identifier: Apache-2.0
// What methods and options promise, in whole jobs on ranks, against the same in double.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "gpfq/job/plan.hpp"
#include "gpfq/quant/reference_path.hpp"
#include "gpfq/store/model_file.hpp"
#include "job_testing.hpp"
#include "support/data_files.hpp"
#include "support/errors.hpp"
#include "support/mpi_main.hpp"
#include "support/networks.hpp"
#include "support/reference_comparison.hpp"

namespace gpfq::job {
namespace {

using Json = nlohmann::json;
using test::world;

/// Weights as the result has them, neurons × inputs.
Eigen::MatrixXd weights_of(const JobFolder& job, const std::string& run, const std::string& layer, const Eigen::MatrixXd& like) {
  const store::ModelFile result(job / (run + "/quantized.h5"));
  Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> values(like.rows(), like.cols());
  result.read_rows(layer + ".weight", 0, like.rows(), values.data());
  return values.cast<double>();
}

/// Rows of the same inputs, as one's inputs are.
Eigen::MatrixXf shifted_inputs(Index samples, Index inputs, std::uint64_t seed) {
  return random_inputs(samples, inputs, seed).array() + 0.5F;
}

class OfForms : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Both, OfForms, testing::Values("residual", "gram"));

/// Of three radii r, r/2, r/4 (exact halves: the same steps as rule max with those scales gives), the one with the smallest
/// ‖XW − XqQ‖ of each neuron, or of the layer, in double.
TEST_P(OfForms, SearchKeepsTheSmallestResidual) {
  const net::Model model = test::random_mlp({60, 37, 8}, 41);
  const Eigen::MatrixXf data = random_inputs(400, 60, 42);
  const JobFolder job(world(), model, data, {{"levels", 5}, {"form", GetParam()}, {"preset", "paper"}});
  const Eigen::MatrixXd X = data.cast<double>();
  const Eigen::MatrixXd W = tensor_of(model, "fc1.weight");
  for (const std::string per : {"neuron", "layer"}) {
    const std::string each = "quantization.radius.per=" + per;
    Eigen::MatrixXd norms(3, W.rows());
    for (int i = 0; i < 3; ++i) {
      const std::string name = per + std::to_string(i);
      static_cast<void>(job.run(world(), name,
                                {each, "quantization.radius.rule=max", fmt::format("quantization.radius.scale={}", 1.0 / (1 << i))}));
      if (!world().is_root()) continue;
      norms.row(i) = (X * (W - weights_of(job, name, "fc1", W)).transpose()).colwise().squaredNorm();
    }
    static_cast<void>(job.run(world(), per, {each, "quantization.radius.rule=search", "quantization.radius.candidates=3"}));
    if (world().is_root()) {
      const Eigen::RowVectorXd found = (X * (W - weights_of(job, per, "fc1", W)).transpose()).colwise().squaredNorm();
      if (per == "neuron") {
        for (Index j = 0; j < W.rows(); ++j) EXPECT_LE(found[j], norms.col(j).minCoeff() * (1 + 1e-5)) << "neuron " << j;
        Eigen::VectorXi best(W.rows());
        for (Index j = 0; j < W.rows(); ++j) norms.col(j).minCoeff(&best[j]);
        EXPECT_GT(best.maxCoeff(), best.minCoeff()) << "the neurons differ in what is best";
      } else {
        EXPECT_NEAR(found.sum(), norms.rowwise().sum().minCoeff(), 1e-5 * found.sum());
      }
    }
    world().barrier();
  }
}

/// A dense layer's bias, given or made, moves by the mean of XW − XqQ; the second layer's with what the first one made of it.
TEST_P(OfForms, ABiasIsTheMeanThatQuantizingTookOff) {
  const Eigen::MatrixXf data = shifted_inputs(500, 30, 43);
  const net::Model with_bias = test::random_mlp({30, 25, 7}, 44);
  test::Random random(45);
  const net::Model without =
      test::ChainBuilder({30}).dense("fc1", 25, random.normals(750, 0.3)).node("relu", net::Op::relu).dense("fc2", 7, random.normals(175, 0.3)).build();
  for (const auto& [model, order] : {std::pair{&with_bias, "natural"}, {&without, "natural"}, {&without, "activation"}}) {
    const bool has_bias = model == &with_bias;
    const JobFolder job(world(), *model, data,
                        {{"levels", 3}, {"form", GetParam()}, {"bias_correction", true}, {"fold_batchnorm", false}, {"order", order}});
    static_cast<void>(job.run(world(), "run"));
    if (world().is_root()) {
      Eigen::MatrixXd X = data.cast<double>();
      Eigen::MatrixXd Xq = X;
      for (const std::string layer : {"fc1", "fc2"}) {
        const Eigen::MatrixXd W = tensor_of(*model, layer + ".weight");
        const Eigen::MatrixXd V = X * W.transpose();
        Eigen::MatrixXd Vq = Xq * weights_of(job, "run", layer, W).transpose();
        const Eigen::RowVectorXd mean = (V - Vq).colwise().mean();
        const std::vector<double> bias = test::read_dataset(job / "run/quantized.h5", "tensors/" + layer + ".bias");
        EXPECT_GT(mean.cwiseAbs().maxCoeff(), 1e-3);
        for (Index j = 0; j < W.rows(); ++j)
          EXPECT_NEAR(bias[static_cast<std::size_t>(j)], (has_bias ? tensor_of(*model, layer + ".bias")(j, 0) : 0.0) + mean[j], 2e-5)
              << layer << ", neuron " << j;
        Vq.rowwise() += mean;
        X = to_next_layer(*model, layer, V);
        Xq = to_next_layer(*model, layer, Vq);
      }
    }
    world().barrier();
  }
}

/// After no sweep, one, ...: what runs with so many sweeps end with.
TEST_P(OfForms, TheReportTellsTheErrorOfEverySweep) {
  const net::Model model = test::random_mlp({60, 40}, 46);
  const JobFolder job(world(), model, random_inputs(300, 60, 47), {{"levels", 3}, {"form", GetParam()}});
  const Json report = job.run(world(), "swept", {"quantization.refine.sweeps=3"});
  for (int sweeps = 0; sweeps <= 3; ++sweeps) {
    const Json one = job.run(world(), fmt::format("sweeps{}", sweeps), {fmt::format("quantization.refine.sweeps={}", sweeps)});
    if (!world().is_root()) continue;
    const std::vector<double> errors = report["layers"][0]["relative_error_by_sweep"];
    ASSERT_EQ(errors.size(), 4U);
    const double expected = one["layers"][0]["relative_error"];
    EXPECT_NEAR(errors[static_cast<std::size_t>(sweeps)], expected, 1e-4 * expected) << sweeps;
    if (sweeps > 0) {
      EXPECT_LT(errors[static_cast<std::size_t>(sweeps)], errors[static_cast<std::size_t>(sweeps) - 1]);
    }
  }
}

/// Inputs by falling norm are the path of a layer whose inputs lie in that order.
TEST_P(OfForms, OrderByActivationIsThePathOfOrderedInputs) {
  constexpr int levels = 15;
  const net::Model model = test::random_mlp({70, 40}, 48);
  Eigen::MatrixXf data = random_inputs(300, 70, 49);
  for (Index t = 0; t < 70; ++t) data.col(t) *= static_cast<float>(1 + (t * 37) % 23);
  data.col(9).setZero();
  data.col(21) = data.col(60);  // of equal norm: the first one first
  const JobFolder job(world(), model, data, {{"levels", levels}, {"form", GetParam()}, {"order", "activation"}});
  const Json report = job.run(world(), "run");
  if (world().is_root()) {
    EXPECT_EQ(report["layers"][0]["form"], GetParam());
    EXPECT_EQ(report["layers"][0]["dead_inputs"], 1);
    std::vector<Index> order(70);
    std::iota(order.begin(), order.end(), Index{0});
    std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) {
      return data.col(a).cast<double>().squaredNorm() > data.col(b).cast<double>().squaredNorm();
    });
    const Eigen::MatrixXd W = tensor_of(model, "fc1.weight");
    const Eigen::MatrixXi codes = job.codes("run", "fc1");
    Eigen::MatrixXd X(300, 70);
    Eigen::MatrixXd ordered(W.rows(), 70);
    Eigen::MatrixXi ordered_codes(W.rows(), 70);
    for (Index t = 0; t < 70; ++t) {
      X.col(t) = data.col(order[static_cast<std::size_t>(t)]).cast<double>();
      ordered.col(t) = W.col(order[static_cast<std::size_t>(t)]);
      ordered_codes.col(t) = codes.col(order[static_cast<std::size_t>(t)]);
    }
    const test::ReferenceComparison comparison =
        test::compare_with_reference(ordered_codes, X, X, ordered, job.steps("run", "fc1"), levels);
    EXPECT_GE(comparison.equal_fraction(), 0.98);
    EXPECT_LT(comparison.farthest, 1e-3);
  }
  world().barrier();
}

/// By default settings, but for λ: zeros are those of the definition, every argument up to λ among them.
TEST_P(OfForms, AThresholdGetsTheZerosThatItAsksFor) {
  constexpr int levels = 7;
  const net::Model model = test::random_mlp({60, 40}, 50);
  const Eigen::MatrixXf data = random_inputs(300, 60, 51);
  const Eigen::MatrixXd X = data.cast<double>();
  const Eigen::MatrixXd W = tensor_of(model, "fc1.weight");
  const JobFolder job(world(), model, data, {{"levels", levels}, {"form", GetParam()}, {"preset", nullptr}});
  const Json plain = job.run(world(), "plain", {"quantization.refine.sweeps=0"});
  for (const std::string sparsity : {"soft", "hard"}) {
    const Json zero = job.run(world(), sparsity + "0", {"quantization.threshold=0", "quantization.sparsity=" + sparsity, "quantization.refine.sweeps=0"});
    const Json report = job.run(world(), sparsity, {"quantization.threshold=2.5", "quantization.sparsity=" + sparsity});
    if (!world().is_root()) continue;
    EXPECT_EQ(zero["codes_sha256"], plain["codes_sha256"]);
    const Eigen::MatrixXi codes = job.codes(sparsity, "fc1");
    const std::vector<double> steps = job.steps(sparsity, "fc1");
    const Eigen::MatrixXd Q = weights_of(job, sparsity, "fc1", W);
    Index differing = 0;
    Index zeros = 0;
    for (Index j = 0; j < W.rows(); ++j) {
      const auto step = static_cast<float>(steps[static_cast<std::size_t>(j)]);
      const bool hard = sparsity == "hard";
      const quant::Alphabet alphabet = quant::Alphabet::from_step(levels, step, hard ? 2.5 : 0);
      const quant::ReferencePath path =
          quant::reference_path(X, X, W.row(j).transpose(), alphabet, hard ? quant::RoundingKind::hard : quant::RoundingKind::soft,
                                quant::threshold_of(2.5, step));
      const Eigen::RowVectorXi expected = Eigen::Map<const Eigen::RowVectorXi>(path.codes.data(), W.cols());
      differing += codes.row(j) != expected ? 1 : 0;
      zeros += (expected.array() == levels / 2).count();
      for (Index t = 0; t < W.cols(); ++t) EXPECT_EQ(Q(j, t), static_cast<double>(alphabet.value(codes(j, t))));
    }
    EXPECT_LE(differing, 1) << sparsity;
    EXPECT_NEAR(report["layers"][0]["zeros"].get<double>(), static_cast<double>(zeros) / static_cast<double>(W.size()), 0.02);
    EXPECT_GT(report["layers"][0]["zeros"].get<double>(), 1.5 * plain["layers"][0]["zeros"].get<double>()) << sparsity;
  }
  world().barrier();
}

/// Searches with sweeps after them, in waves and all at once, and on grids.
TEST(Methods, GiveTheSameCodesInAnyMemoryAndGrid) {
  const net::Model model = test::random_mlp({90, 130, 20}, 52);
  const JobFolder job(world(), model, random_inputs(2500, 90, 53), {{"levels", 3}, {"preset", nullptr}});
  for (const std::vector<std::string>& settings :
       {std::vector<std::string>{"quantization.radius.per=neuron"}, {"quantization.radius.per=layer"},
        {"quantization.radius.per=layer", "quantization.order=activation"}}) {
    std::vector<std::string> overrides = settings;
    overrides.insert(overrides.end(), {"quantization.radius.rule=search", "quantization.refine.sweeps=3", "quantization.bias_correction=true"});
    const std::string name = std::to_string(settings.size()) + settings.front().substr(20);
    const Json expected = job.run_alone(name, overrides);
    const Config config = parse_config(load_config_text(job / "job.json", overrides), job / "", "job.json");
    const Index smallest = make_plan(model.graph, config, 2500).smallest_memory();
    int number = 0;
    for (const std::vector<std::string>& more :
         {std::vector<std::string>{fmt::format("memory_per_rank={}", smallest)},
          {fmt::format("memory_per_rank={}", smallest), fmt::format("quantization.grid=1x{}", world().size())},
          {"memory_per_rank=100GiB", "threads=3"}}) {
      std::vector<std::string> with = overrides;
      with.insert(with.end(), more.begin(), more.end());
      const Json found = job.run(world(), fmt::format("{}_{}", name, ++number), with);
      if (!world().is_root()) continue;
      EXPECT_EQ(found["codes_sha256"], expected["codes_sha256"]) << name << " " << more.front();
      for (std::size_t i = 0; i < 2; ++i) {
        EXPECT_EQ(found["layers"][i]["activations_sha256"], expected["layers"][i]["activations_sha256"]) << name << " " << more.front();
        EXPECT_EQ(found["layers"][i]["relative_error_by_sweep"].size(), expected["layers"][i]["relative_error_by_sweep"].size());
      }
    }
  }
}

}  // namespace
}  // namespace gpfq::job
