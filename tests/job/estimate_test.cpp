// SPDX-License-Identifier: Apache-2.0
// Estimates are arithmetic: rates of one and shapes of powers of two make answers that a comment derives. No clock is
// read, but for the calibration itself, whose numbers are only required to be rates.
#include "job/estimate.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "job/config_testing.hpp"
#include "support/data_files.hpp"
#include "support/errors.hpp"
#include "support/networks.hpp"
#include "support/temp_folder.hpp"

namespace gpfq::job {
namespace {

using Json = nlohmann::json;

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
  EXPECT_EQ(place_ranks(2, 0, 4096, 64).nodes, 2);  // no node without a rank
  EXPECT_EQ(place_ranks(65, 0, 1, 64).ranks_per_node(), 33);
  EXPECT_EQ(place_ranks(4, 1, 1, 2).nodes, 1);
  EXPECT_DOUBLE_EQ(place_ranks(4, 1, 1, 2).crowding(1), 2);
  EXPECT_DOUBLE_EQ(place_ranks(4, 1, 1, 2).crowding(3), 6);
  EXPECT_DOUBLE_EQ(place_ranks(1, 1, 1, 2).crowding(1), 1);
}

Json with_form(const char* form) { return {{"quantization", {{"form", form}}}}; }

// What root does alone, the others waiting, takes as long on any number of nodes, though each rank's share of the file
// system gets smaller.
TEST(Estimate, RootAloneHasTheFileSystemForItself) {
  const Job job({2048, 4096, 4096}, 100);
  EXPECT_DOUBLE_EQ(job.on(4096, 64).finish_seconds, job.on(128, 2).finish_seconds);
  EXPECT_LT(job.on(4096, 64).finish_seconds, 2 * job.on(2, 1).finish_seconds);
}

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
  EXPECT_EQ(job.on(6, 1).layers[0].bytes_read, 1000 * 64 * 4);  // three of them without a tile
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
  const Index waves = ceil_div(layer.tile_count(), divide_memory(layer, layer.path, 1, layer.tile_count(), smallest).wave_tiles);
  ASSERT_GT(waves, 1);
  EXPECT_EQ(tight.on(1, 1).layers[0].bytes_read, 5000 * 150 * 4 * waves);
  EXPECT_LT(tight.on(1, 1).peak_memory, whole.on(1, 1).peak_memory);
}

TEST(Estimate, FallsAndRisesAsItShould) {
  const Json block = {{"quantization", {{"form", "residual"}, {"block", 128}}}};  // the choice may differ with more samples
  const Job job({512, 1024, 256, 10}, 20000, block);
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
  const JobEstimate twice = Job({512, 1024, 256, 10}, 40000, block).on(1, 1);
  EXPECT_LT(one.seconds, twice.seconds);
  EXPECT_LT(one.peak_memory, twice.peak_memory);
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
  // Ranks of a node share the library's pages and two blocks, which each of them has as resident.
  const JobEstimate four = job.on(4, 1);
  const Index most = std::max(four.layers[0].rank_memory, four.layers[1].rank_memory);
  EXPECT_EQ(four.node_memory, 4 * most - 3 * library_memory);
  const Index block = quant::InputBlock::value_count(layer.path) * 4;
  EXPECT_EQ(four.layers[0].peak_memory - four.layers[0].rank_memory, 2 * (block - block / 4));
  EXPECT_EQ(four.layers[0].node_memory, 4 * four.layers[0].rank_memory - 3 * library_memory);
}

TEST(Estimate, EachLayerStandsForItself) {
  // A wide layer, then small ones: what a rank holds falls, what it has ever held does not. Scratch holds a layer's inputs
  // and what is made of them for the next one, in both networks but for the first.
  const JobEstimate estimate = Job({512, 256, 32, 10}, 50000, with_form("residual")).on(2, 1);
  const std::vector<LayerEstimate>& layers = estimate.layers;
  EXPECT_GT(layers[0].rank_memory, layers[1].rank_memory);
  EXPECT_GT(layers[1].rank_memory, layers[2].rank_memory);
  EXPECT_LE(layers[0].peak_memory, layers[2].peak_memory);
  EXPECT_EQ(layers[0].disk_bytes, Index{50000} * 4 * (512 + 2 * 256));
  EXPECT_EQ(layers[1].disk_bytes, Index{50000} * 4 * 2 * (256 + 32));
  EXPECT_EQ(layers[2].disk_bytes, Index{50000} * 4 * 2 * 32);
}

TEST(Estimate, GramFormCountsWhatComesAfterThePath) {
  const auto second_layer = [](const Json& quantization, Index samples = 8192) {
    Json more = with_form("gram");
    more["quantization"].merge_patch(quantization);
    const Job job({1024, 1024, 1024, 10}, samples, more);  // somebody takes its outputs
    const JobEstimate estimate = job.on(1, 1);
    return std::make_pair(job.plan.layers[1].flops, estimate.layers[1]);
  };
  constexpr double N = 1024;  // = n
  constexpr double m = 8192;
  const auto [plain_flops, plain] = second_layer(Json::object());
  EXPECT_EQ(plain_flops, 2 * m * N * N + 2 * N * N * N);
  EXPECT_EQ(plain.seconds.count("factor"), 0U);

  // Nobody takes the last layer's: K whole and L beside G, and five products of N²n for the error.
  const Job last({1024, 1024, 1024}, 8192, with_form("gram"));
  const LayerEstimate compared = last.on(1, 1).layers[1];
  EXPECT_EQ(last.plan.layers[1].flops, 4 * m * N * N + (2 + 5) * N * N * N);
  EXPECT_NEAR(compared.seconds.at("products") / plain.seconds.at("products"), 1.9, 0.15);
  EXPECT_EQ(compared.seconds.count("propagate"), 0U);
  EXPECT_GT(compared.rank_memory, plain.rank_memory + static_cast<Index>(N * N * 8));

  // The whole of C is half as much again; XqᵀU takes 4N²n, a sweep 2N²n.
  const auto [swept_flops, swept] = second_layer({{"refine", {{"sweeps", 2}}}});
  EXPECT_EQ(swept_flops, 3 * m * N * N + (2 + 4 + 2 * 2) * N * N * N);
  EXPECT_NEAR(swept.seconds.at("products") / plain.seconds.at("products"), 1.45, 0.1);
  EXPECT_GT(swept.seconds.at("path"), 2 * plain.seconds.at("path"));
  EXPECT_GT(swept.rank_memory, plain.rank_memory + static_cast<Index>(N * N * 4));

  const auto [searched_flops, searched] =
      second_layer({{"radius", {{"rule", "search"}, {"candidates", 3}, {"per", "neuron"}}}});
  EXPECT_EQ(searched_flops, 3 * m * N * N + (4 * 2 + 3 * 4) * N * N * N);

  // A Cholesky factor and its inverse: 4N³/3 flops, both in double while G and C are at hand.
  const auto [diffused_flops, diffused] = second_layer({{"method", "optq"}});
  EXPECT_NEAR(diffused_flops, 3 * m * N * N + (1 + 4.0 / 3) * N * N * N, 1);
  EXPECT_GT(diffused.seconds.at("factor"), 4.0 / 3 * N * N * N / 1e11);
  const auto [corrected_flops, corrected] = second_layer({{"method", "qronos"}});
  EXPECT_NEAR(corrected_flops, 3 * m * N * N + (3 + 10.0 / 3) * N * N * N, 1);
  EXPECT_GT(corrected.seconds.at("factor"), 2 * diffused.seconds.at("factor"));
  // Where rows are few, the factor is the largest: G, C, itself and two squares of double; qronos' target and a third.
  const Index square = Index{1024} * 1024;
  const Index base = own_base_memory + library_memory;
  const Index of_optq = second_layer({{"method", "optq"}}, 256).second.rank_memory - base;
  const Index of_qronos = second_layer({{"method", "qronos"}}, 256).second.rank_memory - base;
  EXPECT_GE(of_optq, square * (2 * 4 + 2 + 2 * 8));
  EXPECT_EQ(of_qronos - of_optq, square * (4 + 8));
}

TEST(Estimate, NodesUseTheirNetworkAndTheirFiles) {
  const auto slower = [](double network, double files) {
    MachineRates rates = rates_of();
    rates.cluster.latency_us *= network;
    rates.cluster.network_gb /= network;
    rates.cluster.files_gb /= files;
    return rates;
  };
  for (const char* form : {"residual", "gram"}) {
    const Job job({512, 1024, 256, 10}, 20000, with_form(form));
    const double usual = job.on(64, 4).seconds;
    EXPECT_GT(job.on(64, 4, slower(10, 1)).seconds, usual) << form;
    EXPECT_GT(job.on(64, 4, slower(1, 100)).seconds, usual) << form;
    EXPECT_EQ(job.on(64, 1, slower(10, 100)).seconds, job.on(64, 1).seconds) << form;
  }
  // What two nodes exchange of X, once: each takes in the half that it has not read.
  const Job wide({512, 4096}, 8192, with_form("residual"));
  const double faster = wide.on(128, 2, slower(1e-9, 1)).layers[0].seconds.at("read");
  const double bytes = 8192.0 * 512 * 4 / 2;
  EXPECT_NEAR(wide.on(128, 2).layers[0].seconds.at("read") - faster, bytes / 12.5e9, 0.1 * bytes / 12.5e9);
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

/// What launch/lib/slurm.sh makes of a line's --mem: four fifths, shared out in whole MiB.
Index memory_per_rank_of(const std::string& line, int ranks_per_node) {
  const Index mebibytes = std::stoll(line.substr(line.find("--mem=") + 6));
  return mebibytes * 80 / 100 / ranks_per_node * (Index{1} << 20);
}

TEST(Sbatch, ItsMemoryIsEnoughForTheJob) {
  // Gram form: tiles are few on a rank, one's buffers for rows are counted with them in the smallest memory. Residual
  // form: 32 ranks of a node share one window of blocks, the smallest memory has one for each.
  Json gram = with_form("gram");
  gram["memory_per_rank"] = "4GiB";
  const Job of_gram({2048, 2048}, 65536, gram);
  const Job of_residual({16384, 512}, 65536, with_form("residual"));
  const auto expect_enough = [](const Job& job, int ranks, int nodes) {
    const std::string line = sbatch_line(job.on(ranks, nodes), place_ranks(ranks, nodes, 1, 64), 1);
    EXPECT_GE(memory_per_rank_of(line, ranks / nodes), job.plan.smallest_memory()) << line;
  };
  expect_enough(of_gram, 32, 1);
  expect_enough(of_residual, 64, 2);
  JobEstimate odd;  // 3 ranks that need 10 MiB and a byte each: 33 MiB are four fifths of 41.25
  odd.smallest_memory = (Index{10} << 20) + 1;
  EXPECT_EQ(memory_per_rank_of(sbatch_line(odd, {3, 1, 4}, 1), 3), Index{11} << 20);
}

TEST(EstimateJson, HasTheReportsKeys) {
  const Job job({64, 48, 10}, 1000);
  const Placement placement = place_ranks(2, 0, 1, 64);
  const Json json = Json::parse(estimate_json(job.plan, job.on(2, 0), job.config, placement, rates_of()));
  for (const char* key : {"ranks", "nodes", "layers", "estimated", "rates", "sbatch", "smallest_memory_per_rank"})
    EXPECT_TRUE(json.contains(key)) << key;
  for (const char* key : {"name", "form", "form_reason", "grid", "idle_ranks", "block", "tile", "flops", "estimated"})
    EXPECT_TRUE(json["layers"][0].contains(key)) << key;
  for (const char* key : {"seconds", "bytes_read", "bytes_written", "peak_memory", "rank_memory", "node_memory", "disk_bytes"})
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
  given.latency_us = 3;
  given.network_gb = 7;
  given.files_gb = 90;
  given.node_files_gb = 4;
  const MachineRates rates = with_given(rates_of(), given);
  EXPECT_EQ(rates.flops_per_second, 40e9);
  EXPECT_EQ(rates.cores, 128);
  EXPECT_EQ(rates.node_memory_bytes_per_second, 5e9);
  EXPECT_EQ(rates.memory_bytes_per_second, 5e9);  // a core is no faster than its node
  EXPECT_EQ(rates.read_bytes_per_second, rates_of().read_bytes_per_second);
  EXPECT_EQ(rates.cluster.latency_us, 3);
  EXPECT_EQ(rates.cluster.network_gb, 7);
  EXPECT_EQ(rates.cluster.files_gb, 90);
  EXPECT_EQ(rates.cluster.node_files_gb, 4);
}

}  // namespace
}  // namespace gpfq::job
