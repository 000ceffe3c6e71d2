// SPDX-License-Identifier: Apache-2.0
// A real network on real data: the accuracy and errors that the method gives there, the same codes
// however the job is run, and the first layer against the definition.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <regex>

#include "app/program.hpp"
#include "job/samples.hpp"
#include "support/errors.hpp"
#include "support/reference_comparison.hpp"

namespace gpfq::app {
namespace {

using Json = nlohmann::json;
using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr double pixel_scale = 0.00392156862745098;  // 1/255
const std::filesystem::path shared_data = GPFQ_SHARED_DATA;

/// The paper's multi-layer perceptron, 784 – 500 – 300 – 10, on MNIST.
class Mnist : public testing::Test {
 protected:
  void SetUp() override {
#ifndef GPFQ_TEST_ONNX
    GTEST_SKIP() << "this build reads no ONNX";
#endif
    for (const char* name : {"models/mnist_mlp.onnx", "mnist.h5"})
      if (!std::filesystem::exists(shared_data / name))
        GTEST_SKIP() << (shared_data / name).string() << " is not there";
    const std::string data = (shared_data / "mnist.h5").string();
    const Json config = {{"model", (shared_data / "models/mnist_mlp.onnx").string()},
                         {"calibration", {{"file", data}, {"inputs", "train/images"}}},
                         {"evaluation", {{"file", data}, {"inputs", "test/images"}, {"labels", "test/labels"}}},
                         {"preprocess", {{"scale", pixel_scale}, {"layout", "NHW"}}},
                         {"quantization", {{"radius", {{"rule", "median"}}}}},
                         {"memory_per_rank", "2GiB"}};
    test::write_text(folder_ / "mnist.json", config.dump(2));
  }

  [[nodiscard]] test::CommandResult start(int ranks, const std::vector<std::string>& overrides) const {
    std::vector<std::string> arguments{"quantize", (folder_ / "mnist.json").string(), "--overwrite"};
    for (const std::string& assignment : overrides) arguments.insert(arguments.end(), {"--set", assignment});
    return run_program(ranks, arguments, 240);
  }
  [[nodiscard]] Json run(int ranks, const std::vector<std::string>& overrides) const {
    const test::CommandResult result = start(ranks, overrides);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.exit_code == 0 ? Json::parse(test::read_text(folder_ / "run/report.json")) : Json();
  }
  /// A run with so many levels and samples, C times the median.
  [[nodiscard]] Json run_radius(int levels, int samples, double scale) const {
    return run(2, {fmt::format("quantization.levels={}", levels), fmt::format("calibration.samples={}", samples),
                   fmt::format("quantization.radius.scale={}", scale)});
  }
  [[nodiscard]] test::ReferenceComparison compare_first_layer(int samples, int levels) const;

  test::TempFolder folder_;
};

void expect_correct(const Json& report, Index expected, Index tolerance) {
  EXPECT_NEAR(report["accuracy"]["analog"]["top1_correct"].get<double>(), 4895, 1);
  EXPECT_NEAR(report["accuracy"]["quantized"]["top1_correct"].get<double>(), static_cast<double>(expected),
              static_cast<double>(tolerance));
}

/// The first layer's codes of the last run against the reference in double, every fourth neuron.
test::ReferenceComparison Mnist::compare_first_layer(int samples, int levels) const {
  const job::Samples source({shared_data / "mnist.h5", "train/images", "", samples, std::nullopt},
                            {pixel_scale, {0}, {1}, job::Layout::nhw}, {784});
  const net::Batch batch = source.read(0, samples);
  const Eigen::MatrixXd X = Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(
                                batch.values.data(), samples, 784)
                                .cast<double>();
  EXPECT_EQ(run_program(
                0, {"import", (shared_data / "models/mnist_mlp.onnx").string(), "-o", (folder_ / "model.h5").string()})
                .exit_code,
            0);
  const store::ModelFile result(folder_ / "run/quantized.h5");
  const store::QuantizedLayer& layer = result.quantized_layers().front();
  const std::string group = "layers/" + layer.name;
  const std::vector<double> codes = test::read_dataset(folder_ / "run/quantized.h5", group + "/codes");
  const std::vector<double> weights = test::read_dataset(folder_ / "model.h5", "tensors/" + layer.tensor);
  constexpr Index neuron_stride = 4;
  return test::compare_with_reference(Eigen::Map<const RowMajor>(codes.data(), 500, 784).cast<int>(), X, X,
                                      Eigen::Map<const RowMajor>(weights.data(), 500, 784),
                                      test::read_dataset(folder_ / "run/quantized.h5", group + "/step"), levels,
                                      neuron_stride);
}

/// Correct digits and relative errors by layer for a radius of C medians, measured with an implementation of the
/// method in double precision.
struct Ternary {
  double scale;
  Index correct;
  std::array<double, 3> errors;
};

TEST_F(Mnist, TernaryAccuracyAndErrors) {
  for (const Ternary& expected :
       {Ternary{2, 4376, {0.2746, 0.5661, 0.5270}}, Ternary{4, 4823, {0.1284, 0.2707, 0.2626}},
        Ternary{3, 4785, {0.1786, 0.3464, 0.3062}}}) {
    const Json report = run_radius(3, 25000, expected.scale);
    ASSERT_FALSE(report.is_null());
    expect_correct(report, expected.correct, 15);
    for (std::size_t layer = 0; layer < 3; ++layer)
      EXPECT_NEAR(report["layers"][layer]["relative_error"].get<double>(), expected.errors[layer],
                  (layer == 0 ? 0.005 : 0.02) * expected.errors[layer])
          << "C = " << expected.scale << ", layer " << layer;
  }
  const test::ReferenceComparison comparison = compare_first_layer(25000, 3);
  EXPECT_GE(comparison.equal_fraction(), 0.999);
  EXPECT_LE(comparison.farthest, 1e-3);
}

TEST_F(Mnist, SixteenLevels) {
  const Json report = run_radius(16, 25000, 5);
  ASSERT_FALSE(report.is_null());
  expect_correct(report, 4874, 10);
  const test::ReferenceComparison comparison = compare_first_layer(25000, 16);
  EXPECT_GE(comparison.equal_fraction(), 0.995);
  EXPECT_LE(comparison.farthest, 1e-3);
}

TEST_F(Mnist, FewerSamplesThanInputs) {
  const Json report = run_radius(3, 300, 3);
  ASSERT_FALSE(report.is_null());
  expect_correct(report, 4703, 20);
}

/// Codes and activations of all layers.
Json hashes(const Json& report) {
  Json result = {report["codes_sha256"]};
  for (const Json& layer : report["layers"]) result.push_back(layer["activations_sha256"]);
  return result;
}

TEST_F(Mnist, SameCodesHoweverTheJobIsRun) {
  // Sixteen levels and few samples: small differences of rounding would show.
  const std::vector<std::string> common{"quantization.levels=16", "calibration.samples=3000",
                                        "quantization.radius.scale=5"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.end(), common.begin(), common.end());
    return more;
  };
  const std::string refusal = start(1, with({"memory_per_rank=1"})).err;
  std::smatch smallest;
  ASSERT_TRUE(std::regex_search(refusal, smallest, std::regex("runs in is ([0-9]+) bytes"))) << refusal;
  const std::string least = "memory_per_rank=" + smallest[1].str();

  const Json expected = hashes(run(1, with({})));
  for (const int ranks : {2, 3, 4, 7}) EXPECT_EQ(hashes(run(ranks, with({}))), expected) << ranks << " ranks";
  EXPECT_EQ(hashes(run(1, with({"threads=2"}))), expected);
  EXPECT_EQ(hashes(run(2, with({"threads=2", least}))), expected);
  EXPECT_EQ(hashes(run(1, with({least}))), expected);
  EXPECT_EQ(hashes(run(2, with({"memory_per_rank=1TiB"}))), expected);
}

}  // namespace
}  // namespace gpfq::app
