// SPDX-License-Identifier: Apache-2.0
// Real convolutional networks on real data: the float accuracy that other programs measure, and the
// accuracy that the method gives there, the same codes however the job is run.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>

#include "app/program.hpp"

namespace gpfq::app {
namespace {

using Json = nlohmann::json;
using Overrides = std::vector<std::string>;

const std::filesystem::path shared_data = GPFQ_SHARED_DATA;

struct Network {
  std::string model;
  std::string data;
  Json preprocess;
  int correct = 0;  ///< of the test data, with PyTorch or Keras in single precision
};

const Network cifar10_cnn{"cifar10_cnn.onnx", "cifar10.h5", {{"scale", 1 / 255.0}, {"layout", "NCHW"}}, 3492};

class Networks : public testing::Test {
 protected:
  /// Writes network.json, without a radius. False, and the test is skipped, where data is missing.
  [[nodiscard]] bool configure(const Network& network, int samples) {
#ifndef GPFQ_TEST_ONNX
    if (network.model.ends_with(".onnx")) return false;
#endif
    const std::string data = (shared_data / network.data).string();
    const std::string model = (shared_data / "models" / network.model).string();
    if (!std::filesystem::exists(data) || !std::filesystem::exists(model)) return false;
    const Json config = {{"model", model},
                         {"calibration", {{"file", data}, {"inputs", "train/images"}, {"samples", samples}}},
                         {"evaluation", {{"file", data}, {"inputs", "test/images"}, {"labels", "test/labels"}}},
                         {"preprocess", network.preprocess},
                         {"quantization", {{"preset", "paper"}}},
                         {"memory_per_rank", "2GiB"}};
    test::write_text(config_, config.dump(2));
    return true;
  }
  [[nodiscard]] Json run(int ranks, const Overrides& overrides) const {
    std::vector<std::string> arguments{"quantize", config_.string(), "--overwrite"};
    for (const std::string& assignment : overrides) arguments.insert(arguments.end(), {"--set", assignment});
    const test::CommandResult result = run_program(ranks, arguments, 240);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.exit_code == 0 ? Json::parse(test::read_text(folder_ / "run/report.json")) : Json();
  }

  test::TempFolder folder_;
  std::filesystem::path config_ = folder_ / "network.json";
};

TEST_F(Networks, FloatAccuracyIsWhatOtherProgramsMeasure) {
  const Json resnet = {{"scale", 1 / 255.0},
                       {"mean", {0.485, 0.456, 0.406}},
                       {"std", {0.229, 0.224, 0.225}},
                       {"layout", "NCHW"}};
  const Json turned = {{"scale", 1 / 255.0}, {"layout", "NCHW"}};  // the network takes NHWC
  int found = 0;
  for (const Network& network :
       {Network{"resnet20.onnx", "cifar10.h5", resnet, 3670}, cifar10_cnn,
        Network{"cifar10_cnn_decay.onnx", "cifar10.h5", turned, 3529},
        Network{"mnist_cnn_keras3.h5", "mnist.h5", {{"scale", 1 / 255.0}, {"layout", "NHW"}}, 4933},
        Network{"cifar10_lenet_keras22.h5", "cifar10.h5", turned, 2447}}) {
    SCOPED_TRACE(network.model);
    if (!configure(network, 1)) continue;
    ++found;
    const std::string model = (shared_data / "models" / network.model).string();
    const test::CommandResult result = run_program(2, {"evaluate", model, "--config", config_.string()}, 120);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    std::smatch count;
    ASSERT_TRUE(std::regex_search(result.out, count, std::regex("\\(([0-9]+) of"))) << result.out;
    EXPECT_NEAR(std::stoi(count[1].str()), network.correct, 1);
  }
  if (found == 0) GTEST_SKIP() << "no network in " << shared_data.string();
}

TEST_F(Networks, ThePapersConvolutionalNetworkAtSixteenLevels) {
  if (!configure(cifar10_cnn, 1000)) GTEST_SKIP() << "no network or data in " << shared_data.string();
  const Json accuracy =
      run(2, {"quantization.levels=16", "quantization.radius.rule=median", "quantization.radius.scale=5"})["accuracy"];
  EXPECT_NEAR(accuracy["analog"]["top1_correct"].get<double>(), cifar10_cnn.correct, 1);
  // As an implementation in double precision gives it.
  EXPECT_NEAR(accuracy["quantized"]["top1_correct"].get<double>(), 3470, 20);
  EXPECT_NEAR(accuracy["msq"]["top1_correct"].get<double>(), 3305, 10);
}

/// Codes and activations of all layers.
Json hashes(const Json& report) {
  Json result = {report["codes_sha256"]};
  for (const Json& layer : report["layers"]) result.push_back(layer["activations_sha256"]);
  return result;
}

TEST_F(Networks, SameCodesOnAnyRanksAndGrid) {
  if (!configure(cifar10_cnn, 40)) GTEST_SKIP() << "no network or data in " << shared_data.string();
  const auto with = [](Overrides more) {
    more.insert(more.end(), {"quantization.levels=16", "evaluation.samples=1"});
    return more;
  };
  EXPECT_EQ(hashes(run(3, with({}))), hashes(run(1, with({}))));
  const Json alone = hashes(run(1, with({"quantization.form=residual"})));
  for (const char* grid : {"1x2", "2x1"})
    EXPECT_EQ(hashes(run(2, with({"quantization.form=residual", fmt::format("quantization.grid={}", grid)}))), alone) << grid;
}

}  // namespace
}  // namespace gpfq::app
