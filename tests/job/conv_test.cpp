// SPDX-License-Identifier: Apache-2.0
// Convolutions through whole jobs: the same codes in any grid and on any number of ranks, and the
// first layer's codes against the path as it is defined.
#include <gtest/gtest.h>

#include <algorithm>

#include "gpfq/base/random.hpp"
#include "gpfq/job/plan.hpp"
#include "gpfq/net/patches.hpp"
#include "gpfq/quant/reference_path.hpp"
#include "gpfq/store/model_file.hpp"
#include "job_testing.hpp"
#include "support/data_files.hpp"
#include "support/mpi_main.hpp"

namespace gpfq::job {
namespace {

using test::world;

constexpr Index samples = 150;  // 150 images of 5×7 positions: rows fall into several chunks, images are cut

float random_value(std::uint64_t seed, Index i) {
  return static_cast<float>(static_cast<double>(random_bits(seed, static_cast<std::uint64_t>(i)) >> 40U) * 0x1p-23 - 1);
}

void add_node(net::Model& model, const std::string& name, net::Op op, std::vector<int> inputs,
              std::map<std::string, std::vector<double>> attributes = {}, Shape weight = {}) {
  net::Node node;
  node.name = name;
  node.source_name = name;
  node.op = op;
  node.inputs = std::move(inputs);
  node.attributes = std::move(attributes);
  if (!weight.empty()) {
    node.parameters["weight"] = name + ".weight";
    std::vector<float> values(static_cast<std::size_t>(element_count(weight)));
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = random_value(static_cast<std::uint64_t>(model.graph.size()) + 7, static_cast<Index>(i));
    model.graph.tensors[name + ".weight"] = weight;
    model.tensors[name + ".weight"] = net::make_source(weight, std::move(values));
  }
  if (op == net::Op::reshape) node.shape = {element_count(model.graph.nodes.back().shape)};
  if (op == net::Op::input) node.shape = {3, 5, 7};
  node.shape = net::infer_shape(model.graph, node);
  model.graph.nodes.push_back(node);
  model.graph.output = model.graph.size() - 1;
}

/// Two convolutions, a grouped one beside a shortcut, a depthwise one with stride, and a dense layer.
net::Model branching_network() {
  const std::map<std::string, std::vector<double>> same = {
      {"strides", {1, 1}}, {"pads", {1, 1, 1, 1}}, {"dilations", {1, 1}}, {"groups", {1}}};
  auto grouped = same;
  grouped["groups"] = {2};
  auto depthwise = same;
  depthwise["groups"] = {6};
  depthwise["strides"] = {2, 2};
  net::Model model;
  add_node(model, "x", net::Op::input, {});
  add_node(model, "c1", net::Op::conv, {0}, same, {6, 3, 3, 3});
  add_node(model, "r1", net::Op::relu, {1});
  add_node(model, "c2", net::Op::conv, {2}, grouped, {6, 3, 3, 3});
  add_node(model, "sum", net::Op::add, {3, 2});
  add_node(model, "r2", net::Op::relu, {4});
  add_node(model, "dw", net::Op::conv, {5}, depthwise, {6, 1, 3, 3});
  add_node(model, "flat", net::Op::reshape, {6});
  add_node(model, "fc", net::Op::dense, {7}, {}, {5, model.graph.nodes.back().shape.front()});
  return model;
}

class ConvolutionsOnRanks : public testing::TestWithParam<std::vector<std::string>> {};

TEST_P(ConvolutionsOnRanks, GiveTheSameCodesInAnyGrid) {
  const JobFolder folder(world(), branching_network(), random_inputs(samples, 3 * 5 * 7, 3),
                         {{"levels", 7}, {"radius", {{"scale", 3}}}});
  const nlohmann::json alone = folder.run_alone("alone", GetParam());
  // Reading inputs one by one is not estimated.
  const bool is_ordered = std::ranges::count(GetParam(), "quantization.order=activation") > 0;
  if (world().is_root() && !is_ordered)
    for (const nlohmann::json& layer : alone.at("layers")) {
      const double read = layer.at("bytes_read");
      EXPECT_NEAR(layer.at("estimated").at("bytes_read").get<double>(), read, 0.1 * read) << layer.at("name");
      EXPECT_EQ(layer.at("estimated").at("bytes_written"), layer.at("bytes_written")) << layer.at("name");
    }
  const int ranks = world().size();
  std::vector<std::string> grids = {"auto", "1x" + std::to_string(ranks)};
  if (ranks > 1) grids.push_back(std::to_string(ranks) + "x1");
  if (ranks == 4) grids.emplace_back("2x2");
  for (const std::string& grid : grids) {
    std::vector<std::string> overrides = GetParam();
    overrides.push_back("quantization.grid=" + grid);
    const nlohmann::json report = folder.run(world(), "on_" + grid, overrides);
    if (!world().is_root()) continue;
    EXPECT_EQ(report.at("codes_sha256"), alone.at("codes_sha256")) << grid;
    for (std::size_t i = 0; i < alone.at("layers").size(); ++i)
      EXPECT_EQ(report.at("layers")[i].at("activations_sha256"), alone.at("layers")[i].at("activations_sha256"))
          << grid << ", layer " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Forms, ConvolutionsOnRanks,
    testing::Values(std::vector<std::string>{}, std::vector<std::string>{"quantization.form=residual"},
                    std::vector<std::string>{"quantization.form=gram", "threads=2"},
                    std::vector<std::string>{"quantization.conv=channelwise"},
                    std::vector<std::string>{"quantization.order=activation", "quantization.form=residual"},
                    std::vector<std::string>{"quantization.patch_fraction=0.4", "quantization.block=5"}));

TEST(Convolutions, GiveTheSameCodesWithManyThreadsInTheSmallestMemory) {
  const net::Model model = branching_network();
  const JobFolder folder(world(), model, random_inputs(samples, 3 * 5 * 7, 3),
                         {{"levels", 7}, {"radius", {{"scale", 3}}}});
  for (const std::string kind : {"filters", "channelwise"}) {
    const std::vector<std::string> overrides = {"quantization.conv=" + kind, "quantization.form=gram"};
    const nlohmann::json alone = folder.run_alone("alone_" + kind, overrides);
    const Config config = parse_config(load_config_text(folder / "job.json", overrides), folder / "", "job.json");
    const Index smallest = make_plan(model.graph, config, samples).smallest_memory();
    for (const Index memory : {smallest, 2 * smallest}) {
      std::vector<std::string> little = overrides;
      little.insert(little.end(), {"threads=5", "memory_per_rank=" + std::to_string(memory)});
      const nlohmann::json report = folder.run(world(), kind + std::to_string(memory), little);
      if (!world().is_root()) continue;
      EXPECT_EQ(report.at("codes_sha256"), alone.at("codes_sha256")) << kind;
    }
  }
}

/// Everything at once: searches, sweeps and biases, of plain, grouped and depthwise convolutions.
TEST(Convolutions, GiveTheSameCodesByTheDefaultsInAnyGridAndMemory) {
  const net::Model model = branching_network();
  const JobFolder folder(world(), model, random_inputs(samples, 3 * 5 * 7, 3), {{"levels", 7}});
  const std::string grid = "quantization.grid=1x" + std::to_string(world().size());
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{}, {"quantization.form=residual", grid}, {"quantization.conv=channelwise"},
        {"quantization.radius.rule=search", "quantization.radius.per=layer", "quantization.refine.sweeps=2"},
        {"quantization.form=residual", "quantization.order=activation", "quantization.patch_fraction=0.5"}}) {
    std::vector<std::string> overrides = {"quantization.preset=null", "quantization.bias_correction=true"};
    overrides.insert(overrides.end(), more.begin(), more.end());
    const std::string name = more.empty() ? "defaults" : more.front() + std::to_string(more.size());
    std::vector<std::string> alone_overrides = overrides;
    std::erase(alone_overrides, grid);
    const nlohmann::json alone = folder.run_alone(name + "_alone", alone_overrides);
    const Config config = parse_config(load_config_text(folder / "job.json", overrides), folder / "", "job.json");
    const Index smallest = make_plan(model.graph, config, samples).smallest_memory();
    for (const Index memory : {smallest + 100000, Index{1} << 30}) {
      std::vector<std::string> with = overrides;
      with.push_back("memory_per_rank=" + std::to_string(memory));
      const nlohmann::json report = folder.run(world(), name + std::to_string(memory), with);
      if (!world().is_root()) continue;
      EXPECT_EQ(report.at("codes_sha256"), alone.at("codes_sha256")) << name << " " << memory;
      for (std::size_t i = 0; i < alone.at("layers").size(); ++i)
        EXPECT_EQ(report.at("layers")[i].at("activations_sha256"), alone.at("layers")[i].at("activations_sha256")) << name;
    }
  }
}

/// A grouped convolution without a bias gets the mean over images and positions of what its groups lost.
TEST(Convolutions, ABiasIsTheMeanThatQuantizingTookOff) {
  const std::map<std::string, std::vector<double>> grouped = {
      {"strides", {1, 1}}, {"pads", {1, 1, 1, 1}}, {"dilations", {1, 1}}, {"groups", {3}}};
  net::Model model;
  add_node(model, "x", net::Op::input, {});
  add_node(model, "c1", net::Op::conv, {0}, grouped, {6, 1, 3, 3});
  const Eigen::MatrixXf inputs = random_inputs(samples, 3 * 5 * 7, 3).array() + 0.5F;
  const JobFolder folder(world(), model, inputs, {{"levels", 3}, {"bias_correction", true}});
  static_cast<void>(folder.run(world(), "run"));
  if (!world().is_root()) return;
  const net::ConvGeometry geometry = net::conv_geometry(model.graph, model.graph.node(1));
  const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> maps = inputs;
  const std::vector<float> W = net::read_all(model.tensors.at("c1.weight"));
  const store::ModelFile result(folder / "run/quantized.h5");
  std::vector<float> Q(W.size());
  result.read_rows("c1.weight", 0, 6, Q.data());
  const std::vector<double> bias = test::read_dataset(folder / "run/quantized.h5", "tensors/c1.bias");
  ASSERT_EQ(bias.size(), 6U);
  for (Index j = 0; j < 6; ++j) {
    Eigen::MatrixXf patches(samples * geometry.positions(), 9);
    net::extract_patches(geometry, j / 2, maps.data(), samples, {}, 0, 9, patches.data(), patches.rows());
    double mean = 0;
    for (Index t = 0; t < 9; ++t) {
      const auto at = static_cast<std::size_t>(j * 9 + t);
      mean += patches.col(t).cast<double>().mean() * (static_cast<double>(W[at]) - static_cast<double>(Q[at]));
    }
    EXPECT_GT(std::abs(mean), 1e-4) << "filter " << j;
    EXPECT_NEAR(bias[static_cast<std::size_t>(j)], mean, 1e-6) << "filter " << j;
  }
}

TEST(Convolutions, AreReportedByTheirKindWithSamplesAndRows) {
  const JobFolder folder(world(), branching_network(), random_inputs(samples, 3 * 5 * 7, 3));
  const std::string table = quantize(world(), {folder / "job.json", {"output=run"}, false});
  world().barrier();
  if (!world().is_root()) return;
  const std::string csv = test::read_text(folder / "run/report.csv");
  EXPECT_NE(csv.find("\"c1\",conv,gpfq,"), std::string::npos);
  EXPECT_NE(csv.find("\"c2\",grouped conv,gpfq,gram,27,6,150,3,"), std::string::npos);
  EXPECT_NE(csv.find("\"dw\",depthwise conv,gpfq,gram,9,6,150,3,"), std::string::npos);
  EXPECT_NE(csv.find(",1800\n"), std::string::npos);  // rows of dw: 150 samples of 3×4 positions
  EXPECT_NE(table.find("dw     depthwise conv"), std::string::npos);
  const auto report = nlohmann::json::parse(test::read_text(folder / "run/report.json"));
  EXPECT_EQ(report.at("layers")[2].at("kind"), "conv");
  EXPECT_EQ(report.at("layers")[2].at("groups"), 6);
  EXPECT_NE(plan_job({folder / "job.json", {}, false}, with_ranks(4)).find(" gram         rows "), std::string::npos);
}

TEST(Convolutions, TheSeedOfPatchesChoosesThem) {
  const JobFolder folder(world(), branching_network(), random_inputs(samples, 3 * 5 * 7, 3),
                         {{"levels", 7}, {"patch_fraction", 0.3}});
  const nlohmann::json usual = folder.run(world(), "usual");
  const nlohmann::json zero = folder.run(world(), "zero", {"quantization.patch_seed=0"});
  const nlohmann::json other = folder.run(world(), "other", {"quantization.patch_seed=1"});
  if (!world().is_root()) return;
  EXPECT_EQ(usual.at("codes_sha256"), zero.at("codes_sha256"));
  EXPECT_NE(usual.at("codes_sha256"), other.at("codes_sha256"));
}

TEST(Convolutions, FirstLayerIsThePathOverPatches) {
  const net::Model model = branching_network();
  const Eigen::MatrixXf inputs = random_inputs(samples, 3 * 5 * 7, 3);
  const JobFolder folder(world(), model, inputs, {{"levels", 7}, {"radius", {{"value", 0.9}}}});
  const net::ConvGeometry geometry = net::conv_geometry(model.graph, model.graph.node(1));
  const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> maps = inputs;
  Eigen::MatrixXf patches(samples * geometry.positions(), geometry.inputs());
  net::extract_patches(geometry, 0, maps.data(), samples, {}, 0, geometry.inputs(), patches.data(), patches.rows());
  const Eigen::MatrixXd X = patches.cast<double>();
  const auto alphabet = quant::Alphabet::from_radius(7, 0.9);
  const std::vector<float> weight = net::read_all(model.tensors.at("c1.weight"));
  using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Eigen::MatrixXd W = Eigen::Map<const RowMajor>(weight.data(), 6, geometry.inputs()).cast<double>();
  for (const std::string form : {"residual", "gram"}) {
    static_cast<void>(folder.run(world(), form, {"quantization.form=" + form}));
    if (!world().is_root()) continue;
    const store::ModelFile result(folder / form / "quantized.h5");
    std::vector<float> found(static_cast<std::size_t>(W.size()));
    result.read_rows("c1.weight", 0, 6, found.data());
    Index different = 0;
    for (Index j = 0; j < 6; ++j) {
      const quant::ReferencePath path = quant::reference_path(X, X, W.row(j).transpose(), alphabet);
      for (Index t = 0; t < W.cols(); ++t)
        different += alphabet.value(path.codes[static_cast<std::size_t>(t)]) !=
                     found[static_cast<std::size_t>(j * W.cols() + t)];
    }
    // 162 weights at 7 levels: single precision moves an argument by 1e-5 of a step, so a flip is one in thousands.
    EXPECT_LE(different, 1) << form;
  }
}

/// One convolution of large maps, of which few positions are drawn: a chunk of rows comes from all samples.
net::Model wide_network(Index groups) {
  net::Model model;
  add_node(model, "x", net::Op::input, {});
  model.graph.nodes[0].shape = {2, 64, 64};
  add_node(model, "c", net::Op::conv, {0}, {{"pads", {1, 1, 1, 1}}, {"groups", {static_cast<double>(groups)}}},
           {4, 2 / groups, 3, 3});
  return model;
}

TEST(Convolutions, DrawnPatchesAreMadeFromAFewSamplesAtATime) {
  constexpr Index images = 300;
  const Eigen::MatrixXf inputs = random_inputs(images, 2 * 64 * 64, 9);
  const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> maps = inputs;
  const auto alphabet = quant::Alphabet::from_radius(7, 0.9);
  struct Case {
    Index groups;
    std::string kind;
    std::string form;
  };
  for (const Case& at : {Case{1, "filters", "gram"}, Case{1, "filters", "residual"}, Case{2, "filters", "gram"},
                         Case{1, "channelwise", "gram"}}) {
    SCOPED_TRACE(at.kind + " " + at.form + " " + std::to_string(at.groups));
    const net::Model model = wide_network(at.groups);
    const JobFolder folder(world(), model, inputs,
                           {{"levels", 7}, {"radius", {{"value", 0.9}}}, {"patch_fraction", 0.001},
                            {"conv", at.kind}, {"form", at.form}});
    static_cast<void>(folder.run(world(), "run"));
    if (!world().is_root()) continue;
    const Config config = parse_config(load_config_text(folder / "job.json", {}), folder / "", "job.json");
    const LayerPlan layer = make_plan(model.graph, config, images).layers[0];
    ASSERT_EQ(layer.rows_per_sample, 4);
    EXPECT_LT(at.form == "gram" ? layer.window_samples : layer.patch_samples, images);
    EXPECT_EQ(layer.gathers_chunks, at.form == "gram");
    std::vector<Index> positions;
    for (Index sample = 0; sample < images; ++sample) {
      const auto drawn = random_subset(64 * 64, 4, random_bits(layer.patch_seed, static_cast<std::uint64_t>(sample)));
      positions.insert(positions.end(), drawn.begin(), drawn.end());
    }
    const net::ConvGeometry geometry = net::conv_geometry(model.graph, model.graph.node(1));
    const std::vector<float> weight = net::read_all(model.tensors.at("c.weight"));
    const std::vector<double> codes = test::read_dataset(folder / "run/quantized.h5", "layers/c/codes");
    Index different = 0;
    for (Index tile = 0; tile < layer.tile_count(); ++tile) {
      const TileBox box = tile_box(layer, tile);
      Eigen::MatrixXf patches(images * 4, box.inputs);
      net::extract_patches(geometry, box.first_neuron * at.groups / 4, maps.data(), images, positions, box.first_input,
                           box.inputs, patches.data(), patches.rows());
      const Eigen::MatrixXd X = patches.cast<double>();
      for (Index j = box.first_neuron; j < box.first_neuron + box.neurons; ++j) {
        const Eigen::VectorXd w =
            Eigen::Map<const Eigen::VectorXf>(weight.data() + j * layer.inputs + box.first_input, box.inputs).cast<double>();
        const quant::ReferencePath path = quant::reference_path(X, X, w, alphabet);
        for (Index t = 0; t < box.inputs; ++t)
          different += path.codes[static_cast<std::size_t>(t)] !=
                       static_cast<int>(codes[static_cast<std::size_t>(j * layer.inputs + box.first_input + t)]);
      }
    }
    EXPECT_LE(different, 1);  // of 72 or 36, as above
  }
}

}  // namespace
}  // namespace gpfq::job
