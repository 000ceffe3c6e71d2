// SPDX-License-Identifier: Apache-2.0
// Bad input from the shell: one message, exit code 2, nothing half-written and no rank left hanging,
// on one rank and on several.
#include <fmt/format.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <functional>

#include "app/program.hpp"
#include "gpfq/hdf5/handle.hpp"
#include "support/errors.hpp"

namespace gpfq::app {
namespace {

using test::CommandResult;
using test::mentions;
using Arguments = std::vector<std::string>;

/// One mistake: what is done to the job's files, how the program is then started, and what its message must name.
struct Mistake {
  const char* name;
  std::function<void(const SmallJob&)> make;
  std::function<Arguments(const SmallJob&)> arguments;
  std::vector<std::string> named;
};
std::ostream& operator<<(std::ostream& out, const Mistake& mistake) { return out << mistake.name; }

void nothing(const SmallJob&) {}

std::function<Arguments(const SmallJob&)> quantize(const Arguments& more = {}) {
  return [more](const SmallJob& job) {
    Arguments arguments{"quantize", job.config()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
}

std::function<Arguments(const SmallJob&)> quantize_set(const std::string& assignment) {
  return quantize({"--set", assignment});
}

void spoil_weight(const SmallJob& job, const char* tensor, const Shape& shape) {
  std::vector<float> values(static_cast<std::size_t>(element_count(shape)), 0.5F);
  values.back() = std::nanf("");
  test::write_dataset(job / "model.h5", std::string("tensors/") + tensor, shape, values);
}

void spoil_data(const SmallJob& job) {
  std::vector<float> values(static_cast<std::size_t>(SmallJob::samples * SmallJob::inputs), 1);
  values.back() = HUGE_VALF;
  test::write_dataset(job / "data.h5", "x", {SmallJob::samples, SmallJob::inputs}, values);
}

void cut_to_half(const SmallJob& job, const char* name) {
  std::filesystem::rename(job / name, job / "whole");
  test::copy_head(job / "whole", job / name, static_cast<Index>(std::filesystem::file_size(job / "whole")) / 2);
}

/// A Keras file with layers that nobody supports.
void write_strange_keras(const SmallJob& job) {
  test::write_dataset(job / "strange.h5", "model_weights/unused", {1}, std::vector<float>{0});
  const hdf5::Handle file(H5Fopen((job / "strange.h5").c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
  hdf5::write_string_attribute(file.id(), "keras_version", "2.2.4-tf");
  hdf5::write_string_attribute(file.id(), "model_config",
                               R"({"class_name": "Sequential", "config": {"name": "s", "layers": [
    {"class_name": "LSTM", "config": {"name": "memory", "units": 3, "batch_input_shape": [null, 12]}},
    {"class_name": "Attention", "config": {"name": "look"}}]}})");
}

const std::vector<Mistake>& mistakes() {
  static const std::vector<Mistake> all = {
      {"NoSuchConfig",
       nothing,
       [](const SmallJob& job) {
         return Arguments{"quantize", (job / "none.json").string()};
       },
       {"none.json"}},
      {"ConfigIsNoJson",
       [](const SmallJob& job) { test::write_text(job / "job.json", "{\"model\": "); },
       quantize(),
       {"job.json"}},
      {"BenchLargerThanTheDisk",
       nothing,
       [](const SmallJob& job) {
         return Arguments{"bench", "--folder", job.path().string(), "--neurons", "9223372036854775807"};
       },
       {"--neurons 9223372036854775807", "are free"}},
      {"BenchFolderThatIsMissing",
       nothing,
       [](const SmallJob& job) {
         return Arguments{"bench", "--folder", (job / "none").string()};
       },
       {"--folder", "none"}},
      {"NoSuchModel", nothing, quantize_set("model=none.h5"), {"none.h5"}},
      {"ModelIsText", nothing, quantize_set("model=job.json"), {"job.json"}},
      {"ModelIsData", nothing, quantize_set("model=data.h5"), {"data.h5"}},
      {"NoSuchData", nothing, quantize_set("calibration.file=none.h5"), {"none.h5"}},
      {"NoSuchDataset", nothing, quantize_set("calibration.inputs=images"), {"data.h5", "images"}},
      {"NoSuchEvaluationData", nothing, quantize_set("evaluation.file=none.h5"), {"none.h5"}},
      {"NoSuchLabels", nothing, quantize_set("evaluation.labels=z"), {"data.h5", "z"}},
      {"DataOfAnotherShape",
       [](const SmallJob& job) {
         test::write_dataset(job / "data.h5", "wide", {2, 13}, std::vector<float>(26));
       },
       quantize_set("calibration.inputs=wide"),
       {"data.h5:wide", "13", "12"}},
      {"LayoutThatDoesNotFit", nothing, quantize_set("preprocess.layout=NCHW"), {"preprocess.layout"}},
      {"LabelsOfAnotherNetwork",
       [](const SmallJob& job) {
         test::write_dataset(job / "data.h5", "y", {SmallJob::samples},
                             std::vector<std::int32_t>(static_cast<std::size_t>(SmallJob::samples), 5));
       },
       quantize(),
       {"label 5", "5 classes"}},
      {"NonFiniteWeights",
       [](const SmallJob& job) {
         spoil_weight(job, "fc1.weight", {20, 12});
       },
       quantize(),
       {"fc1.weight", "nan"}},
      {"NonFiniteWeightsOfTheLastLayer",
       [](const SmallJob& job) {
         spoil_weight(job, "fc2.weight", {5, 20});
       },
       quantize(),
       {"fc2.weight", "nan"}},
      {"NonFiniteBias",
       [](const SmallJob& job) { spoil_weight(job, "fc2.bias", {5}); },
       quantize(),
       {"fc2.bias", "nan"}},
      {"NonFiniteData", spoil_data, quantize(), {"data.h5:x", "sample 63", "inf"}},
      {"MoreSamplesThanThereAre", nothing, quantize_set("calibration.samples=65"), {"data.h5:x", "64", "65"}},
      {"UnknownKeyInTheFile",
       [](const SmallJob& job) { test::write_text(job / "job.json", R"({"modle": "model.h5"})"); },
       quantize(),
       {"'modle'", "'model'"}},
      {"UnknownKeyToSet",
       nothing,
       quantize_set("quantization.level=3"),
       {"'quantization.level'", "'quantization.levels'"}},
      {"WrongType", nothing, quantize_set("threads=many"), {"'threads'", "many"}},
      {"BitsAndLevels",
       [](const SmallJob& job) {
         test::write_text(job / "job.json", R"({"model": "model.h5", "calibration": {"file": "data.h5", "inputs": "x"},
                                                "quantization": {"bits": 2, "levels": 3}})");
       },
       quantize(),
       {"quantization.levels", "quantization.bits"}},
      {"RuleThatMatchesNothing",
       nothing,
       quantize_set(R"(quantization.layers=[{"match": "conv", "skip": true}])"),
       {"'conv'", "fc1, fc2"}},
      {"NothingLeftToQuantize",
       nothing,
       quantize_set(R"(quantization.layers=[{"match": ".*", "skip": true}])"),
       {"nothing to quantize"}},
      {"TooLittleMemory", nothing, quantize_set("memory_per_rank=1000"), {"memory_per_rank", "smallest"}},
      {"UnknownOption", nothing, quantize({"--frobnicate"}), {"--frobnicate"}},
      {"UnknownCommand", nothing, [](const SmallJob&) { return Arguments{"quantise"}; }, {"quantise"}},
      {"NoConfigGiven", nothing, [](const SmallJob&) { return Arguments{"quantize"}; }, {"CONFIG"}},
      {"UnsupportedLayers",
       write_strange_keras,
       quantize_set("model=strange.h5"),
       {"LSTM", "memory", "Attention", "look"}},
      {"TruncatedModel",
       [](const SmallJob& job) { cut_to_half(job, "model.h5"); },
       quantize(),
       {"model.h5", "truncated"}},
      {"TruncatedData", [](const SmallJob& job) { cut_to_half(job, "data.h5"); }, quantize(), {"data.h5", "truncated"}},
      {"OutputBelowAFile", nothing, quantize_set("output=job.json/run"), {"job.json"}},
      {"OutputIsAFile", nothing, quantize_set("output=job.json"), {"job.json"}},
      {"OutputWhereNothingCanBeWritten", nothing, quantize_set("output=/proc/gpfq/run"), {"/proc/gpfq"}},
      {"ScratchBelowAFile", nothing, quantize_set("scratch=data.h5/scratch"), {"data.h5"}},
      {"EvaluateNoSuchModel",
       nothing,
       [](const SmallJob& job) {
         return Arguments{"evaluate", (job / "none.h5").string(), "--config", job.config()};
       },
       {"none.h5"}},
      {"EvaluateWithoutData",
       [](const SmallJob& job) {
         test::write_text(job / "job.json",
                          R"({"model": "model.h5", "calibration": {"file": "data.h5", "inputs": "x"}})");
       },
       [](const SmallJob& job) {
         return Arguments{"evaluate", (job / "model.h5").string(), "--config", job.config()};
       },
       {"'evaluation'"}},
      {"EvaluateNonFiniteData",
       spoil_data,
       [](const SmallJob& job) {
         return Arguments{"evaluate", (job / "model.h5").string(), "--config", job.config()};
       },
       {"sample 63"}},
  };
  return all;
}

/// One message that names what is wrong, exit code 2.
void expect_refusal(const CommandResult& result, const std::vector<std::string>& named) {
  EXPECT_EQ(result.exit_code, 2) << result.out << result.err;
  EXPECT_EQ(test::count_lines(result.err, "gpfq:"), 1) << result.err;
  EXPECT_EQ(result.out, "");
  for (const std::string& part : named) EXPECT_TRUE(mentions(result.err, part));
}

class Refusal : public testing::TestWithParam<std::tuple<int, Mistake>> {};

TEST_P(Refusal, IsOneMessageAndLeavesNothing) {
  const auto& [ranks, mistake] = GetParam();
  const SmallJob job;
  mistake.make(job);
  const std::string before = test::listing(job.path());
  expect_refusal(run_program(ranks, mistake.arguments(job)), mistake.named);
  EXPECT_EQ(test::listing(job.path()), before);
}

INSTANTIATE_TEST_SUITE_P(Mistakes, Refusal, testing::Combine(testing::Values(0, 3), testing::ValuesIn(mistakes())),
                         [](const auto& one) {
                           return std::string(std::get<1>(one.param).name) + (std::get<0>(one.param) == 0 ? "Alone" : "OnRanks");
                         });

class FinishedRun : public testing::TestWithParam<int> {};

TEST_P(FinishedRun, IsKeptWithoutOverwriteAndAfterAFailure) {
  const SmallJob job;
  EXPECT_EQ(run_program(GetParam(), {"quantize", job.config()}).exit_code, 0);
  const std::string before = test::listing(job.path());
  const std::string report = test::read_text(job / "run/report.json");
  expect_refusal(run_program(GetParam(), {"quantize", job.config(), "--set", "threads=2"}), {"--overwrite"});
  spoil_data(job);
  expect_refusal(run_program(GetParam(), {"quantize", job.config(), "--overwrite"}), {"sample 63"});
  EXPECT_EQ(test::listing(job.path()), before);
  EXPECT_EQ(test::read_text(job / "run/report.json"), report);
}

INSTANTIATE_TEST_SUITE_P(Ranks, FinishedRun, testing::Values(0, 3));

class LayersWithoutANetwork : public testing::TestWithParam<int> {};

TEST_P(LayersWithoutANetwork, RunOrGiveOneMessage) {
  const SmallJob job;
  const nlohmann::json layer = {{"name", "first"},
                                {"weight", {{"file", "model.h5"}, {"tensor", "tensors/fc1.weight"}}},
                                {"inputs", {{"file", "data.h5"}, {"tensor", "x"}}}};
  test::write_text(job / "layers.json", nlohmann::json{{"layers", {layer}}}.dump());
  const std::string config = (job / "layers.json").string();
  EXPECT_EQ(run_program(GetParam(), {"quantize", config}).exit_code, 0);
  EXPECT_EQ(run_program(0, {"plan", config}).exit_code, 0);
  const CommandResult table = run_program(0, {"inspect", (job / "run/quantized.h5").string()});
  EXPECT_TRUE(mentions(table.out, "first.inputs"));
  expect_refusal(run_program(GetParam(), {"evaluate", (job / "run/quantized.h5").string(), "--config", job.config()}),
                 {"layers without a network"});
  expect_refusal(run_program(GetParam(), {"evaluate", (job / "run/quantized.h5").string(), "--config", config}),
                 {"'evaluation' is missing"});
  spoil_data(job);
  const std::string before = test::listing(job.path());
  expect_refusal(run_program(GetParam(), {"quantize", config, "--set", "output=bad"}),
                 {"layer 'first'", "data.h5:x", "sample 63", "input 11"});
  EXPECT_EQ(test::listing(job.path()), before);
}

INSTANTIATE_TEST_SUITE_P(Ranks, LayersWithoutANetwork, testing::Values(0, 3));

class LockedData : public testing::TestWithParam<int> {};

// A lock that is not to be had, as on a file system without locks; what the message advises helps.
TEST_P(LockedData, IsRefusedUnlessLockingIsOff) {
  const SmallJob job;
  const int holder = ::open((job / "data.h5").c_str(), O_RDWR);
  ASSERT_GE(holder, 0);
  ASSERT_EQ(::flock(holder, LOCK_EX), 0);
  const std::string before = test::listing(job.path());
  expect_refusal(run_program(GetParam(), {"quantize", job.config()}), {"data.h5", "HDF5_USE_FILE_LOCKING=FALSE"});
  EXPECT_EQ(test::listing(job.path()), before);
  ::setenv("HDF5_USE_FILE_LOCKING", "FALSE", 1);
  EXPECT_EQ(run_program(GetParam(), {"quantize", job.config()}).exit_code, 0);
  ::unsetenv("HDF5_USE_FILE_LOCKING");
  ::close(holder);
}

INSTANTIATE_TEST_SUITE_P(Ranks, LockedData, testing::Values(0, 3));

TEST(SerialRefusal, DemoImportPlanInspect) {
  const SmallJob job;
  const std::string before = test::listing(job.path());
  expect_refusal(run_program(0, {"demo", "--out", (job / "job.json/demo").string()}), {"job.json"});
  expect_refusal(run_program(0, {"import", (job / "none.onnx").string(), "-o", (job / "m.h5").string()}),
                 {"none.onnx"});
  expect_refusal(run_program(0, {"import", (job / "model.h5").string(), "-o", (job / "m.h5").string()}), {"native"});
  expect_refusal(run_program(0, {"plan", (job / "none.json").string()}), {"none.json"});
  expect_refusal(run_program(0, {"plan", job.config(), "--ranks", "0"}), {"--ranks"});
  expect_refusal(run_program(0, {"plan", job.config(), "--ranks", "3", "--nodes", "5"}), {"--nodes is 5", "--ranks is 3"});
  for (const char* rate : {"nan", "inf", "0", "-1", "1x"}) {
    expect_refusal(run_program(0, {"plan", job.config(), "--gflops", rate}), {"--gflops", "not a positive number"});
    expect_refusal(run_program(0, {"scale", "--latency-us", rate}), {"--latency-us", "not a positive number"});
  }
  expect_refusal(run_program(0, {"inspect", (job / "none.h5").string()}), {"none.h5"});
  expect_refusal(run_program(0, {"inspect", job.config()}), {"job.json"});
  expect_refusal(run_program(0, {}), {"subcommand"});
  EXPECT_EQ(test::listing(job.path()), before);
}

TEST(SerialRefusal, AnImportThatFailsLeavesNoModel) {
  const SmallJob job;
  write_strange_keras(job);
  const std::string before = test::listing(job.path());
  expect_refusal(run_program(0, {"import", (job / "strange.h5").string(), "-o", (job / "m.h5").string()}),
                 {"LSTM", "Attention"});
  test::write_text(job / "broken.onnx", "no protobuf at all");
  expect_refusal(run_program(0, {"import", (job / "broken.onnx").string(), "-o", (job / "m.h5").string()}),
                 {"broken.onnx"});
  std::filesystem::remove(job / "broken.onnx");
  EXPECT_EQ(test::listing(job.path()), before);
}

}  // namespace
}  // namespace gpfq::app
