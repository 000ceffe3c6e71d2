// SPDX-License-Identifier: Apache-2.0
// Whole jobs against their own estimates: bytes to the last one, memory to a quarter, keys alike. Times are not compared.
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
    EXPECT_EQ(estimated["bytes_read"], layer["bytes_read"]) << name;
    EXPECT_EQ(estimated["bytes_written"], layer["bytes_written"]) << name;
    for (const auto& [phase, seconds] : layer["seconds"].items()) EXPECT_TRUE(estimated["seconds"].contains(phase)) << phase;
    for (const auto& [phase, seconds] : estimated["seconds"].items()) EXPECT_GE(seconds.get<double>(), 0) << phase;
  }
  EXPECT_EQ(report["estimated"]["bytes_read"], report["bytes_read"]);
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
