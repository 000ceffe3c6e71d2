// SPDX-License-Identifier: Apache-2.0
// Every command once as the README shows it: demo, plan, quantize, evaluate, inspect, import.
#include "app/program.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>

#include "support/errors.hpp"
#include "support/sanitizer.hpp"
#ifdef GPFQ_TEST_ONNX
#include "formats/onnx_model_writer.hpp"
#endif

namespace gpfq::app {
namespace {

using Json = nlohmann::json;
using test::CommandResult;
using test::mentions;

/// A run that must succeed: exit code 0 and no error message.
CommandResult succeed(int ranks, const std::vector<std::string>& arguments) {
  CommandResult result = run_program(ranks, arguments);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(test::count_lines(result.err, "gpfq:"), 0) << result.err;
  return result;
}

std::string accuracy_line(const Json& accuracy) {
  return fmt::format("({} of {})", accuracy["top1_correct"].get<Index>(), accuracy["samples"].get<Index>());
}

TEST(Program, DemoIsQuantizedAndKeepsItsAccuracy) {
  const test::TempFolder folder;
  const std::string config = (folder / "demo/digits.json").string();
  const std::string quantized = (folder / "demo/run/quantized.h5").string();
  EXPECT_TRUE(mentions(succeed(0, {"demo", "--out", (folder / "demo").string()}).out, "digits.json"));
  EXPECT_EQ(test::listing(folder / "demo"), "digits.h5 digits.json digits_mlp.h5");

  const std::string plan = succeed(0, {"plan", config, "--ranks", "4096"}).out;
  EXPECT_TRUE(mentions(plan, "4096 ranks"));
  EXPECT_EQ(test::listing(folder / "demo"), "digits.h5 digits.json digits_mlp.h5");

  const Json planned = Json::parse(succeed(0, {"plan", config, "--ranks", "2", "--json"}).out);
  EXPECT_EQ(planned["layers"].size(), 3U);
  EXPECT_TRUE(mentions(plan, "sbatch --nodes="));

  const CommandResult run = succeed(2, {"quantize", config});
  EXPECT_EQ(test::listing(folder / "demo/run"), "log quantized.h5 report.csv report.json");
  const Json report = Json::parse(test::read_text(folder / "demo/run/report.json"));
  const Json& accuracy = report["accuracy"];
  EXPECT_GT(accuracy["analog"]["top1"], 0.95);
  EXPECT_GT(accuracy["quantized"]["top1"].get<double>(), accuracy["msq"]["top1"].get<double>());
  for (const char* network : {"analog", "quantized", "msq"})
    EXPECT_TRUE(mentions(run.out, accuracy_line(accuracy[network])));
  for (const Json& layer : report["layers"]) {
    EXPECT_TRUE(mentions(run.out, layer["name"].get<std::string>()));
    EXPECT_TRUE(mentions(plan, layer["name"].get<std::string>()));
  }

  // The file alone gives the same accuracy, on any number of ranks.
  EXPECT_TRUE(
      mentions(succeed(2, {"evaluate", quantized, "--config", config}).out, accuracy_line(accuracy["quantized"])));
  EXPECT_TRUE(mentions(succeed(0, {"evaluate", (folder / "demo/digits_mlp.h5").string(), "--config", config}).out,
                       accuracy_line(accuracy["analog"])));

  const std::string about = succeed(0, {"inspect", quantized}).out;
  EXPECT_TRUE(mentions(about, "gpfq quantized model"));
  EXPECT_TRUE(mentions(about, "(3 levels)"));
  EXPECT_TRUE(mentions(succeed(0, {"inspect", (folder / "demo/digits_mlp.h5").string()}).out, "gpfq float model"));
  EXPECT_TRUE(mentions(succeed(0, {"inspect", (folder / "demo/digits.h5").string()}).out, "/train/images"));
}

TEST(Program, ScaleNeedsNoFiles) {
  EXPECT_TRUE(mentions(succeed(0, {"scale"}).out, "4096"));
  const std::vector<std::string> some = {"scale", "--inputs", "4096", "--neurons", "4096", "--samples", "10000", "--shared",
                                         "--read", "once", "--products", "all", "--no-read-ahead", "--json"};
  EXPECT_EQ(Json::parse(succeed(0, some).out)["products"], "all");
}

TEST(Program, BenchCreditsTheFlopsOfTheForm) {
  const SmallJob job;
  const auto flops_of = [&](double m, double N, double n, const char* form) {
    const Json line = Json::parse(
        succeed(0, {"bench", "--samples", fmt::format("{}", m), "--inputs", fmt::format("{}", N), "--neurons",
                    fmt::format("{}", n), "--folder", job.path().string()})
            .out);
    EXPECT_EQ(line["form"], form);
    return line["gflops"].get<double>() * line["seconds"].get<double>() * 1e9;
  };
  EXPECT_NEAR(flops_of(512, 256, 64, "gram"), 2.0 * 256 * 256 * (512 + 64), 10);
  EXPECT_NEAR(flops_of(50, 129, 16, "residual"), 6.0 * 50 * 129 * 16, 1);
}

TEST(Program, OnlyTheFirstRankPrints) {
  const SmallJob job;
  const CommandResult run = succeed(3, {"quantize", job.config()});
  EXPECT_EQ(test::count_lines(run.out, "results in "), 1);
  EXPECT_EQ(test::count_lines(run.out, "fc1 "), 1);
  const CommandResult evaluation = succeed(3, {"evaluate", (job / "model.h5").string(), "--config", job.config()});
  EXPECT_EQ(test::count_lines(evaluation.out, "top-1 "), 1);
}

TEST(Program, SetAndOverwrite) {
  const SmallJob job;
  static_cast<void>(succeed(0, {"quantize", job.config(), "--set", "quantization.levels=7"}));
  EXPECT_EQ(job.report()["layers"][0]["levels"], 7);
  static_cast<void>(
      succeed(2, {"quantize", job.config(), "--overwrite", "--set", "quantization.bits=4", "--set", "threads=2"}));
  EXPECT_EQ(job.report()["layers"][0]["levels"], 15);
  EXPECT_EQ(job.report()["threads"], 2);
  EXPECT_EQ(test::listing(job / "run"), "log quantized.h5 report.csv report.json");
}

TEST(Program, RelativePathsAreThoseOfTheConfig) {
  const SmallJob job;
  static_cast<void>(succeed(0, {"quantize", job.config(), "--set", "output=deep/er"}));
  EXPECT_EQ(test::listing(job / "deep/er"), "log quantized.h5 report.csv report.json");
}

/// A reader that dies in the midst of a file, here of a pipe that nobody writes to, leaves a message.
TEST(Program, AReaderThatCrashesIsAMessage) {
  if (test::has_address_sanitizer()) GTEST_SKIP() << "the sanitizer reports the signal itself";
  const test::TempFolder folder;
  const std::string script = fmt::format(
      "mkfifo '{0}'; '{1}' inspect '{0}' 2>'{2}' & reader=$!; tries=0; "
      "until kill -SEGV $(cat /proc/$reader/task/$reader/children) 2>/dev/null; do "
      "sleep 0.1; tries=$((tries + 1)); [ $tries -lt 100 ] || exit 99; done; wait $reader",
      (folder / "model.h5").string(), program(), (folder / "err").string());
  const int status = std::system(script.c_str());
  EXPECT_EQ(WEXITSTATUS(status), 2);
  EXPECT_TRUE(mentions(test::read_text(folder / "err"), "model.h5 was ended by signal 11"));
}

TEST(Program, HelpAndVersion) {
  EXPECT_TRUE(mentions(succeed(0, {"--version"}).out, "gpfq "));
  EXPECT_TRUE(mentions(succeed(0, {"--help"}).out, "quantize"));
  for (const char* command : {"demo", "import", "plan", "scale", "quantize", "evaluate", "inspect"})
    EXPECT_FALSE(succeed(0, {command, "--help"}).out.empty()) << command;
  EXPECT_TRUE(mentions(succeed(0, {"quantize", "--help"}).out, "quantization.radius.scale"));
  EXPECT_EQ(test::count_lines(succeed(3, {"--version"}).out, "gpfq "), 1);
}

#ifdef GPFQ_TEST_ONNX
TEST(Program, AnOnnxModelIsTheSameImportedOrNamedInTheConfig) {
  const SmallJob job;
  test::Random random(3);
  formats::OnnxModelWriter onnx({-1, SmallJob::inputs});
  onnx.floats("fc1.weight", {20, SmallJob::inputs}, random.normals(20 * SmallJob::inputs, 0.3));
  onnx.floats("fc1.bias", {20}, random.normals(20, 0.1));
  onnx.floats("fc2.weight", {5, 20}, random.normals(100, 0.3));
  formats::set_integer(onnx.node("Gemm", {"x", "fc1.weight", "fc1.bias"}, "h"), "transB", 1);
  onnx.node("Relu", {"h"}, "r");
  formats::set_integer(onnx.node("Gemm", {"r", "fc2.weight"}, "y"), "transB", 1);
  const std::string model = onnx.save(job / "net.onnx").string();

  static_cast<void>(succeed(2, {"quantize", job.config(), "--set", "model=net.onnx", "--set", "output=direct"}));
  EXPECT_EQ(test::listing(job / "direct"), "log quantized.h5 report.csv report.json");
  EXPECT_TRUE(mentions(succeed(0, {"import", model, "-o", (job / "net.h5").string()}).out, "2 layers"));
  static_cast<void>(succeed(3, {"quantize", job.config(), "--set", "model=net.h5", "--set", "output=imported"}));
  EXPECT_EQ(job.report("direct")["codes_sha256"], job.report("imported")["codes_sha256"]);
  EXPECT_EQ(job.report("direct")["accuracy"], job.report("imported")["accuracy"]);
  EXPECT_EQ(job.report("direct")["layers"][0]["name"], "fc1");

  EXPECT_TRUE(mentions(succeed(0, {"inspect", model}).out, "fc1"));
  const std::string line = accuracy_line(job.report("direct")["accuracy"]["analog"]);
  const std::string before = test::listing(job.path());
  EXPECT_TRUE(mentions(succeed(2, {"evaluate", model, "--config", job.config()}).out, line));
  EXPECT_EQ(test::listing(job.path()), before);
}

TEST(Program, OtherWeightsInAnExternalFileAreAnotherModel) {
  const SmallJob job;
  test::Random random(3);
  constexpr Index count = SmallJob::classes * SmallJob::inputs;
  const std::vector<float> weights = random.normals(count, 0.3);
  const auto write_weights = [&](float factor) {
    std::string bytes;
    for (const float weight : weights) {
      const float value = weight * factor;
      bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
    }
    test::write_text(job / "fc.bin", bytes);
  };
  write_weights(1);
  formats::OnnxModelWriter onnx({-1, SmallJob::inputs});
  onnx::TensorProto& tensor = onnx.empty("fc.weight", {SmallJob::classes, SmallJob::inputs}, onnx::TensorProto::FLOAT);
  tensor.set_data_location(onnx::TensorProto::EXTERNAL);
  onnx::StringStringEntryProto& location = *tensor.add_external_data();
  location.set_key("location");
  location.set_value("fc.bin");
  formats::set_integer(onnx.node("Gemm", {"x", "fc.weight"}, "y"), "transB", 1);
  static_cast<void>(onnx.save(job / "net.onnx"));

  const std::vector<std::string> again = {"quantize", job.config(), "--resume", "--set", "model=net.onnx"};
  static_cast<void>(succeed(1, again));
  EXPECT_TRUE(mentions(succeed(1, again).out, "holds this run"));
  write_weights(2);
  const CommandResult refused = run_program(1, again);
  EXPECT_EQ(refused.exit_code, 2) << refused.err;
  EXPECT_TRUE(mentions(refused.err, "model's fc.bin: 240 bytes")) << refused.err;
}
#endif

int count_of(const std::string& text, const std::string& part) {
  int count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(Program, EveryRankKeepsALogOfItsOwnAtDebug) {
  const SmallJob job;
  const CommandResult run = succeed(3, {"quantize", job.config(), "--log-level", "debug"});
  EXPECT_EQ(test::listing(job / "run"), "log log.rank1 log.rank2 quantized.h5 report.csv report.json");
  for (const int rank : {0, 1, 2}) {
    const std::string log = test::read_text(job / (rank == 0 ? "run/log" : fmt::format("run/log.rank{}", rank)));
    EXPECT_TRUE(mentions(log, fmt::format("rank {} of 3: process ", rank))) << log;
    EXPECT_EQ(count_of(log, "peak memory"), 2) << log;  // a line per layer
    EXPECT_GT(count_of(log, "checkpoint written in"), 0) << log;
    EXPECT_EQ(mentions(log, "codes_sha256"), rank == 0) << log;
  }
  EXPECT_FALSE(mentions(run.err, "peak memory")) << run.err;

  static_cast<void>(succeed(2, {"quantize", job.config(), "--overwrite"}));
  EXPECT_EQ(test::listing(job / "run"), "log quantized.h5 report.csv report.json");
  EXPECT_FALSE(mentions(test::read_text(job / "run/log"), "peak memory"));
}

}  // namespace
}  // namespace gpfq::app
