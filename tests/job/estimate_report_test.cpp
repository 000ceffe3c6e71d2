// SPDX-License-Identifier: Apache-2.0
// Whole jobs against their own estimates: bytes, and keys alike. Neither times nor memory are compared: the first are
// the machine's, and test processes hold more than the program does.
#include <gtest/gtest.h>

#include "job/job_testing.hpp"
#include "support/mpi_main.hpp"
#include "support/networks.hpp"

namespace gpfq::job {
namespace {

using Json = nlohmann::json;
using test::world;

void expect_as_estimated(const Json& report) {
  ASSERT_TRUE(report.contains("estimated"));
  for (const Json& layer : report["layers"]) {
    const Json& estimated = layer["estimated"];
    const std::string name = layer["name"];
    // In whole tiles and chunks of dense layers to the byte; ranks that share a sample's maps each read them.
    const double tolerance = layer["kind"] == "conv" ? 0.1 : 0;
    EXPECT_NEAR(estimated["bytes_read"].get<double>(), layer["bytes_read"].get<double>(),
                tolerance * layer["bytes_read"].get<double>())
        << name;
    EXPECT_EQ(estimated["bytes_written"], layer["bytes_written"]) << name;
    for (const char* key : {"peak_memory", "proportional_memory"})
      EXPECT_TRUE(estimated.contains(key) && layer.contains(key));
    for (const auto& [phase, seconds] : layer["seconds"].items())
      EXPECT_TRUE(estimated["seconds"].contains(phase)) << phase;
    for (const auto& [phase, seconds] : estimated["seconds"].items()) EXPECT_GE(seconds.get<double>(), 0) << phase;
  }
  EXPECT_EQ(report["estimated"]["bytes_written"], report["bytes_written"]);
  EXPECT_GT(report["estimated"]["seconds"].get<double>(), 0);
}

TEST(EstimateOfAJob, BytesAreThoseThatItReports) {
  const JobFolder job(world(), test::random_mlp({150, 130, 45, 10}, 7), random_inputs(2500, 150, 8), {{"levels", 16}});
  const Json report = job.run(world(), "ranks");
  if (world().is_root()) expect_as_estimated(report);
  const Json skipped =
      job.run(world(), "skipped", {R"(quantization.layers=[{"match": ".*2", "skip": true}])", "quantization.block=7"});
  if (world().is_root()) expect_as_estimated(skipped);
  const Json rounded = job.run(world(), "rounded", {"quantization.method=msq"});
  if (world().is_root()) expect_as_estimated(rounded);
  world().barrier();
}

}  // namespace
}  // namespace gpfq::job
