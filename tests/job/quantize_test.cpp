// SPDX-License-Identifier: Apache-2.0
// Whole jobs on ranks: the same codes and activations as on one rank whatever is shared how, the
// codes of the definition, and one message on all ranks where the input is bad.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "gpfq/job/plan.hpp"
#include "gpfq/quant/alphabet.hpp"
#include "job/job_testing.hpp"
#include "support/data_files.hpp"
#include "support/errors.hpp"
#include "support/mpi_main.hpp"
#include "support/networks.hpp"
#include "support/reference_comparison.hpp"

namespace gpfq::job {
namespace {

using Json = nlohmann::json;
using test::mentions;
using test::world;

/// What must be equal in two reports, with what tells where a difference begins.
Json result_of(const Json& report) {
  Json result = {{"codes_sha256", report["codes_sha256"]}, {"layers", Json::array()}};
  if (report.contains("accuracy")) result["accuracy"] = report["accuracy"];
  for (const Json& layer : report["layers"]) {
    Json part;
    for (const char* key :
         {"name", "activations_sha256", "relative_error", "dead_inputs", "saturated", "zeros", "radius"})
      part[key] = layer[key];
    result["layers"].push_back(part);
  }
  return result;
}

std::vector<std::int32_t> random_labels(Index samples, Index classes) {
  test::Random random(99);
  std::vector<std::int32_t> labels(static_cast<std::size_t>(samples));
  for (std::int32_t& label : labels) label = static_cast<std::int32_t>(random.integer(0, classes - 1));
  return labels;
}

/// Settings under which ranks must agree with one rank.
struct Setting {
  const char* name;
  std::vector<std::string> overrides;
};
std::ostream& operator<<(std::ostream& out, const Setting& setting) { return out << setting.name; }

class SameAsOnOneRank : public testing::TestWithParam<Setting> {};

TEST_P(SameAsOnOneRank, CodesActivationsAndReport) {
  const net::Model model = test::random_mlp({90, 70, 40, 10}, 5);
  const JobFolder job(world(), model, random_inputs(600, 90, 6), {{"levels", 16}}, random_labels(600, 10));
  const Json expected = job.run_alone("alone", GetParam().overrides);
  const Json found = job.run(world(), "ranks", GetParam().overrides);
  if (world().is_root()) {
    EXPECT_EQ(result_of(found), result_of(expected));
    for (const Json& layer : expected["layers"]) {
      const std::string name = layer["name"];
      EXPECT_EQ(job.codes("ranks", name), job.codes("alone", name)) << name;
      EXPECT_EQ(job.steps("ranks", name), job.steps("alone", name)) << name;
    }
  }
  world().barrier();
}

INSTANTIATE_TEST_SUITE_P(
    Settings, SameAsOnOneRank,
    testing::Values(
        Setting{"Ternary", {"quantization.levels=3"}}, Setting{"SixteenLevels", {}},
        Setting{"TwoLevels", {"quantization.levels=2"}}, Setting{"EightBits", {"quantization.bits=8"}},
        Setting{"PerNeuron", {"quantization.radius.per=neuron"}}, Setting{"Max", {"quantization.radius.rule=max"}},
        Setting{"Value", {"quantization.radius.value=0.3"}}, Setting{"Msq", {"quantization.method=msq"}},
        Setting{"NarrowBlocks", {"quantization.block=7"}},
        Setting{"SkipTheFirst", {R"(quantization.layers=[{"match": "fc1", "skip": true}])"}},
        Setting{"SkipInBetween", {R"(quantization.layers=[{"match": ".*2", "skip": true}])"}},
        Setting{"SkipTheLast", {R"(quantization.layers=[{"match": "fc3", "skip": true}])"}},
        Setting{
            "MethodOfOneLayer",
            {R"(quantization.layers=[{"match": "fc[12]", "method": "msq", "levels": 3}, {"match": "fc2", "method": "gpfq"}])"}},
        Setting{"Sweeps", {"quantization.refine.sweeps=3"}},
        Setting{"SweepsInGramForm", {"quantization.refine.sweeps=3", "quantization.form=gram"}},
        Setting{"SearchPerNeuron", {"quantization.radius.rule=search", "quantization.radius.per=neuron"}},
        Setting{"SearchPerLayer", {"quantization.radius.rule=search", "quantization.radius.candidates=4"}},
        Setting{"SearchInGramForm",
                {"quantization.radius.rule=search", "quantization.radius.per=neuron", "quantization.form=gram"}},
        Setting{"Defaults", {"quantization.preset=null"}},
        Setting{"DefaultsTernary", {"quantization.preset=null", "quantization.bits=2"}},
        Setting{"Optq", {"quantization.method=optq", "quantization.form=auto"}},
        Setting{"QronosWithAll", {"quantization.method=qronos", "quantization.form=auto", "quantization.preset=null"}},
        Setting{"ActivationOrder", {"quantization.order=activation", "quantization.refine.sweeps=1"}},
        Setting{"ActivationOrderInGramForm", {"quantization.order=activation", "quantization.form=gram"}},
        Setting{"ActivationOrderWithAll", {"quantization.order=activation", "quantization.preset=null", "quantization.block=7"}},
        Setting{"Stochastic", {"quantization.method=spfq", "quantization.seed=3"}},
        Setting{"StochasticInGramForm", {"quantization.method=spfq", "quantization.form=gram"}},
        Setting{"Sparse", {"quantization.threshold=0.7", "quantization.levels=15"}},
        Setting{"SparseHard", {"quantization.threshold=2.5", "quantization.levels=15", "quantization.sparsity=hard"}},
        Setting{"SparseHardSearched",
                {"quantization.threshold=1", "quantization.levels=7", "quantization.sparsity=hard", "quantization.preset=null"}},
        Setting{"BiasCorrected", {"quantization.bias_correction=true"}},
        Setting{"ShuffledSamples", {"calibration.samples=300", "calibration.shuffle_seed=11"}}),
    [](const auto& setting) { return std::string(setting.param.name); });

TEST(SameResult, ForThreadsAndMemory) {
  // More samples than one chunk of the path (2048) and several waves of propagation.
  const net::Model model = test::random_mlp({150, 130, 45, 10}, 7);
  Eigen::MatrixXf data = random_inputs(2500, 150, 8);
  data.col(77).setZero();  // counted once however many waves see it
  const JobFolder job(world(), model, data, {{"levels", 16}});
  const Json expected = job.run_alone("alone", {"memory_per_rank=100GiB"});
  if (world().is_root()) {
    EXPECT_EQ(expected["layers"][0]["dead_inputs"], 1);
  }
  const Config config = parse_config(load_config_text(job / "job.json", {}), job / "", "job.json");
  const JobPlan plan = make_plan(model.graph, config, 2500);
  const Index smallest = plan.smallest_memory();
  const LayerPlan& layer = plan.layers[0];
  EXPECT_LT(divide_memory(layer, layer.path, 1, layer.tile_count(), smallest).wave_tiles, ceil_div(Index{130}, layer.tile_width));
  EXPECT_LT(samples_per_wave(plan, model.graph, 0, model.graph.size(), smallest), 2500);
  int number = 0;
  for (const auto& overrides :
       std::vector<std::vector<std::string>>{{"threads=2"},
                                             {fmt::format("memory_per_rank={}", smallest)},
                                             {fmt::format("memory_per_rank={}", smallest + 1000000), "threads=2"},
                                             {"memory_per_rank=100GiB", "threads=5"}}) {
    const Json found = job.run(world(), fmt::format("ranks{}", ++number), overrides);
    if (world().is_root()) {
      EXPECT_EQ(result_of(found), result_of(expected)) << overrides.front();
    }
  }
  const std::string text = job.refusal("refused", {fmt::format("memory_per_rank={}", smallest - 1)});
  EXPECT_TRUE(mentions(text, fmt::format("{} bytes", smallest)));
}

/// Ranks that share blocks, nodes that exchange them, forms and grids; dense layers hand on their outputs or are
/// propagated, whichever the plan says.
TEST(SameResult, ForStreams) {
  const net::Model model = test::random_mlp({150, 130, 45, 10}, 7);
  const Eigen::MatrixXf data = random_inputs(4500, 150, 8);  // three chunks of rows, the last one shorter
  for (const char* form : {"residual", "auto", "gram"}) {
    const JobFolder job(world(), model, data, {{"levels", 16}, {"form", form}});
    const Json expected = job.run_alone("alone");
    int number = 0;
    const std::string grid = fmt::format("quantization.grid=1x{}", world().size());
    for (const auto& overrides :
         std::vector<std::vector<std::string>>{{"stream.ranks_per_node=1"},
                                               {"stream.ranks_per_node=2"},
                                               {"stream.ranks_per_node=2", "stream.exchange=false"},
                                               {"stream.ranks_per_node=1", "stream.exchange=false"},
                                               {grid, "stream.ranks_per_node=2"},
                                               {grid, "threads=2"}}) {
      const Json found = job.run(world(), fmt::format("ranks{}", ++number), overrides);
      if (world().is_root()) {
        EXPECT_EQ(result_of(found), result_of(expected)) << form << " " << overrides.front();
      }
    }
  }
}

/// What a layer hands on is what a pass over its inputs gives, up to rounding.
TEST(Job, OutputsAreHandedOnAsPropagationGivesThem) {
  const net::Model model = test::random_mlp({20, 33, 7}, 31);  // ReLU and normalization between the layers
  const JobFolder kept(world(), model, random_inputs(50, 20, 9), {{"levels", 16}, {"fold_batchnorm", false}});
  const JobFolder passed(world(), model, random_inputs(50, 20, 9),
                         {{"levels", 16}, {"fold_batchnorm", false}, {"form", "gram"}});
  const Json first = kept.run(world(), "run");
  const Json second = passed.run(world(), "run");
  if (world().is_root()) {
    for (const std::size_t layer : {0U, 1U})
      EXPECT_NEAR(first["layers"][layer]["relative_error"].get<double>(),
                  second["layers"][layer]["relative_error"].get<double>(), 1e-4)
          << layer;
    EXPECT_EQ(kept.codes("run", "fc2"), passed.codes("run", "fc2"));
  }
  world().barrier();
}

/// Widths of a network and samples, at the edges.
struct Edge {
  std::vector<Index> widths;
  Index samples;
};

std::ostream& operator<<(std::ostream& out, const Edge& edge) {
  return out << edge.samples << " samples, widths " << to_string(edge.widths);
}

class Edges : public testing::TestWithParam<Edge> {};

TEST_P(Edges, RunOnAnyNumberOfRanks) {
  const net::Model model = test::random_mlp(GetParam().widths, 9);
  const JobFolder job(world(), model, random_inputs(GetParam().samples, GetParam().widths.front(), 10));
  const Json expected = job.run_alone("alone");
  const Json found = job.run(world(), "ranks");
  if (world().is_root()) {
    EXPECT_EQ(result_of(found), result_of(expected));
  }
  world().barrier();
}

INSTANTIATE_TEST_SUITE_P(Shapes, Edges,
                         testing::Values(Edge{{6, 3, 2}, 50}, Edge{{1, 4, 1}, 30}, Edge{{20, 30, 5}, 1},
                                         Edge{{5, 1}, 3}, Edge{{1, 1}, 1}, Edge{{65, 17, 129, 3}, 257},
                                         Edge{{300, 20, 4}, 16}));

class Definition : public testing::TestWithParam<Index> {};

TEST_P(Definition, CodesAreIdenticalOnExactData) {
  // Inputs ±1, m a power of two, steps too: every product and sum below is exact in float32, and ties, of which few
  // samples give many, go the same way. Layer 1 has odd weights and 129 inputs, so its outputs are odd, clipped to ±1,
  // in the float network and with levels ±1.
  const Index samples = GetParam();
  test::Random random(12);
  constexpr Index inputs = 129;
  constexpr Index hidden = 96;
  constexpr Index outputs = 40;
  std::vector<float> first(static_cast<std::size_t>(hidden * inputs));
  for (float& weight : first) weight = static_cast<float>(2 * random.integer(-2, 1) + 1);
  std::vector<float> second(static_cast<std::size_t>(outputs * hidden));
  for (float& weight : second) weight = 0.125F * static_cast<float>(random.integer(-8, 8));
  const net::Model model = test::ChainBuilder({inputs})
                               .dense("fc1", hidden, first)
                               .node("sign", net::Op::clip, {{"min", {-1}}, {"max", {1}}})
                               .dense("fc2", outputs, second)
                               .build();
  const Eigen::MatrixXf data =
      random_inputs(samples, inputs, 13).unaryExpr([](float x) { return x < 0 ? -1.0F : 1.0F; });
  const JobFolder job(world(), model, data,
                      {{"layers",
                        {{{"match", "fc1"}, {"levels", 2}, {"radius", {{"value", 1}}}},
                         {{"match", "fc2"}, {"levels", 3}, {"radius", {{"value", 0.5}}}}}}});
  static_cast<void>(job.run(world(), "ranks"));
  if (world().is_root()) {
    const Eigen::MatrixXd X1 = data.cast<double>();
    const Eigen::MatrixXi codes1 = job.codes("ranks", "fc1");
    const Eigen::MatrixXd W1 = tensor_of(model, "fc1.weight");
    const test::ReferenceComparison layer1 =
        test::compare_with_reference(codes1, X1, X1, W1, job.steps("ranks", "fc1"), 2);
    EXPECT_EQ(layer1.equal, layer1.weights);
    const Eigen::MatrixXd X2 = to_next_layer(model, "fc1", X1 * W1.transpose());
    const Eigen::MatrixXd Xq2 =
        to_next_layer(model, "fc1", X1 * decode(codes1, job.steps("ranks", "fc1"), 2).transpose());
    EXPECT_EQ(X2.cwiseAbs().minCoeff(), 1);
    EXPECT_EQ(Xq2.cwiseAbs().minCoeff(), 1);
    EXPECT_GT((X2 - Xq2).cwiseAbs().sum(), 0);  // the networks differ: this layer corrects the one before
    const test::ReferenceComparison layer2 = test::compare_with_reference(
        job.codes("ranks", "fc2"), X2, Xq2, tensor_of(model, "fc2.weight"), job.steps("ranks", "fc2"), 3);
    EXPECT_EQ(layer2.equal, layer2.weights);
    if (samples == 16) {
      EXPECT_GT(layer1.ties, 10);
      EXPECT_GT(layer2.ties, 10);
    }
  }
  world().barrier();
}

INSTANTIATE_TEST_SUITE_P(Samples, Definition, testing::Values(16, 4096));

class OnRandomData : public testing::TestWithParam<int> {};

TEST_P(OnRandomData, CodesDifferAtNearTiesOnlyAndErrorsAreRight) {
  const int levels = GetParam();
  const net::Model model = test::random_mlp({150, 120, 45, 10}, 14);
  const Eigen::MatrixXf data = random_inputs(700, 150, 15);
  const JobFolder job(world(), model, data, {{"levels", levels}, {"radius", {{"per", "neuron"}}}});
  const Json report = job.run(world(), "ranks");
  if (world().is_root()) {
    Eigen::MatrixXd X = data.cast<double>();
    Eigen::MatrixXd Xq = X;
    for (std::size_t i = 0; i < 3; ++i) {
      const std::string layer = fmt::format("fc{}", i + 1);
      const Eigen::MatrixXd W = tensor_of(model, layer + ".weight");
      const Eigen::MatrixXi codes = job.codes("ranks", layer);
      const std::vector<double> steps = job.steps("ranks", layer);
      // Arguments carry float32's rounding of sums over 700 samples and up to 150 inputs, about 1e-6 of their size, so
      // fewer than one weight in 10,000 lies that close to a boundary; the weights after it in its neuron may follow.
      const test::ReferenceComparison comparison = test::compare_with_reference(codes, X, Xq, W, steps, levels);
      EXPECT_GE(comparison.equal_fraction(), 0.99) << layer;
      EXPECT_LT(comparison.farthest, 1e-3) << layer;
      const Eigen::MatrixXd V = X * W.transpose();
      const Eigen::MatrixXd Vq = Xq * decode(codes, steps, levels).transpose();
      const double error = (V - Vq).norm() / V.norm();
      EXPECT_NEAR(report["layers"][i]["relative_error"].get<double>(), error, 1e-5 * error) << layer;
      const double zeros = levels % 2 == 0 ? 0 : static_cast<double>((codes.array() == (levels - 1) / 2).count());
      EXPECT_DOUBLE_EQ(report["layers"][i]["zeros"].get<double>(), zeros / static_cast<double>(codes.size()));
      X = to_next_layer(model, layer, V);
      Xq = to_next_layer(model, layer, Vq);
    }
  }
  world().barrier();
}

INSTANTIATE_TEST_SUITE_P(Levels, OnRandomData, testing::Values(2, 3, 16));

TEST(Msq, RoundsEveryWeightToTheNearestLevel) {
  const net::Model model = test::random_mlp({40, 50, 10}, 16);
  const JobFolder job(world(), model, random_inputs(100, 40, 17), {{"method", "msq"}, {"levels", 4}});
  const Json report = job.run(world(), "ranks");
  if (world().is_root())
    for (const char* layer : {"fc1", "fc2"}) {
      const Eigen::MatrixXd W = tensor_of(model, std::string(layer) + ".weight");
      const Eigen::MatrixXi codes = job.codes("ranks", layer);
      const std::vector<double> steps = job.steps("ranks", layer);
      for (Index neuron = 0; neuron < W.rows(); ++neuron)
        for (Index input = 0; input < W.cols(); ++input)
          EXPECT_EQ(codes(neuron, input), quant::Alphabet(4, static_cast<float>(steps[0])).nearest(W(neuron, input)));
    }
  world().barrier();
}

TEST(Job, ReportsWhatTheContractNames) {
  const net::Model model = test::random_mlp({12, 9, 6}, 18);
  const JobFolder job(world(), model, random_inputs(40, 12, 19), {{"levels", 5}}, random_labels(40, 6));
  const Json report = job.run(world(), "ranks");
  if (world().is_root()) {
    for (const char* network : {"analog", "quantized", "msq"})
      for (const char* top : {"top1", "top5"}) {
        const double fraction = report["accuracy"][network][top];
        EXPECT_GE(fraction, 0);
        EXPECT_LE(fraction, 1);
      }
    EXPECT_EQ(report["layers"].size(), 2U);
    for (const char* key :
         {"name", "kind", "form", "inputs", "neurons", "samples", "levels", "radius", "relative_error", "dead_inputs",
          "saturated", "zeros", "activations_sha256", "seconds", "bytes_read", "bytes_written", "peak_memory"})
      EXPECT_TRUE(report["layers"][0].contains(key)) << key;
    for (const char* key : {"codes_sha256", "config", "versions", "blas", "peak_memory", "ranks", "threads"})
      EXPECT_TRUE(report.contains(key)) << key;
    EXPECT_EQ(report["ranks"], world().size());
    EXPECT_EQ(report["layers"][0]["inputs"], 12);
    EXPECT_EQ(report["layers"][0]["neurons"], 9);
    EXPECT_EQ(report["layers"][0]["samples"], 40);
    EXPECT_EQ(report["config"]["quantization"]["levels"], 5);
    const std::string csv = test::read_text(job / "ranks/report.csv");
    EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 3);
    EXPECT_TRUE(mentions(csv, "\"fc1\",dense,gpfq,residual,12,9,40,5,"));
    EXPECT_TRUE(mentions(csv, ",seconds,rows\n"));
  }
  world().barrier();
}

TEST(Job, APlanReadsHeadersAlone) {
  // A label that is no class: values are for the job to look at, its plan knows the header, which must fit.
  const net::Model model = test::random_mlp({12, 9, 6}, 18);
  std::vector<std::int32_t> labels = random_labels(40, 6);
  labels.back() = 1000;
  const JobFolder job(world(), model, random_inputs(40, 12, 19), {{"levels", 5}}, labels);
  EXPECT_TRUE(mentions(job.refusal("run"), "label 1000 for sample 39"));
  if (world().is_root()) {
    EXPECT_NO_THROW(static_cast<void>(plan_job({job / "job.json", {}, false}, with_ranks(1))));
    for (const char* labels_key : {"evaluation.labels=x", "evaluation.labels=none"})
      EXPECT_THROW(static_cast<void>(plan_job({job / "job.json", {labels_key}, false}, with_ranks(1))), Error);
  }
  world().barrier();
}

TEST(Job, ReportsThePeakOfScratchAndThePlanCoversIt) {
  // Batch norm before any other reader: it is folded, so that scratch takes a copy of the model.
  const net::Model model = test::ChainBuilder({50})
                               .dense("fc1", 60, std::vector<float>(3000, 0.5F))
                               .batch_norm("norm", std::vector<float>(60, 1), std::vector<float>(60, 0),
                                           std::vector<float>(60, 0), std::vector<float>(60, 1))
                               .node("relu", net::Op::relu)
                               .dense("fc2", 70, std::vector<float>(4200, 0.5F))
                               .dense("fc3", 5, std::vector<float>(350, 0.5F))
                               .build();
  const JobFolder job(world(), model, random_inputs(900, 50, 19));
  const Json folded = job.run(world(), "folded");
  const Json plain = job.run(world(), "plain", {"quantization.fold_batchnorm=false"});
  if (world().is_root()) {
    // 60 and 70 values of both networks stand side by side while the second layer's outputs are written.
    const Index least = 900 * 4 * 2 * (60 + 70);
    const Index peak = plain["scratch_peak_bytes"];
    EXPECT_GE(peak, least);
    EXPECT_LE(peak, least + 4 * 16384);
    const Index copy = folded["scratch_peak_bytes"].get<Index>() - peak;
    EXPECT_GE(copy, 4 * (3000 + 4200 + 350));
    const Config config = parse_config(load_config_text(job / "job.json", {}), job / "", "job.json");
    const JobPlan plan = make_plan(model.graph, config, 900);
    EXPECT_GE(plan.store_bytes, peak);
    EXPECT_GE(model_file_bytes(model.graph), copy);
    EXPECT_GE(model_file_bytes(model.graph), static_cast<Index>(std::filesystem::file_size(job / "model.h5")));
    EXPECT_TRUE(mentions(test::read_text(job / "folded/log"), "in scratch"));
    EXPECT_TRUE(mentions(plan_job({job / "job.json", {}, false}, with_ranks(1)), "scratch on disk"));
  }
  world().barrier();
}

TEST(Job, AccuracyCountsAsPlainArithmeticDoes) {
  const net::Model model = test::random_mlp({12, 9, 6}, 18);
  const Eigen::MatrixXf data = random_inputs(300, 12, 19);
  const std::vector<std::int32_t> labels = random_labels(300, 6);
  const JobFolder job(world(), model, data, {{"levels", 5}}, labels);
  const Json report = job.run(world(), "ranks");
  if (world().is_root()) {
    const Eigen::MatrixXd X2 =
        to_next_layer(model, "fc1", data.cast<double>() * tensor_of(model, "fc1.weight").transpose());
    const Eigen::MatrixXd scores = to_next_layer(model, "fc2", X2 * tensor_of(model, "fc2.weight").transpose());
    Index top1 = 0;
    Index top5 = 0;
    for (Index i = 0; i < 300; ++i) {
      const Index ahead = (scores.row(i).array() > scores(i, labels[static_cast<std::size_t>(i)])).count();
      top1 += ahead == 0 ? 1 : 0;
      top5 += ahead < 5 ? 1 : 0;
    }
    EXPECT_EQ(report["accuracy"]["analog"]["top1_correct"], top1);
    EXPECT_EQ(report["accuracy"]["analog"]["top5_correct"], top5);
  }
  world().barrier();
}

class ZeroWeights : public testing::TestWithParam<std::tuple<const char*, int>> {};

TEST_P(ZeroWeights, GetTheLevelInTheMiddle) {
  const auto& [method, levels] = GetParam();
  const net::Model model = test::ChainBuilder({8})
                               .dense("fc1", 20, std::vector<float>(160), std::vector<float>(20, 1))
                               .node("relu", net::Op::relu)
                               .dense("fc2", 3, std::vector<float>(60, 0.5F))
                               .build();
  const JobFolder job(world(), model, random_inputs(30, 8, 20), {{"method", method}, {"levels", levels}});
  const Json report = job.run(world(), "ranks");
  if (world().is_root()) {
    EXPECT_TRUE(report["layers"][0]["relative_error"].is_null());
    const std::string csv = test::read_text(job / "ranks/report.csv");
    EXPECT_TRUE(mentions(csv, "\"fc1\",dense,"));
    EXPECT_FALSE(mentions(csv, "nan"));
    EXPECT_FALSE(mentions(test::read_text(job / "ranks/log"), "nan"));
    EXPECT_TRUE(mentions(csv, fmt::format(",{},0,,", levels)));  // radius 0, no relative error
    EXPECT_EQ(report["layers"][0]["radius"], 0);
    EXPECT_TRUE((job.codes("ranks", "fc1").array() == levels / 2).all());
    EXPECT_GT(report["layers"][1]["radius"], 0);
  }
  world().barrier();
}

INSTANTIATE_TEST_SUITE_P(MethodsAndLevels, ZeroWeights,
                         testing::Combine(testing::Values("gpfq", "msq"), testing::Values(3, 4)));

TEST(DeadInputs, TakeTheLevelNearestZeroAndAreCounted) {
  for (const int levels : {3, 16}) {
    Eigen::MatrixXf data = random_inputs(50, 70, 21);
    for (const Index dead : {0, 7, 69}) data.col(dead).setZero();
    const net::Model model = test::random_mlp({70, 40, 4}, 22);
    const JobFolder job(world(), model, data, {{"levels", levels}});
    const Json report = job.run(world(), "ranks");
    if (world().is_root()) {
      EXPECT_EQ(report["layers"][0]["dead_inputs"], 3);
      const Eigen::MatrixXi codes = job.codes("ranks", "fc1");
      for (const Index dead : {0, 7, 69}) EXPECT_TRUE((codes.col(dead).array() == levels / 2).all());
    }
    world().barrier();
  }
}

TEST(BadInput, NonFiniteDataIsOneMessageOnAllRanks) {
  const net::Model model = test::random_mlp({10, 8, 3}, 23);
  for (const float bad : {std::nanf(""), HUGE_VALF}) {
    Eigen::MatrixXf data = random_inputs(600, 10, 24);
    data(577, 4) = bad;  // of the last rank's share
    const JobFolder job(world(), model, data);
    const std::string text = job.refusal("ranks");
    EXPECT_TRUE(mentions(text, "sample 577, value 4"));
    EXPECT_TRUE(mentions(text, "data.h5:x"));
  }
}

TEST(BadInput, FoldersMadeForARefusedRunAreGoneHoweverTheyAreSpelled) {
  Eigen::MatrixXf data = random_inputs(20, 10, 24);
  data(7, 4) = HUGE_VALF;
  const JobFolder job(world(), test::random_mlp({10, 8, 3}, 23), data);
  for (const char* output : {"run/", "./run", "new/folders/run", "new/./run/."}) {
    static_cast<void>(job.refusal(output));
    static_cast<void>(job.refusal(output, {"scratch=fast/scratch/"}));
    EXPECT_EQ(test::listing(job / ""), "data.h5 job.json model.h5");
    world().barrier();
  }
}

TEST(BadInput, NonFiniteWeightsAreOneMessageOnAllRanks) {
  const net::Model model = test::random_mlp({10, 40, 30}, 25);
  for (const char* tensor : {"fc1.weight", "fc2.weight", "fc1.bias", "norm.variance"}) {
    for (const char* rule :
         {"quantization.radius.rule=median", "quantization.radius.value=1", "quantization.method=msq"}) {
      const JobFolder job(world(), model, random_inputs(50, 10, 26));
      world().agree([&] {
        if (!world().is_root()) return;
        std::vector<float> values = net::read_all(model.tensors.at(tensor));
        values.back() = std::nanf("");  // of the last neuron
        test::write_dataset(job / "model.h5", std::string("tensors/") + tensor, model.graph.tensor_shape(tensor),
                            values);
      });
      EXPECT_TRUE(mentions(job.refusal("ranks", {rule}), tensor));
    }
  }
}

TEST(BadInput, ActivationsThatOverflowAreNamed) {
  const net::Model model = test::ChainBuilder({2})
                               .dense("fc1", 3, std::vector<float>(6, 1e25F))
                               .node("relu", net::Op::relu)
                               .dense("fc2", 2, std::vector<float>(6, 1))
                               .build();
  const JobFolder job(world(), model, Eigen::MatrixXf::Constant(20, 2, 1e14F));
  EXPECT_TRUE(mentions(job.refusal("ranks"), "outputs of layer 'fc1' become inf at sample 0"));
  const JobFolder large(world(), test::random_mlp({2, 2}, 1), Eigen::MatrixXf::Constant(20, 2, 1e16F));
  EXPECT_TRUE(mentions(large.refusal("ranks"), "below 1e15"));
}

TEST(BadInput, ValuesThatAreNotUsableAreNamedByLayerAndSample) {
  Eigen::MatrixXf data = random_inputs(40, 3, 27);
  data(33, 1) = 1e16F;
  const JobFolder large(world(), test::random_mlp({3, 4}, 1), data);
  EXPECT_TRUE(mentions(large.refusal("residual"), "layer 'fc1': input 1 is not usable at sample 33"));
  EXPECT_TRUE(mentions(large.refusal("gram", {"quantization.form=gram"}), "at sample 33, channel 1"));
  // Outputs of the last layer, which nothing else reads.
  data(33, 1) = 1e14F;
  const net::Model model = test::ChainBuilder({3}).dense("last", 4, std::vector<float>(12, 1e25F)).build();
  const JobFolder overflow(world(), model, data);
  for (const char* form : {"residual", "gram"}) {
    const std::string text = overflow.refusal(form, {std::string("quantization.form=") + form});
    EXPECT_TRUE(mentions(text, "'last' become inf at sample 33")) << form;
  }
}

TEST(Job, ScoresThatAreNotNumbersCountAsWrongAndAreTold) {
  const net::Model model = test::ChainBuilder({2}).dense("fc1", 2, {2, 2, 2, 2}).dense("fc2", 2, {1, -1, 1, 1}).build();
  const JobFolder job(world(), model, random_inputs(40, 2, 28), {{"levels", 5}}, std::vector<std::int32_t>(40, 1));
  world().agree([&] {
    if (!world().is_root()) return;
    Eigen::MatrixXf data = Eigen::MatrixXf::Constant(40, 2, 0.0F);
    data.col(0).setConstant(1);  // the second score is the larger one
    data.row(31).setConstant(3e38F);  // ∞ − ∞ in the second layer
    test::write_dataset(job / "data.h5", "z", {40, 2}, [&] {
      const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> rows = data;
      return std::vector<float>(rows.data(), rows.data() + rows.size());
    }());
  });
  const Json report = job.run(world(), "ranks", {"evaluation.inputs=z"});
  if (world().is_root()) {
    EXPECT_EQ(report["accuracy"]["analog"]["top1_correct"], 39);
    EXPECT_EQ(report["accuracy"]["analog"]["top5_correct"], 39);
    EXPECT_TRUE(mentions(test::read_text(job / "ranks/log"),
                         "float network: 1 of 40 evaluation samples have an output of 'fc2' that is not a number and count as "
                         "wrong, the first is sample 31"));
  }
  world().barrier();
}

TEST(BadInput, AGridOfOtherRanksIsRefusedBeforeAnythingIsWritten) {
  const JobFolder job(world(), test::random_mlp({10, 8, 3}, 23), random_inputs(20, 10, 24));
  static_cast<void>(job.run(world(), "run"));
  const std::string log = test::read_text(job / "run/log");
  const std::string grid = fmt::format("quantization.grid={}x2", world().size());
  std::string message;
  try {
    static_cast<void>(quantize(world(), {job / "job.json", {"output=run", grid}, true}));
  } catch (const mpi::AgreedError& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    message = error.what();
  }
  EXPECT_TRUE(mentions(message, fmt::format("{} ranks; there are {}", 2 * world().size(), world().size())));
  world().barrier();
  EXPECT_TRUE(test::read_text(job / "run/log") == log);
  EXPECT_FALSE(std::filesystem::exists(job / "run/scratch"));
  world().barrier();
}

TEST(BadInput, AQuantizedModelIsNotQuantizedAgain) {
  const JobFolder job(world(), test::random_mlp({4, 3}, 27), random_inputs(20, 4, 28));
  static_cast<void>(job.run(world(), "first"));
  world().barrier();
  EXPECT_TRUE(mentions(job.refusal("second", {"model=first/quantized.h5"}), "quantized already"));
}

TEST(Job, AFinishedRunIsReplacedOnlyWhenAsked) {
  const JobFolder job(world(), test::random_mlp({4, 3}, 27), random_inputs(20, 4, 28));
  static_cast<void>(job.run(world(), "run"));
  std::string message;
  try {
    static_cast<void>(quantize(world(), {job / "job.json", {"output=run", "threads=2"}, false}));
  } catch (const mpi::AgreedError& error) {
    message = error.what();
  }
  EXPECT_TRUE(mentions(message, "--overwrite"));
  world().barrier();
  if (world().is_root()) {
    EXPECT_EQ(Json::parse(test::read_text(job / "run/report.json"))["threads"], 1);
  }
  world().barrier();
  static_cast<void>(quantize(world(), {job / "job.json", {"output=run", "threads=2"}, true}));
  world().barrier();
  if (world().is_root()) {
    EXPECT_EQ(Json::parse(test::read_text(job / "run/report.json"))["threads"], 2);
  }
  world().barrier();
}

TEST(Job, AFailedRunLeavesTheOneBeforeAsItWas) {
  const JobFolder job(world(), test::random_mlp({4, 3}, 27), random_inputs(20, 4, 28));
  static_cast<void>(job.run(world(), "run"));
  const std::string report = test::read_text(job / "run/report.json");
  const std::string codes = test::read_text(job / "run/quantized.h5");
  const std::string log = test::read_text(job / "run/log");
  world().barrier();
  world().agree([&] {
    if (!world().is_root()) return;
    std::vector<float> values(80, 1);
    values[79] = std::nanf("");
    test::write_dataset(job / "data.h5", "x", {20, 4}, values);
  });
  EXPECT_THROW(static_cast<void>(quantize(world(), {job / "job.json", {"output=run"}, true})), mpi::AgreedError);
  world().barrier();
  EXPECT_EQ(test::listing(job / "run"), "log quantized.h5 report.csv report.json");
  EXPECT_EQ(test::read_text(job / "run/report.json"), report);
  EXPECT_TRUE(test::read_text(job / "run/quantized.h5") == codes);
  EXPECT_EQ(test::read_text(job / "run/log"), log);
  world().barrier();
}

}  // namespace
}  // namespace gpfq::job
