// SPDX-License-Identifier: Apache-2.0
// Native models: what is written is read back bit by bit, and a damaged file is refused with a
// message instead of being believed.
#include "gpfq/store/model_file.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include "support/data_files.hpp"
#include "support/errors.hpp"
#include "support/networks.hpp"
#include "support/temp_folder.hpp"

namespace gpfq::store {
namespace {

using test::mentions;
using test::TempFolder;

std::vector<float> all_rows(const net::Parameters& parameters, const net::Graph& graph, const std::string& tensor) {
  const Shape& shape = graph.tensor_shape(tensor);
  std::vector<float> values(static_cast<std::size_t>(element_count(shape)));
  parameters.read_rows(tensor, 0, shape.front(), values.data());
  return values;
}

/// The input error that opening gives, which names the file.
std::string error_of(const std::filesystem::path& path) {
  const std::string text = test::input_error([&] { const ModelFile model(path); });
  EXPECT_TRUE(mentions(text, path.filename().string()));
  return text;
}

/// Opens for changes and gives the root group to `change`.
template <class Change>
void edit(const std::filesystem::path& path, Change change) {
  const hdf5::Handle file(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
  ASSERT_TRUE(static_cast<bool>(file));
  change(file.id());
}

/// A file with one layer as codes: 3 neurons of 4 inputs, 5 levels, a step per neuron.
void write_quantized(const std::filesystem::path& path) {
  write_model(path, test::ChainBuilder({4}).dense("fc", 3, std::vector<float>(12, 0.5F), {1, 2, 3}).build());
  test::remove_link(path, "tensors/fc.weight");
  test::write_dataset(path, "layers/fc/codes", {3, 4}, std::vector<std::uint8_t>{0, 1, 2, 3, 4, 4, 2, 0, 1, 3, 2, 2});
  test::write_dataset(path, "layers/fc/radius", {3}, std::vector<float>{2, 0.4F, 0});
  test::write_dataset(path, "layers/fc/step", {3}, std::vector<float>{0.5F, 0.1F, 0});
  edit(path, [](hid_t file) {
    const hdf5::Handle group(H5Gopen2(file, "layers/fc", H5P_DEFAULT), H5Gclose);
    hdf5::write_integer_attribute(group.id(), "levels", 5);
    hdf5::write_string_attribute(group.id(), "tensor", "fc.weight");
    hdf5::write_string_attribute(group.id(), "name", "/fc/MatMul");
  });
}

TEST(ModelFile, ReadsBackWhatWasWritten) {
  const TempFolder folder;
  net::Model model = test::random_mlp({13, 7, 5, 3}, 1);
  std::vector<float> odd = net::read_all(model.tensors.at("fc2.weight"));
  odd[0] = std::numeric_limits<float>::denorm_min();
  odd[1] = -0.0F;
  odd[2] = std::numeric_limits<float>::max();
  model.tensors["fc2.weight"] = net::make_source({5, 7}, odd);
  write_model(folder / "model.h5", model);
  EXPECT_EQ(test::listing(folder.path()), "model.h5");

  const ModelFile file(folder / "model.h5");
  EXPECT_EQ(net::to_json(file.graph()), net::to_json(model.graph));
  EXPECT_TRUE(file.quantized_layers().empty());
  for (const auto& [name, source] : model.tensors) {
    const std::vector<float> expected = net::read_all(source);
    const std::vector<float> found = all_rows(file, file.graph(), name);
    ASSERT_EQ(found.size(), expected.size());
    EXPECT_EQ(std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)), 0) << name;
  }
}

TEST(ModelFile, ReadsAnyRows) {
  const TempFolder folder;
  const net::Model model = test::random_mlp({13, 7, 3}, 2);
  write_model(folder / "model.h5", model);
  const ModelFile file(folder / "model.h5");
  const std::vector<float> expected = net::read_all(model.tensors.at("fc1.weight"));
  std::vector<float> rows(2 * 13);
  file.read_rows("fc1.weight", 4, 2, rows.data());
  for (std::size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(rows[i], expected[4 * 13 + i]);
  EXPECT_THROW(file.read_rows("fc1.weight", 6, 2, rows.data()), Error);
}

TEST(ModelFile, DecodesCodesExactly) {
  const TempFolder folder;
  write_quantized(folder / "q.h5");
  const ModelFile file(folder / "q.h5");
  ASSERT_EQ(file.quantized_layers().size(), 1U);
  EXPECT_EQ(file.quantized_layers()[0].levels, 5);
  EXPECT_EQ(file.quantized_layers()[0].source_name, "/fc/MatMul");
  // value = float32((2k − 4)·step): step 0.5 gives −2 −1 0 1 2; step 0.1f is doubled exactly; step 0 gives 0.
  const float s = 0.1F;
  const std::vector<float> expected{-2, -1, 0, 1, 4 * s, 4 * s, 0, -4 * s, 0, 0, 0, 0};
  EXPECT_EQ(all_rows(file, file.graph(), "fc.weight"), expected);
  EXPECT_EQ(all_rows(file, file.graph(), "fc.bias"), (std::vector<float>{1, 2, 3}));
}

TEST(ModelFile, RefusesANonFiniteWeightAndLeavesNothing) {
  const TempFolder folder;
  for (const float bad : {std::nanf(""), HUGE_VALF, -HUGE_VALF}) {
    const net::Model model = test::ChainBuilder({2}).dense("fc", 2, {1, 2, 3, bad}).build();
    const std::string text = test::input_error([&] { write_model(folder / "model.h5", model); });
    EXPECT_TRUE(mentions(text, "'fc.weight'"));
    EXPECT_TRUE(mentions(text, "element 3"));
    EXPECT_EQ(test::listing(folder.path()), "");
  }
}

TEST(ModelFile, AFailedWriteKeepsTheFileBefore) {
  const TempFolder folder;
  write_model(folder / "model.h5", test::ChainBuilder({1}).dense("fc", 1, {7}).build());
  EXPECT_THROW(write_model(folder / "model.h5", test::ChainBuilder({1}).dense("fc", 1, {HUGE_VALF}).build()), Error);
  const ModelFile file(folder / "model.h5");
  EXPECT_EQ(all_rows(file, file.graph(), "fc.weight"), std::vector<float>{7});
}

TEST(ModelFile, RefusesAFolderThatIsAFile) {
  const TempFolder folder;
  test::write_text(folder / "file", "x");
  static_cast<void>(test::error_of(
      ErrorKind::output, [&] { write_model(folder / "file/model.h5", test::ChainBuilder({1}).dense("fc", 1, {7}).build()); }));
}

TEST(DamagedModel, MissingAndForeignFiles) {
  const TempFolder folder;
  EXPECT_TRUE(mentions(error_of(folder / "none.h5"), "none.h5"));
  test::write_text(folder / "text.h5", "not HDF5 at all, but long enough to hold a signature");
  EXPECT_TRUE(mentions(error_of(folder / "text.h5"), "text.h5"));
  test::write_dataset(folder / "data.h5", "x", {1}, std::vector<float>{1});
  EXPECT_TRUE(mentions(error_of(folder / "data.h5"), "not a gpfq model"));
  EXPECT_FALSE(is_model_file(folder / "data.h5"));
  EXPECT_FALSE(is_model_file(folder / "text.h5"));
  EXPECT_FALSE(is_model_file(folder / "none.h5"));
}

TEST(DamagedModel, TruncatedAnywhere) {
  const TempFolder folder;
  write_model(folder / "model.h5", test::random_mlp({40, 30, 10}, 3));
  const Index size = static_cast<Index>(std::filesystem::file_size(folder / "model.h5"));
  for (const Index length : {Index{0}, Index{1}, Index{7}, Index{8}, Index{48}, Index{96}, Index{512}, size / 4,
                             size / 2, size - 4096, size - 100, size - 1}) {
    test::copy_head(folder / "model.h5", folder / "cut.h5", length);
    EXPECT_NE(error_of(folder / "cut.h5"), "") << "accepted at " << length << " of " << size << " bytes";
  }
}

TEST(DamagedModel, OtherVersion) {
  const TempFolder folder;
  write_quantized(folder / "q.h5");
  edit(folder / "q.h5", [](hid_t file) { hdf5::write_integer_attribute(file, "version", model_version + 1); });
  EXPECT_TRUE(mentions(error_of(folder / "q.h5"),
                       fmt::format("version {}, this program reads {}", model_version + 1, model_version)));
}

TEST(DamagedModel, OtherFormatName) {
  const TempFolder folder;
  write_quantized(folder / "q.h5");
  edit(folder / "q.h5", [](hid_t file) { hdf5::write_string_attribute(file, "format", "gpfq-other"); });
  EXPECT_TRUE(mentions(error_of(folder / "q.h5"), "not a gpfq model"));
}

TEST(DamagedModel, GraphThatIsNone) {
  const TempFolder folder;
  for (const char* text : {"", "{", "[]", "{\"nodes\": []}", "{\"nodes\": 7}"}) {
    write_quantized(folder / "q.h5");
    edit(folder / "q.h5", [&](hid_t file) { hdf5::write_string_attribute(file, "graph", text); });
    EXPECT_NE(error_of(folder / "q.h5"), "") << text;
    std::filesystem::remove(folder / "q.h5");
  }
}

TEST(DamagedModel, MissingTensor) {
  const TempFolder folder;
  write_quantized(folder / "q.h5");
  test::remove_link(folder / "q.h5", "tensors/fc.bias");
  EXPECT_TRUE(mentions(error_of(folder / "q.h5"), "fc.bias"));
}

TEST(DamagedModel, TensorOfAnotherShapeOrType) {
  const TempFolder folder;
  write_quantized(folder / "q.h5");
  test::write_dataset(folder / "q.h5", "tensors/fc.bias", {4}, std::vector<float>(4));
  const std::string shape = error_of(folder / "q.h5");
  EXPECT_TRUE(mentions(shape, "fc.bias"));
  EXPECT_TRUE(mentions(shape, "4"));
  EXPECT_TRUE(mentions(shape, "expected 3"));
  test::write_dataset(folder / "q.h5", "tensors/fc.bias", {3}, std::vector<std::int32_t>(3));
  EXPECT_TRUE(mentions(error_of(folder / "q.h5"), "fc.bias"));
}

TEST(DamagedModel, LayerWithoutItsParts) {
  const TempFolder folder;
  for (const char* part : {"layers/fc/codes", "layers/fc/step"}) {
    write_quantized(folder / "q.h5");
    test::remove_link(folder / "q.h5", part);
    EXPECT_NE(error_of(folder / "q.h5"), "") << part;
    std::filesystem::remove(folder / "q.h5");
  }
  write_quantized(folder / "q.h5");
  test::write_dataset(folder / "q.h5", "layers/fc/codes", {4, 3}, std::vector<std::uint8_t>(12));
  EXPECT_TRUE(mentions(error_of(folder / "q.h5"), "4x3"));
}

TEST(DamagedModel, LayerWithBadAttributes) {
  const TempFolder folder;
  for (const Index levels : {Index{-1}, Index{0}, Index{1}, Index{257}, Index{1} << 40}) {
    write_quantized(folder / "q.h5");
    edit(folder / "q.h5", [&](hid_t file) {
      const hdf5::Handle group(H5Gopen2(file, "layers/fc", H5P_DEFAULT), H5Gclose);
      hdf5::write_integer_attribute(group.id(), "levels", levels);
    });
    EXPECT_TRUE(mentions(error_of(folder / "q.h5"), "expected 2 to 256"));
    std::filesystem::remove(folder / "q.h5");
  }
  write_quantized(folder / "q.h5");
  edit(folder / "q.h5", [](hid_t file) {
    const hdf5::Handle group(H5Gopen2(file, "layers/fc", H5P_DEFAULT), H5Gclose);
    hdf5::write_string_attribute(group.id(), "tensor", "another.weight");
  });
  // The graph does not know the file's name; the caller adds it.
  EXPECT_THROW(ModelFile{folder / "q.h5"}, Error);
}

TEST(DamagedModel, TwoLayersForOneTensor) {
  const TempFolder folder;
  write_quantized(folder / "q.h5");
  edit(folder / "q.h5",
       [](hid_t file) { H5Ocopy(file, "layers/fc", file, "layers/second", H5P_DEFAULT, H5P_DEFAULT); });
  EXPECT_TRUE(mentions(error_of(folder / "q.h5"), "'second' the second, stand for tensor 'fc.weight'"));
}

TEST(DamagedModel, CodeBeyondItsLevels) {
  const TempFolder folder;
  write_quantized(folder / "q.h5");
  test::write_dataset(folder / "q.h5", "layers/fc/codes", {3, 4},
                      std::vector<std::uint8_t>{0, 1, 2, 3, 4, 4, 2, 0, 1, 5, 2, 2});
  const ModelFile file(folder / "q.h5");
  std::vector<float> row(4);
  EXPECT_NO_THROW(file.read_rows("fc.weight", 1, 1, row.data()));
  EXPECT_TRUE(mentions(test::input_error([&] { file.read_rows("fc.weight", 2, 1, row.data()); }),
                       "'fc' holds code 5 at neuron 2, expected less than 5"));
}

TEST(DamagedModel, WeightThatIsNoNumber) {
  const TempFolder folder;
  write_model(folder / "m.h5", test::ChainBuilder({2}).dense("fc", 3, {1, 2, 3, 4, 5, 6}).build());
  test::write_dataset(folder / "m.h5", "tensors/fc.weight", {3, 2}, std::vector<float>{1, 2, 3, std::nanf(""), 5, 6});
  const ModelFile file(folder / "m.h5");
  std::vector<float> rows(4);
  EXPECT_NO_THROW(file.read_rows("fc.weight", 2, 1, rows.data()));
  EXPECT_TRUE(mentions(test::input_error([&] { file.read_rows("fc.weight", 1, 2, rows.data()); }),
                       "'fc.weight' holds nan at element 3"));
}

TEST(DamagedModel, StepThatIsNoNumber) {
  const TempFolder folder;
  for (const float bad : {std::nanf(""), HUGE_VALF, -0.5F}) {
    write_quantized(folder / "q.h5");
    test::write_dataset(folder / "q.h5", "layers/fc/step", {3}, std::vector<float>{0.5F, bad, 0});
    const ModelFile file(folder / "q.h5");
    std::vector<float> row(4);
    EXPECT_NO_THROW(file.read_rows("fc.weight", 0, 1, row.data()));
    EXPECT_TRUE(mentions(test::input_error([&] { file.read_rows("fc.weight", 1, 1, row.data()); }), "at neuron 1"));
    std::filesystem::remove(folder / "q.h5");
  }
}

}  // namespace
}  // namespace gpfq::store
