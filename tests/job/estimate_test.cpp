// SPDX-License-Identifier: Apache-2.0
// Estimates are arithmetic: rates of one and shapes of powers of two make answers that a comment derives. No clock is
// read, but for the calibration itself, whose numbers are only required to be rates.
#include "job/estimate.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "support/data_files.hpp"
#include "support/errors.hpp"
#include "support/networks.hpp"
#include "support/temp_folder.hpp"

namespace gpfq::job {
namespace {

using Json = nlohmann::json;

Config config_with(const Json& more = Json::object()) {
  Json json = {{"model", "m"}, {"calibration", {{"file", "d"}, {"inputs", "x"}}}, {"memory_per_rank", "1TiB"}, {"threads", 1},
               {"quantization", {{"preset", "paper"}}}};
  json.merge_patch(more);
  return parse_config(json.dump(), "/here", "job.json");
}

MachineRates rates_of(double scale = 1, int cores = 64) {
  MachineRates rates;
  rates.flops_per_second = 1e11 * scale;
  rates.memory_bytes_per_second = 1e10 * scale;
  rates.node_memory_bytes_per_second = 1e11 * scale;
  rates.read_bytes_per_second = 5e9 * scale;
  rates.write_bytes_per_second = 1e9 * scale;
  rates.digest_bytes_per_second = 2e9 * scale;
  rates.cores = cores;
  return rates;
}

struct Job {
  net::Model model;
  Config config;
  JobPlan plan;
  Job(const std::vector<Index>& widths, Index samples, const Json& more = Json::object())
      : model(test::random_mlp(widths, 1)), config(config_with(more)), plan(make_plan(model.graph, config, samples)) {}
  [[nodiscard]] JobEstimate on(int ranks, int nodes, const MachineRates& rates = rates_of()) const {
    return estimate_job(plan, model.graph, config, rates, place_ranks(ranks, nodes, config.threads, rates.cores), {});
  }
};

TEST(Placement, TakesACorePerThread) {
  EXPECT_EQ(place_ranks(1, 0, 1, 64).nodes, 1);
  EXPECT_EQ(place_ranks(64, 0, 1, 64).nodes, 1);
  EXPECT_EQ(place_ranks(65, 0, 1, 64).nodes, 2);
  EXPECT_EQ(place_ranks(64, 0, 2, 64).nodes, 2);
  EXPECT_EQ(place_ranks(65, 0, 1, 64).ranks_per_node(), 33);
  EXPECT_EQ(place_ranks(4, 1, 1, 2).nodes, 1);
  EXPECT_DOUBLE_EQ(place_ranks(4, 1, 1, 2).crowding(1), 2);
  EXPECT_DOUBLE_EQ(place_ranks(4, 1, 1, 2).crowding(3), 6);
  EXPECT_DOUBLE_EQ(place_ranks(1, 1, 1, 2).crowding(1), 1);
}

Json with_form(const char* form) { return {{"quantization", {{"form", form}}}}; }

TEST(Estimate, BytesOfDenseLayers) {
  // One rank. Layer 1 (X = Xq): read once for G and C, once to propagate; writes fc1's outputs, which differ, in both
  // networks. Layer 2: both networks twice. Layer 3: likewise, writes nothing.
  const Job job({64, 48, 32, 10}, 1000, with_form("gram"));
  const JobEstimate estimate = job.on(1, 1);
  ASSERT_EQ(estimate.layers.size(), 3U);
  EXPECT_EQ(estimate.layers[0].bytes_read, 1000 * 64 * 4 * 2);
  EXPECT_EQ(estimate.layers[0].bytes_written, 1000 * 48 * 4 * 2);
  EXPECT_EQ(estimate.layers[1].bytes_read, 1000 * 48 * 4 * 2 * 2);
  EXPECT_EQ(estimate.layers[1].bytes_written, 1000 * 32 * 4 * 2);
  EXPECT_EQ(estimate.layers[2].bytes_read, 1000 * 32 * 4 * 2 * 2);
  EXPECT_EQ(estimate.layers[2].bytes_written, 0);
  EXPECT_EQ(estimate.bytes_written, 1000 * (48 + 32) * 4 * 2);
  EXPECT_EQ(estimate.flops, job.plan.layers[0].flops + job.plan.layers[1].flops + job.plan.layers[2].flops);
}

TEST(Estimate, LayersThatHandOnAreReadOnce) {
  const JobEstimate estimate = Job({64, 48, 32, 10}, 1000, with_form("residual")).on(1, 1);
  EXPECT_EQ(estimate.layers[0].bytes_read, 1000 * 64 * 4);
  EXPECT_EQ(estimate.layers[0].bytes_written, 1000 * 48 * 4 * 2);
  EXPECT_EQ(estimate.layers[1].bytes_read, 1000 * 48 * 4 * 2);
  EXPECT_EQ(estimate.layers[2].bytes_read, 1000 * 32 * 4 * 2);
  EXPECT_EQ(estimate.layers[2].bytes_written, 0);
}

TEST(Estimate, ABlockIsReadOnceOrOnceByEachNode) {
  // 48 neurons are three tiles of 16 for three ranks.
  const Job job({64, 48, 10}, 1000, with_form("residual"));
  ASSERT_EQ(job.plan.layers[0].tile_count(), 3);
  EXPECT_EQ(job.on(3, 1).layers[0].bytes_read, 1000 * 64 * 4);
  EXPECT_EQ(job.on(6, 1).layers[0].bytes_read, 1000 * 64 * 4);  // 3×2: halves of the rows
  EXPECT_EQ(job.on(3, 3).layers[0].bytes_read, 1000 * 64 * 4);  // nodes exchange their shares
  Json each = with_form("residual");
  each["stream"]["exchange"] = false;
  EXPECT_EQ(Job({64, 48, 10}, 1000, each).on(3, 3).layers[0].bytes_read, 1000 * 64 * 4 * 3);
}

TEST(Estimate, WavesReadAgain) {
  const Job whole({150, 1024, 10}, 5000, with_form("residual"));
  const Index smallest = whole.plan.smallest_memory();
  Json small = with_form("residual");
  small["memory_per_rank"] = smallest;
  const Job tight({150, 1024, 10}, 5000, small);
  const LayerPlan& layer = tight.plan.layers[0];
  const Index waves = ceil_div(layer.tile_count(), divide_memory(layer, layer.path, 1, smallest).wave_tiles);
  ASSERT_GT(waves, 1);
  EXPECT_EQ(tight.on(1, 1).layers[0].bytes_read, 5000 * 150 * 4 * waves);
  EXPECT_LT(tight.on(1, 1).peak_memory, whole.on(1, 1).peak_memory);
}

TEST(Estimate, FallsAndRisesAsItShould) {
  const Job job({512, 1024, 256, 10}, 20000);
  const JobEstimate one = job.on(1, 1);
  double before = one.seconds;
  for (const int ranks : {2, 4, 8, 16}) {
    const JobEstimate more = job.on(ranks, 0);
    EXPECT_LT(more.seconds, before) << ranks;
    EXPECT_LE(more.peak_memory, one.peak_memory + collective_write_memory) << ranks;
    EXPECT_GT(more.node_memory, one.node_memory) << ranks;
    before = more.seconds;
  }
  EXPECT_LT(job.on(1, 1, rates_of(2)).seconds, one.seconds);
  EXPECT_GT(job.on(4, 1, rates_of(1, 2)).seconds, job.on(4, 1).seconds);  // four ranks on two cores
  EXPECT_LT(one.seconds, Job({512, 1024, 256, 10}, 40000).on(1, 1).seconds);
  EXPECT_LT(one.peak_memory, Job({512, 1024, 256, 10}, 40000).on(1, 1).peak_memory);
}

TEST(Estimate, MemoryHoldsTheProgramAndTheBuffers) {
  const Job job({512, 256, 10}, 50000, with_form("residual"));
  const LayerPlan& layer = job.plan.layers[0];
  const JobEstimate estimate = job.on(1, 1);
  const Index blocks = 2 * quant::InputBlock::bytes(layer.path);  // one of them read ahead
  const Index buffers = blocks + layer.piece_bytes + layer.tile_count() * layer.tile_bytes;
  EXPECT_EQ(estimate.peak_memory, own_base_memory + library_memory + buffers);
  EXPECT_EQ(estimate.layers[0].proportional_memory, estimate.peak_memory);
  EXPECT_EQ(estimate.proportional_memory, estimate.peak_memory);
  // Ranks of a node share the library's pages and nothing else.
  const JobEstimate four = job.on(4, 1);
  EXPECT_EQ(four.node_memory, 4 * four.peak_memory - 3 * library_memory);
}

TEST(Estimate, ThousandsOfRanks) {
  const Job job({64, 48, 10}, 1000);
  const JobEstimate estimate = job.on(4096, 0);
  EXPECT_GT(estimate.seconds, 0);
  EXPECT_EQ(sbatch_line(estimate, place_ranks(4096, 0, 1, 64), 1)
                .find("sbatch --nodes=64 --ntasks=4096 --ntasks-per-node=64"),
            0U);
}

TEST(Sbatch, HasMarginsAndALeastTime) {
  JobEstimate estimate;
  estimate.node_memory = Index{1000} << 20;
  estimate.seconds = 3600;
  EXPECT_EQ(sbatch_line(estimate, {8, 2, 4}, 2),
            "sbatch --nodes=2 --ntasks=8 --ntasks-per-node=4 --cpus-per-task=2 --mem=1250M --time=2:00:00");
  estimate.seconds = 1;
  EXPECT_TRUE(test::mentions(sbatch_line(estimate, {8, 2, 4}, 2), "--time=0:10:00"));
}

TEST(EstimateJson, HasTheReportsKeys) {
  const Job job({64, 48, 10}, 1000);
  const Placement placement = place_ranks(2, 0, 1, 64);
  const Json json = Json::parse(estimate_json(job.plan, job.on(2, 0), job.config, placement, rates_of()));
  for (const char* key : {"ranks", "nodes", "layers", "estimated", "rates", "sbatch", "smallest_memory_per_rank"})
    EXPECT_TRUE(json.contains(key)) << key;
  for (const char* key : {"name", "form", "form_reason", "grid", "block", "tile", "flops", "estimated"})
    EXPECT_TRUE(json["layers"][0].contains(key)) << key;
  for (const char* key : {"seconds", "bytes_read", "bytes_written", "peak_memory"})
    EXPECT_TRUE(json["layers"][0]["estimated"].contains(key)) << key;
  for (const char* key : {"seconds", "bytes_read", "bytes_written", "peak_memory", "node_memory", "disk_bytes", "checkpoint_bytes"})
    EXPECT_TRUE(json["estimated"].contains(key)) << key;
}

TEST(Machine, RatesAreCachedAndABadCacheIsAsNone) {
  const test::TempFolder folder;
  const std::filesystem::path cache = folder / "cache/gpfq/machine.json";
  const MachineRates first = machine_rates(folder / "not/there/yet", cache);
  for (const double rate : {first.flops_per_second, first.memory_bytes_per_second, first.node_memory_bytes_per_second,
                            first.read_bytes_per_second, first.write_bytes_per_second, first.digest_bytes_per_second})
    EXPECT_GT(rate, 0);
  EXPECT_GE(first.cores, 1);
  EXPECT_EQ(test::listing(folder.path()),
            "cache cache/gpfq cache/gpfq/machine.json");  // nothing is left where files will lie
  EXPECT_EQ(machine_rates(folder.path(), cache).flops_per_second, first.flops_per_second);  // not measured again
  for (const char* text : {"", "[1]", "{", "{\"x\": 1}"}) {
    test::write_text(cache, text);
    EXPECT_GT(machine_rates(folder.path(), cache).flops_per_second, 0) << text;
  }
  EXPECT_GT(machine_rates(folder.path(), folder / "cache/gpfq/machine.json/under/a/file").flops_per_second, 0);
}

TEST(Machine, OldRatesAreMeasuredAgainAndTheBetterOnesKept) {
  const test::TempFolder folder;
  const std::filesystem::path cache = folder / "machine.json";
  static_cast<void>(machine_rates(folder.path(), cache));
  Json known = Json::parse(test::read_text(cache));
  Json& rates = known.begin().value();
  rates["measured_at"] = 1;
  rates["flops_per_second"] = 1e18;
  rates["digest_bytes_per_second"] = 1.0;
  test::write_text(cache, known.dump());
  const MachineRates again = machine_rates(folder.path(), cache);
  EXPECT_EQ(again.flops_per_second, 1e18);
  EXPECT_GT(again.digest_bytes_per_second, 1.0);
  EXPECT_GT(Json::parse(test::read_text(cache)).begin().value()["measured_at"], 1);
}

TEST(Machine, WhatIsGivenTakesThePlaceOfWhatIsMeasured) {
  GivenRates given;
  given.gflops = 40;
  given.cores = 128;
  given.memory_gb = 5;
  const MachineRates rates = with_given(rates_of(), given);
  EXPECT_EQ(rates.flops_per_second, 40e9);
  EXPECT_EQ(rates.cores, 128);
  EXPECT_EQ(rates.node_memory_bytes_per_second, 5e9);
  EXPECT_EQ(rates.memory_bytes_per_second, 5e9);  // a core is no faster than its node
  EXPECT_EQ(rates.read_bytes_per_second, rates_of().read_bytes_per_second);
}

}  // namespace
}  // namespace gpfq::job
