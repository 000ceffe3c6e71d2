// SPDX-License-Identifier: Apache-2.0
// The model of scale: its grid is the job's, its terms are the formulas, and it moves the right way.
#include "job/scale.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "job/estimate.hpp"
#include "job/form_choice.hpp"
#include "job/grid.hpp"
#include "support/errors.hpp"

namespace gpfq::job {
namespace {

using Reading = ScaleDesign::Reading;
using Products = ScaleDesign::Products;

TEST(ScaleShape, IsPlannedAsAJobWould) {
  const LayerPlan layer = plan_of_shape({});
  EXPECT_EQ(layer.form, Form::residual);
  EXPECT_EQ(layer.flops, 6.0 * 0x1p48);
  EXPECT_FALSE(layer.path.shared);
  EXPECT_EQ(plan_of_shape({.shared = true}).flops, 6.0 * 0x1p48);  // XW beside U
  EXPECT_EQ(plan_of_shape({.block = 32}).path.block_width, 32);
  // Where a job would form G and C of all inputs, the model still is of residual form.
  EXPECT_EQ(plan_of_shape({.inputs = 1, .neurons = 1, .samples = 1}).form, Form::residual);
  EXPECT_EQ(plan_of_shape({.inputs = 256, .neurons = 64, .samples = 512}).form, Form::residual);
  EXPECT_TRUE(test::mentions(test::input_error([] { static_cast<void>(plan_of_shape({.inputs = 0})); }), "positive"));
}

TEST(ScaleModel, TermsAreTheFormulas) {
  // One rank and memory without end: 2mNn flops at the projection's rate, 4mNn at the update's, 2.5mNb for G and C.
  const LayerPlan layer = plan_of_shape({.inputs = 4096, .neurons = 256, .samples = 8192});
  ScaleMachine machine;
  machine.memory_gb = 1e9;
  const ScalePoint point = predict_scale(layer, machine, {}, 1);
  const double mN = 8192.0 * 4096;
  const Index b = layer.path.block_width;
  const double width = static_cast<double>(layer.tile_width * layer.tile_count());
  const double rate = machine.gflops * 1e9;
  EXPECT_NEAR(point.path, (2 * mN * width / narrow_share(b) + 4 * mN * width / shallow_share(b)) / rate, 1e-9);
  EXPECT_NEAR(point.products, 2.5 * mN * static_cast<double>(b) / block_product_share(b) / rate, 1e-6);
  EXPECT_NEAR(point.kernel, 4096 * width * kernel_seconds_per_weight(b), 1e-9);
  EXPECT_EQ(point.sums, 0);
  EXPECT_EQ(point.exchange, 0);
  EXPECT_NEAR(point.reading, 2 * mN * 4 / (machine.node_files_gb * 1e9), 1e-9);
  // Root reads and digests a byte for each weight; four were read and written before.
  const double weights = 4096.0 * 256;
  const double digest = weights / (machine.node_files_gb * 1e9) + weights / (machine.digest_gb * 1e9);
  EXPECT_NEAR(point.root, digest, 1e-12);
  const ScaleDesign native{Reading::once, Products::node, true, false};
  const double copy = 8 * weights / (machine.node_files_gb * 1e9);
  EXPECT_NEAR(predict_scale(layer, machine, native, 1).weights, point.weights - copy, 1e-12);
  EXPECT_NEAR(predict_scale(layer, machine, native, 1).total, point.total - copy, 1e-9);
}

TEST(ScaleModel, ANodeHoldsABlockAndATileOfEachRank) {
  const ScaleShape shape{.inputs = 4096, .neurons = 4096, .samples = 8192};
  ScaleMachine machine;
  machine.node_memory_gb = 0.001;
  const std::string text = test::input_error([&] { static_cast<void>(scale_json(shape, machine, {})); });
  EXPECT_TRUE(test::mentions(text, "--node-memory-gb is 0.001; expected at least"));
  machine.node_memory_gb = std::stod(text.substr(text.find("at least ") + 9));
  EXPECT_NO_THROW(static_cast<void>(scale_json(shape, machine, {})));
}

TEST(ScaleModel, MirrorsTheJobsGridAndMoves) {
  const LayerPlan layer = plan_of_shape({});
  const ScaleMachine machine;
  for (const Reading reading : {Reading::each_node, Reading::once})
    for (const Products products : {Products::each_rank, Products::node, Products::all_ranks}) {
      double path = 1e300;
      for (int ranks = 2; ranks <= 4096; ranks *= 2) {
        const ScalePoint point = predict_scale(layer, machine, {reading, products, true}, ranks);
        const RankGrid grid = choose_grid(layer, Config(), ranks);
        EXPECT_EQ(point.grid.neurons, grid.neurons);
        EXPECT_EQ(point.grid.samples, grid.samples);
        EXPECT_LT(point.path, path);
        EXPECT_GT(point.efficiency, 0);
        EXPECT_LE(point.efficiency, 1);
        EXPECT_GE(point.total, predict_scale(layer, machine, {reading, Products::all_ranks, true}, ranks).path);
        EXPECT_LE(point.total, predict_scale(layer, machine, {reading, products, false}, ranks).total);
        path = point.path;
      }
    }
}

TEST(ScaleModel, EachDesignPaysForWhatItSaves) {
  const LayerPlan layer = plan_of_shape({});
  const ScaleMachine machine;
  const ScalePoint each = predict_scale(layer, machine, {Reading::each_node, Products::each_rank, true}, 4096);
  const ScalePoint once = predict_scale(layer, machine, {Reading::once, Products::each_rank, true}, 4096);
  EXPECT_LT(once.reading, each.reading);
  EXPECT_GT(once.exchange, 0);
  EXPECT_EQ(each.exchange, 0);
  EXPECT_EQ(each.limit, "reading");
  const ScalePoint shared = predict_scale(layer, machine, {Reading::once, Products::all_ranks, true}, 4096);
  EXPECT_LT(shared.products, once.products);
  EXPECT_GT(shared.sums, once.sums);
}

TEST(Communication, GrowsWithBytesRanksAndLatency) {
  ScaleMachine machine;
  EXPECT_EQ(allreduce_seconds(1e6, 1, 1, 1, machine), 0);
  EXPECT_EQ(allgather_seconds(1e6, 1, machine), 0);
  EXPECT_LT(allreduce_seconds(1e5, 2, 2, 1, machine), allreduce_seconds(1e6, 2, 2, 1, machine));
  EXPECT_LT(allreduce_seconds(1e5, 64, 64, 1, machine), allreduce_seconds(1e5, 128, 64, 1, machine));
  EXPECT_LT(allreduce_seconds(1e5, 64, 64, 1, machine), allreduce_seconds(1e5, 64, 64, 2, machine));
  // No bytes: two nodes of one rank are one step, one latency.
  EXPECT_DOUBLE_EQ(allreduce_seconds(0, 2, 1, 1, machine), machine.latency_us * 1e-6);
  // Four nodes: two latencies, and three quarters of the bytes come in.
  EXPECT_DOUBLE_EQ(allgather_seconds(1e9, 4, machine),
                   2 * machine.latency_us * 1e-6 + 0.75e9 / (machine.network_gb * 1e9));
}

TEST(ScaleText, ShowsEveryCountAndParses) {
  const std::string table = scale_table({}, {}, {});
  for (const char* word : {" 4096 ", "256x16", "reading", "all designs"})
    EXPECT_TRUE(test::mentions(table, word)) << word;
  const nlohmann::json json = nlohmann::json::parse(scale_json({}, {}, {}));
  EXPECT_EQ(json["points"].size(), 12U);
  EXPECT_EQ(json["points"][11]["ranks"], 4096);
  EXPECT_TRUE(json["points"][0]["seconds"].contains("exchange"));
}

}  // namespace
}  // namespace gpfq::job
