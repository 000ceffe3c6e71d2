// SPDX-License-Identifier: Apache-2.0
// The sample on disk, read as a user's files are: shapes, a network that knows digits it has not
// seen, a config that names the files, and what happens where files cannot be written.
#include "gpfq/demo/sample.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "gpfq/base/error.hpp"
#include "gpfq/demo/digits.hpp"
#include "gpfq/store/model_file.hpp"
#include "gpfq/store/sample_file.hpp"

namespace gpfq::demo {
namespace {

namespace fs = std::filesystem;

fs::path fresh_folder(const std::string& name) {
  const fs::path folder = fs::temp_directory_path() / fmt::format("gpfq_sample_{}_{}", name, getpid());
  fs::remove_all(folder);
  return folder;
}

/// The sample, written once for all tests that only read it.
class Sample : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = fresh_folder("shared");
    files_ = write_sample(folder_ / "made" / "on the way");
  }
  static void TearDownTestSuite() { fs::remove_all(folder_); }

  inline static fs::path folder_;
  inline static SampleFiles files_;
};

/// One layer, weights by input: weight[i · neurons + j].
struct PlainLayer {
  std::size_t inputs;
  std::size_t neurons;
  std::vector<float> weight;
  std::vector<float> bias;
};

PlainLayer read_layer(const store::ModelFile& model, const net::Node& node) {
  const Shape& shape = model.graph().tensor_shape(node.parameters.at("weight"));
  const auto neurons = static_cast<std::size_t>(shape[0]);
  const auto inputs = static_cast<std::size_t>(shape[1]);
  std::vector<float> rows(neurons * inputs);
  PlainLayer layer{inputs, neurons, std::vector<float>(rows.size()), std::vector<float>(neurons)};
  model.read_rows(node.parameters.at("weight"), 0, shape[0], rows.data());
  model.read_rows(node.parameters.at("bias"), 0, shape[0], layer.bias.data());
  for (std::size_t j = 0; j < neurons; ++j)
    for (std::size_t i = 0; i < inputs; ++i) layer.weight[i * neurons + j] = rows[j * inputs + i];
  return layer;
}

/// Scores by the definition, W x + b and ReLU between layers; inputs at 0 add nothing.
std::vector<float> scores_of(const std::vector<PlainLayer>& layers, std::vector<float> values) {
  for (std::size_t k = 0; k < layers.size(); ++k) {
    const PlainLayer& layer = layers[k];
    std::vector<float> outputs = layer.bias;
    for (std::size_t i = 0; i < layer.inputs; ++i) {
      if (values[i] == 0) continue;
      for (std::size_t j = 0; j < layer.neurons; ++j) outputs[j] += layer.weight[i * layer.neurons + j] * values[i];
    }
    if (k + 1 < layers.size())
      for (float& output : outputs) output = std::max(output, 0.0F);
    values = std::move(outputs);
  }
  return values;
}

TEST_F(Sample, DataHasImagesAndBalancedLabels) {
  for (const auto& [set, count] : {std::pair<std::string, Index>{"train", 6000}, {"test", 2000}}) {
    const store::SampleFile images(files_.data, set + "/images");
    EXPECT_EQ(images.sample_count(), count);
    EXPECT_EQ(images.sample_shape(), (Shape{digit_side, digit_side}));
    const store::SampleFile labels(files_.data, set + "/labels");
    ASSERT_EQ(labels.sample_count(), count);
    std::vector<Index> all(static_cast<std::size_t>(count));
    std::iota(all.begin(), all.end(), 0);
    const std::vector<Index> values = labels.read_labels(all);
    for (Index digit = 0; digit < digit_classes; ++digit)
      EXPECT_EQ(std::count(values.begin(), values.end(), digit), count / digit_classes) << set << ", digit " << digit;
    const hdf5::Handle file = hdf5::open_file(files_.data);
    const hdf5::Handle dataset = hdf5::open_dataset(file.id(), set + "/images", "sample");
    EXPECT_EQ(hdf5::dataset_info(dataset.id(), "sample").element_bytes, 1);
  }
}

TEST_F(Sample, ModelHasTwoWideHiddenLayers) {
  const store::ModelFile model(files_.model);
  std::vector<Shape> dense;
  for (const net::Node& node : model.graph().nodes)
    if (node.op == net::Op::dense) dense.push_back(model.graph().tensor_shape(node.parameters.at("weight")));
  EXPECT_EQ(dense, (std::vector<Shape>{{1024, 784}, {512, 1024}, {10, 512}}));
  EXPECT_EQ(model.graph().node(0).shape, (Shape{28, 28}));
  EXPECT_EQ(model.graph().node(model.graph().output).name, "output");
}

// 2000 images: one standard deviation of the share is about 0.3 %. Far from 100 %, or quantizing would show nothing.
TEST_F(Sample, NetworkKnowsDigitsThatItHasNotSeen) {
  const store::ModelFile model(files_.model);
  std::vector<PlainLayer> layers;
  for (const net::Node& node : model.graph().nodes)
    if (node.op == net::Op::dense) layers.push_back(read_layer(model, node));
  const store::SampleFile images(files_.data, "test/images");
  std::vector<Index> all(static_cast<std::size_t>(images.sample_count()));
  std::iota(all.begin(), all.end(), 0);
  const std::vector<Index> labels = store::SampleFile(files_.data, "test/labels").read_labels(all);
  std::vector<float> pixels(all.size() * static_cast<std::size_t>(digit_pixels));
  images.read(all, pixels.data());
  Index right = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    std::vector<float> image(pixels.begin() + static_cast<std::ptrdiff_t>(i) * digit_pixels,
                             pixels.begin() + static_cast<std::ptrdiff_t>(i + 1) * digit_pixels);
    for (float& pixel : image) pixel /= 255.0F;
    const std::vector<float> scores = scores_of(layers, std::move(image));
    if (std::max_element(scores.begin(), scores.end()) - scores.begin() == labels[i]) ++right;
  }
  const double accuracy = static_cast<double>(right) / static_cast<double>(all.size());
  RecordProperty("held_out_accuracy", fmt::format("{:.4f}", accuracy));
  EXPECT_GT(accuracy, 0.95);
  EXPECT_LT(accuracy, 0.995);
}

TEST_F(Sample, ConfigNamesTheFilesBesideIt) {
  const auto config = nlohmann::json::parse(std::ifstream(files_.config));
  const fs::path folder = files_.config.parent_path();
  EXPECT_EQ(folder / config.at("model").get<std::string>(), files_.model);
  for (const char* set : {"calibration", "evaluation"}) {
    const fs::path data = folder / config.at(set).at("file").get<std::string>();
    EXPECT_EQ(data, files_.data);
    EXPECT_NO_THROW(store::SampleFile(data, config.at(set).at("inputs").get<std::string>())) << set;
  }
  EXPECT_EQ(config.at("calibration").at("inputs"), "train/images") << "not the images that accuracy is measured on";
  EXPECT_DOUBLE_EQ(config.at("preprocess").at("scale").get<double>() * 255, 1);
}

TEST(WriteSample, ReplacesItsFilesAndLeavesOthers) {
  const fs::path folder = fresh_folder("replaced");
  fs::create_directories(folder);
  for (const char* name : {"digits.h5", "digits_mlp.h5", "digits.json", "notes.txt"})
    std::ofstream(folder / name) << "old";
  const SampleFiles files = write_sample(folder);
  EXPECT_TRUE(hdf5::is_hdf5(files.data));
  EXPECT_TRUE(store::is_model_file(files.model));
  EXPECT_TRUE(nlohmann::json::accept(std::ifstream(files.config)));
  EXPECT_EQ(fs::file_size(folder / "notes.txt"), 3U);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 4) << "something was left beside the files";
  fs::remove_all(folder);
}

void expect_input_error(const fs::path& folder, const std::string& named) {
  try {
    (void)write_sample(folder);
    FAIL() << "no error for " << folder;
  } catch (const Error& error) {
    EXPECT_TRUE(error.kind() == ErrorKind::input || error.kind() == ErrorKind::output) << error.what();
    EXPECT_NE(std::string(error.what()).find(named), std::string::npos) << error.what();
  }
}

TEST(WriteSample, FolderThatCannotBeIsAnInputError) {
  const fs::path folder = fresh_folder("refused");
  fs::create_directories(folder);
  std::ofstream(folder / "file") << "no folder";
  expect_input_error(folder / "file", "file");
  expect_input_error(folder / "file" / "below", "below");
  fs::remove_all(folder);
}

// Permissions do not stop a superuser, a folder in a file's place stops everyone.
TEST(WriteSample, FileThatCannotBeReplacedIsAnInputError) {
  for (const char* name : {"digits.h5", "digits_mlp.h5", "digits.json"}) {
    const fs::path folder = fresh_folder("blocked");
    fs::create_directories(folder / name / "in use");
    expect_input_error(folder, name);
    for (const auto& entry : fs::directory_iterator(folder))
      EXPECT_NE(entry.path().extension(), ".partial") << entry.path() << " was left";
    fs::remove_all(folder);
  }
}

}  // namespace
}  // namespace gpfq::demo
