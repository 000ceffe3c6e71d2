// SPDX-License-Identifier: Apache-2.0
// Layers without a network, on ranks: the codes of the same layers in a network and of the definition, whatever files
// they come from, and one message where the files are bad.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "gpfq/store/model_file.hpp"
#include "job/job_testing.hpp"
#include "support/data_files.hpp"
#include "support/errors.hpp"
#include "support/mpi_main.hpp"
#include "support/networks.hpp"
#include "support/reference_comparison.hpp"
#include "support/tensor_files.hpp"

namespace gpfq::job {
namespace {

using Json = nlohmann::json;
using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using test::mentions;
using test::world;

std::vector<float> values_of(const Eigen::MatrixXf& matrix) {
  const RowMajor rows = matrix;
  return {rows.data(), rows.data() + rows.size()};
}

/// Eighths up to 8, which float16 and bfloat16 hold exactly.
Eigen::MatrixXf short_numbers(Index rows, Index columns, std::uint64_t seed) {
  test::Random random(seed);
  return Eigen::MatrixXf::NullaryExpr(
      rows, columns, [&](Eigen::Index, Eigen::Index) { return 0.125F * static_cast<float>(random.integer(-64, 64)); });
}

void write_npy(const std::filesystem::path& file, const std::string& descr, const std::string& type,
               const Eigen::MatrixXf& matrix) {
  test::write_npy(file, test::npy_header(descr, {matrix.rows(), matrix.cols()}), test::packed(type, values_of(matrix)));
}

void write_h5(const std::filesystem::path& file, const std::string& name, const Eigen::MatrixXf& matrix) {
  test::write_dataset(file, name, {matrix.rows(), matrix.cols()}, values_of(matrix));
}

test::NamedTensor named(const std::string& name, const std::string& type, const Eigen::MatrixXf& matrix) {
  return {name, type, {matrix.rows(), matrix.cols()}, values_of(matrix)};
}

Json location(const std::string& file, const std::string& tensor = "") {
  Json json = {{"file", file}};
  if (!tensor.empty()) json["tensor"] = tensor;
  return json;
}

/// So few inputs are cheapest in Gram form; what most of these tests are about is the residual form.
Json quantization() { return {{"preset", "paper"}, {"levels", 16}, {"form", "residual"}}; }

/// One layer "fc" as a network, and the same layer's files in every format beside it.
class OneLayer : public testing::TestWithParam<std::vector<std::string>> {
 protected:
  static constexpr Index inputs = 90;
  static constexpr Index neurons = 70;
  static constexpr Index samples = 600;

  OneLayer()
      : W_(short_numbers(neurons, inputs, 1)),
        X_(short_numbers(samples, inputs, 2)),
        job_(world(), test::ChainBuilder({inputs}).dense("fc", neurons, values_of(W_)).build(), X_, {{"levels", 16}}) {
    world().agree([&] {
      if (world().is_root()) write_files();
    });
  }

  void write_files() const {
    test::write_safetensors(job_ / "w.safetensors",
                            {named("f2", "f2", W_), named("bf16", "bf16", W_), named("f4", "f4", W_)});
    write_npy(job_ / "w.npy", "<f8", "f8", W_);
    write_npy(job_ / "wt.npy", "<f2", "f2", W_.transpose());
    write_h5(job_ / "wt.h5", "layer/kernel", W_.transpose());
    write_npy(job_ / "x.npy", "<f4", "f4", X_);
    write_npy(job_ / "x_bf16.npy", "|V2", "bf16", X_);
    test::write_safetensors(job_ / "x.safetensors", {named("x", "f2", X_)});
  }

  [[nodiscard]] Json run_layer(const std::string& name, const Json& weight, const Json& acts,
                               const std::vector<std::string>& overrides, const Json& more = Json::object()) const {
    Json layer = {{"name", "fc"}, {"weight", weight}, {"inputs", acts}};
    layer.merge_patch(more);
    job_.configure({{"layers", {layer}}, {"quantization", quantization()}});
    return job_.run(world(), name, overrides);
  }

  Eigen::MatrixXf W_;
  Eigen::MatrixXf X_;
  JobFolder job_;
};

/// What must be the same in two reports.
Json result_of(const Json& report) {
  Json result = {{"codes_sha256", report["codes_sha256"]}, {"layers", Json::array()}};
  for (const Json& layer : report["layers"]) {
    Json part;
    for (const char* key : {"name", "kind", "form", "samples", "activations_sha256", "relative_error", "dead_inputs",
                            "saturated", "zeros", "radius"})
      part[key] = layer[key];
    result["layers"].push_back(part);
  }
  return result;
}

/// Activations have digests by input here, by sample in a network.
Json without_activations(Json result) {
  for (Json& layer : result["layers"]) layer.erase("activations_sha256");
  return result;
}

TEST_P(OneLayer, IsQuantizedAsInANetworkWhateverItsFiles) {
  const Json expected = job_.run_alone("network", GetParam());
  const Json transposed = {{"file", "wt.npy"}, {"layout", "in_out"}};
  const Json kernel = {{"file", "wt.h5"}, {"tensor", "layer/kernel"}, {"layout", "in_out"}};
  const Json words = {{"file", "x_bf16.npy"}, {"dtype", "bfloat16"}};
  const std::vector<std::pair<Json, Json>> files = {{location("w.safetensors", "f4"), location("data.h5", "x")},
                                                    {location("w.safetensors", "f2"), location("x.npy")},
                                                    {location("w.safetensors", "bf16"), words},
                                                    {location("w.npy"), location("x.safetensors", "x")},
                                                    {transposed, location("x.npy")},
                                                    {kernel, location("data.h5", "x")}};
  Json first;
  for (std::size_t i = 0; i < files.size(); ++i) {
    const Json found = run_layer(fmt::format("run{}", i), files[i].first, files[i].second, GetParam());
    if (!world().is_root()) continue;
    if (i == 0) first = found;
    EXPECT_EQ(result_of(found), result_of(first)) << files[i].first << files[i].second;
    EXPECT_EQ(without_activations(result_of(found)), without_activations(result_of(expected)));
    EXPECT_FALSE(found.contains("accuracy"));
  }
  world().barrier();
}

INSTANTIATE_TEST_SUITE_P(Settings, OneLayer,
                         testing::Values(std::vector<std::string>{}, std::vector<std::string>{"quantization.form=gram"},
                                         std::vector<std::string>{"quantization.method=msq"},
                                         std::vector<std::string>{"quantization.radius.per=neuron", "threads=2",
                                                                  "memory_per_rank=2MiB"}));

using OneLayerFiles = OneLayer;

TEST_F(OneLayerFiles, TheFirstSamplesAndTheSameInputsTwice) {
  const Json few = run_layer("few", location("w.npy"), location("x.npy"), {}, {{"samples", 100}});
  const Json twice = run_layer("twice", location("w.npy"), location("x.npy"), {"quantization.block=90"},
                               {{"quantized_inputs", location("data.h5", "x")}});
  if (world().is_root()) {
    EXPECT_EQ(few["layers"][0]["samples"], 100);
    EXPECT_EQ(few["layers"][0]["activations_sha256"]["analog"], few["layers"][0]["activations_sha256"]["quantized"]);
    const Eigen::MatrixXd X = X_.topRows(100).cast<double>();
    // As in the tests of networks: float32's rounding flips near-ties only.
    const test::ReferenceComparison comparison =
        test::compare_with_reference(job_.codes("few", "fc"), X, X, W_.cast<double>(), job_.steps("few", "fc"), 16);
    EXPECT_GE(comparison.equal_fraction(), 0.99);
    EXPECT_LT(comparison.farthest, 1e-3);
    EXPECT_FALSE(twice["layers"][0]["shared_inputs"].get<bool>());
    EXPECT_EQ(twice["layers"][0]["activations_sha256"]["analog"],
              twice["layers"][0]["activations_sha256"]["quantized"]);
  }
  world().barrier();
}

/// Three layers of different extents and samples, the second with inputs from a quantized network (in Gram form all have
/// neurons enough that products tell their errors).
class ThreeLayers : public testing::Test {
 protected:
  ThreeLayers() : job_(world(), test::random_mlp({3, 2}, 1), random_inputs(4, 3, 1)) {
    for (std::size_t i = 0; i < 3; ++i) {
      W_.push_back(random_inputs(neurons_[i], inputs_[i], 10 + i) / std::sqrt(static_cast<float>(inputs_[i])));
      X_.push_back(random_inputs(samples_[i], inputs_[i], 20 + i));
      Xq_.push_back(i == 1 ? X_[i] + 0.2F * random_inputs(samples_[i], inputs_[i], 30) : X_[i]);
    }
    world().agree([&] {
      if (!world().is_root()) return;
      test::write_safetensors(job_ / "w.safetensors",
                              {named("a", "f4", W_[0]), named("b", "f4", W_[1]), named("c", "f4", W_[2])});
      for (std::size_t i = 0; i < 3; ++i) write_h5(job_ / "acts.h5", fmt::format("x{}", i), X_[i]);
      write_h5(job_ / "acts.h5", "xq", Xq_[1]);
    });
    job_.configure(config());
  }

  static Json layer(const std::string& name, int index) {
    return {{"name", fmt::format("block.{}", name)},
            {"weight", location("w.safetensors", name)},
            {"inputs", location("acts.h5", fmt::format("x{}", index))}};
  }
  static Json config() {
    Json layers = {layer("a", 0), layer("b", 1), layer("c", 2)};
    layers[1]["quantized_inputs"] = location("acts.h5", "xq");
    return {{"layers", layers}, {"quantization", quantization()}};
  }
  /// The message of a config with one change, made at a JSON pointer.
  [[nodiscard]] std::string refusal(const std::string& pointer, const Json& value) const {
    Json changed = config();
    changed[Json::json_pointer(pointer)] = value;
    job_.configure(changed);
    return job_.refusal("refused");
  }

  const std::vector<Index> inputs_ = {150, 65, 33};
  const std::vector<Index> neurons_ = {120, 57, 90};
  const std::vector<Index> samples_ = {2500, 700, 40};
  std::vector<Eigen::MatrixXf> W_;
  std::vector<Eigen::MatrixXf> X_;
  std::vector<Eigen::MatrixXf> Xq_;
  JobFolder job_;
};

class ThreeLayersByForm : public ThreeLayers, public testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Both, ThreeLayersByForm, testing::Values("residual", "gram"));

TEST_P(ThreeLayersByForm, AreTheSameOnRanksAndByTheDefinition) {
  const std::string form = fmt::format("quantization.form={}", GetParam());
  const Json expected = job_.run_alone("alone", {form});
  const std::string grid = fmt::format("quantization.grid=1x{}", world().size());
  int number = 0;
  for (const std::vector<std::string>& overrides :
       {std::vector<std::string>{form}, {form, "threads=3"}, {form, "memory_per_rank=6MiB"}, {form, grid}}) {
    const Json found = job_.run(world(), fmt::format("ranks{}", number++), overrides);
    if (world().is_root()) {
      EXPECT_EQ(result_of(found), result_of(expected)) << testing::PrintToString(overrides);
    }
  }
  if (world().is_root()) {
    for (std::size_t i = 0; i < 3; ++i) {
      const std::string name = expected["layers"][i]["name"];
      const Eigen::MatrixXd X = X_[i].cast<double>();
      const Eigen::MatrixXd Xq = Xq_[i].cast<double>();
      const Eigen::MatrixXd W = W_[i].cast<double>();
      const Eigen::MatrixXi codes = job_.codes("ranks0", name);
      const std::vector<double> steps = job_.steps("ranks0", name);
      // As in the tests of networks: float32's rounding flips near-ties only.
      const test::ReferenceComparison comparison = test::compare_with_reference(codes, X, Xq, W, steps, 16);
      EXPECT_GE(comparison.equal_fraction(), 0.99) << name;
      EXPECT_LT(comparison.farthest, 1e-3) << name;
      const Eigen::MatrixXd V = X * W.transpose();
      const double error = (V - Xq * decode(codes, steps, 16).transpose()).norm() / V.norm();
      EXPECT_NEAR(expected["layers"][i]["relative_error"].get<double>(), error, 1e-5 * error) << name;
      if (std::string(GetParam()) == "gram") {
        EXPECT_EQ(expected["layers"][i]["estimated"]["seconds"].count("propagate"), 0U) << name;  // products tell the error
      }
      EXPECT_EQ(expected["layers"][i]["samples"], samples_[i]) << name;
    }
  }
  world().barrier();
}

// Squares below float32's range, where products do not tell the error and the outputs do, or beyond it.
TEST_F(ThreeLayers, OutputsTellTheErrorWhereSquaresDoNot) {
  for (const auto& [activations, weights, shared] : {std::tuple{1e-25F, 1.0F, true},
                                                     {1e13F, 1e10F, true},
                                                     {1e-25F, 1.0F, false},
                                                     {1e13F, 1e10F, false}}) {
    const Eigen::MatrixXf X = activations * X_[0];
    const Eigen::MatrixXf Xq = shared ? X : activations * (X_[0] + 0.2F * random_inputs(X.rows(), X.cols(), 31));
    const Eigen::MatrixXf W = weights * W_[0];
    const std::string run = fmt::format("run{:g}{}", activations, shared ? "" : "q");
    world().agree([&] {
      if (!world().is_root()) return;
      write_h5(job_ / "acts.h5", run, X);
      write_h5(job_ / "acts.h5", run + "_quantized", Xq);
      write_npy(job_ / "w.npy", "<f4", "f4", W);
    });
    Json layer = {{"name", "fc"}, {"weight", location("w.npy")}, {"inputs", location("acts.h5", run)}};
    if (!shared) layer["quantized_inputs"] = location("acts.h5", run + "_quantized");
    job_.configure({{"layers", {layer}}, {"quantization", quantization()}});
    const Json report = job_.run(world(), run, {"quantization.form=gram"});
    if (!world().is_root()) continue;
    const Eigen::MatrixXd Q = decode(job_.codes(run, "fc"), job_.steps(run, "fc"), 16);
    const Eigen::MatrixXd V = X.cast<double>() * W.cast<double>().transpose();
    const double error = (V - Xq.cast<double>() * Q.transpose()).norm() / V.norm();
    EXPECT_NEAR(report["layers"][0]["relative_error"].get<double>(), error, 1e-4 * error) << run;
  }
  world().barrier();
}

// Each layer's result depends on its own files alone.
TEST_F(ThreeLayers, OneByOneGiveTheSame) {
  const Json together = job_.run(world(), "together");
  for (std::size_t i = 0; i < 3; ++i) {
    Json alone = config();
    alone["layers"] = Json::array({alone["layers"][i]});
    job_.configure(alone);
    const Json found = job_.run(world(), fmt::format("alone{}", i));
    if (world().is_root()) {
      EXPECT_EQ(result_of(found)["layers"][0], result_of(together)["layers"][i]);
      const std::string name = found["layers"][0]["name"];
      EXPECT_EQ(job_.codes(fmt::format("alone{}", i), name), job_.codes("together", name));
    }
  }
  world().barrier();
}

TEST_F(ThreeLayers, SkippedOnesStayFloatAndNeedNoSamples) {
  const Json report = job_.run(world(), "run", {R"(quantization.layers=[{"match": "block\\.b", "skip": true}])"});
  if (world().is_root()) {
    EXPECT_EQ(report["layers"].size(), 2U);
    const store::ModelFile model(job_ / "run/quantized.h5");
    EXPECT_EQ(model.quantized_layers().size(), 2U);
    std::vector<float> weight(static_cast<std::size_t>(W_[1].size()));
    model.read_rows("block.b.weight", 0, W_[1].rows(), weight.data());
    EXPECT_EQ(weight, values_of(W_[1]));
    EXPECT_TRUE(mentions(inspect(job_ / "run/quantized.h5"), "block.a.inputs"));
  }
  world().barrier();
}

TEST_F(ThreeLayers, ValuesThatAreNotFinite) {
  world().agree([&] {
    if (!world().is_root()) return;
    Eigen::MatrixXf spoiled = Xq_[1];
    spoiled(699, 64) = std::nanf("");
    write_h5(job_ / "acts.h5", "spoiled", spoiled);
    spoiled = W_[2];
    spoiled(3, 5) = -HUGE_VALF;
    write_h5(job_ / "acts.h5", "spoiled_weight", spoiled);
  });
  EXPECT_TRUE(mentions(refusal("/layers/1/quantized_inputs/tensor", "spoiled"),
                       "acts.h5:spoiled holds nan in sample 699, input 64"));
  EXPECT_TRUE(mentions(refusal("/layers/1/inputs/tensor", "spoiled"), "layer 'block.b'"));
  EXPECT_TRUE(mentions(refusal("/layers/2/weight", location("acts.h5", "spoiled_weight")),
                       "acts.h5:spoiled_weight holds -inf for neuron 3, input 5"));
  EXPECT_TRUE(mentions(refusal("/layers/2/weight", location("acts.h5", "spoiled_weight")), "layer 'block.c': "));
}

TEST_F(ThreeLayers, FilesThatDoNotFit) {
  world().agree([&] {
    if (world().is_root()) write_h5(job_ / "acts.h5", "short", Xq_[1].topRows(699));
  });
  EXPECT_TRUE(
      mentions(refusal("/layers/0/inputs/tensor", "x1"), "acts.h5:x1 has shape 700x65, expected samples x 150"));
  EXPECT_FALSE(mentions(refusal("/layers/0/inputs/tensor", "x1"), "is it"));
  EXPECT_TRUE(mentions(refusal("/layers/2/weight/layout", "in_out"), "expected samples x 90"));
  EXPECT_TRUE(mentions(refusal("/layers/2/weight/layout", "in_out"), "layout in_out; is it out_in?"));
  EXPECT_TRUE(mentions(refusal("/layers/1/quantized_inputs/tensor", "short"), "acts.h5:short has shape 699x65, "));
  EXPECT_TRUE(mentions(refusal("/layers/1/quantized_inputs/tensor", "short"), "expected the same samples"));
  EXPECT_TRUE(mentions(refusal("/layers/1/quantized_inputs/tensor", "x0"), "acts.h5:x0 has shape 2500x150"));
  EXPECT_TRUE(mentions(refusal("/layers/2/samples", 41), "acts.h5:x2 holds 40 samples, the config asks for 41"));
  EXPECT_TRUE(mentions(refusal("/layers/2/inputs/file", "none.npy"), "layer 'block.c'"));
  EXPECT_TRUE(mentions(refusal("/layers/2/weight/tensor", "d"), "no tensor 'd'"));
  EXPECT_TRUE(mentions(refusal("/layers/2/wieght", Json::object()), "did you mean 'layers[2].weight'?"));
  EXPECT_TRUE(mentions(refusal("/preprocess", {{"scale", 2}}), "'preprocess' is given beside 'layers'"));
}

// What was quantized without a network cannot be evaluated, nor quantized again.
TEST_F(ThreeLayers, AreNoNetwork) {
  static_cast<void>(job_.run(world(), "run"));
  const Json data = {{"file", "acts.h5"}, {"inputs", "x0"}};
  Json network = {{"model", "run/quantized.h5"}, {"calibration", data}, {"evaluation", data}};
  network["evaluation"]["labels"] = "x0";
  job_.configure(network);
  try {
    static_cast<void>(evaluate_model(world(), job_ / "run/quantized.h5", {job_ / "job.json", {}, false}));
    ADD_FAILURE() << "it was evaluated";
  } catch (const mpi::AgreedError& error) {
    EXPECT_TRUE(mentions(error.what(), "layers without a network"));
  }
  EXPECT_TRUE(mentions(job_.refusal("again"), "quantized already"));
}

}  // namespace
}  // namespace gpfq::job
