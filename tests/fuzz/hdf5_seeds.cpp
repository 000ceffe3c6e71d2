// SPDX-License-Identifier: Apache-2.0
// Keras models, native models and datasets, as files and as the JSON in them.
#include <array>

#include "formats/keras_testing.hpp"
#include "gpfq/hdf5/handle.hpp"
#include "gpfq/store/model_file.hpp"
#include "seeds.hpp"
#include "support/data_files.hpp"
#include "support/networks.hpp"

namespace gpfq::fuzz {
namespace {

namespace fs = std::filesystem;

/// The writer of the importer's tests, outside of a test.
class KerasWriter : public formats::KerasTest {
 public:
  KerasWriter(const fs::path& folder, const char* keras_version) {
    folder_ = folder;
    version = keras_version;
    fs::create_directories(folder / "model");
  }
  void TestBody() override {}

  fs::path sequential() {
    write({{"Conv2D", "c", R"(, "filters": 3, "kernel_size": [3, 3], "padding": "same", "activation": "relu")",
            {{"kernel", {3, 3, 2, 3}, test::Random(1).normals(54, 1)}, {"bias", {3}, {1, 2, 3}}}},
           {"BatchNormalization", "n", R"(, "epsilon": 0.001, "axis": [3])",
            {{"gamma", {3}, {1, 2, 3}}, {"beta", {3}, {1, 2, 3}}, {"moving_mean", {3}, {1, 2, 3}},
             {"moving_variance", {3}, {1, 2, 3}}}},
           {"MaxPooling2D", "p", R"(, "pool_size": [2, 2], "strides": [2, 2])"},
           {"Flatten", "f"},
           {"Dropout", "d", R"(, "rate": 0.5)"},
           {"Dense", "fc", R"(, "units": 2, "activation": "softmax")",
            {{"kernel", {12, 2}, test::Random(2).normals(24, 1)}, {"bias", {2}, {1, 2}}}}},
          "[null, 4, 4, 2]");
    return model_path();
  }

  fs::path functional() {
    write_functional({{"Dense", "a", R"(, "units": 2, "use_bias": false)", {{"kernel", {2, 2}, {1, 2, 3, 4}}}, {{"in"}, {"a:0"}}},
                      {"LeakyReLU", "r", R"(, "alpha": 0.3)", {}, {{"a:1"}}},
                      {"Multiply", "m", "", {}, {{"a", "r"}}},
                      {"Concatenate", "j", R"(, "axis": -1)", {}, {{"m", "in"}}},
                      {"Reshape", "s", R"(, "target_shape": [2, -1])", {}, {{"j"}}},
                      {"Permute", "t", R"(, "dims": [2, 1])", {}, {{"s"}}}},
                     "t");
    return model_path();
  }
};

std::vector<fs::path> keras_files(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const char* version : {"2.15.0", "3.3.0"}) {
    for (const bool is_functional : {false, true}) {
      KerasWriter writer(folder, version);
      const fs::path from = is_functional ? writer.functional() : writer.sequential();
      files.push_back(folder / fmt::format("keras{}.h5", files.size()));
      fs::rename(from, files.back());
    }
  }
  return files;
}

/// The float model's second matrix as codes, as a job leaves them.
void quantize_by_hand(const fs::path& file, const net::Model& model) {
  const hdf5::Handle handle(H5Fopen(file.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
  const Shape& shape = model.graph.tensor_shape("fc2.weight");
  H5Ldelete(handle.id(), "tensors/fc2.weight", H5P_DEFAULT);
  const hdf5::Handle group(H5Gcreate2(handle.id(), "layers/fc2", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Gclose);
  hdf5::write_integer_attribute(group.id(), "levels", 3);
  hdf5::write_string_attribute(group.id(), "tensor", "fc2.weight");
  hdf5::write_string_attribute(group.id(), "name", "fc2");
  const auto write = [&](const char* name, hid_t type, const std::vector<hsize_t>& extents, const void* values) {
    const hdf5::Handle space(H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr), H5Sclose);
    const hdf5::Handle dataset(H5Dcreate2(group.id(), name, type, space.id(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                               H5Dclose);
    H5Dwrite(dataset.id(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
  };
  const hsize_t rows = static_cast<hsize_t>(shape[0]);
  const std::vector<std::uint8_t> codes(static_cast<std::size_t>(element_count(shape)), 1);
  const std::vector<float> steps(rows, 0.5F);
  write("codes", H5T_NATIVE_UINT8, {rows, static_cast<hsize_t>(shape[1])}, codes.data());
  write("step", H5T_NATIVE_FLOAT, {rows}, steps.data());
  write("radius", H5T_NATIVE_FLOAT, {rows}, steps.data());
}

net::Model convolution() {
  test::ChainBuilder chain({2, 5, 5});
  chain.node("pad", net::Op::pad, {{"pads", {0, 1, 1, 0, 1, 1}}, {"value", {0}}})
      .node("pool", net::Op::max_pool, {{"kernel", {2, 2}}, {"strides", {2, 2}}, {"pads", {0, 0, 0, 0}}})
      .reshape("flat", {18})
      .dense("fc", 2, test::Random(3).normals(36, 1), {1, 2})
      .node("out", net::Op::softmax);
  net::Model model = chain.build();
  for (net::Node& node : model.graph.nodes)
    if (node.op == net::Op::pad || node.op == net::Op::max_pool) node.shape = net::infer_shape(model.graph, node);
  return model;
}

}  // namespace

void set_attribute(const fs::path& file, const std::string& name, const std::string& text) {
  hdf5::silence_error_printing();
  const hdf5::Handle handle(H5Fopen(file.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
  hdf5::write_string_attribute(handle.id(), name, text);
}

std::vector<std::string> keras_seeds(const fs::path& folder) {
  std::vector<std::string> seeds;
  for (const fs::path& file : keras_files(folder)) seeds.push_back(test::read_text(file));
  return seeds;
}

std::vector<std::string> keras_config_seeds(const fs::path& folder) {
  std::vector<std::string> seeds;
  // All layers of all the models have their weights in the one file: names do not clash, and both versions' are there.
  const std::vector<fs::path> files = keras_files(folder);
  for (const fs::path& file : files) {
    const hdf5::Handle from = hdf5::open_file(file);
    seeds.push_back(hdf5::read_string_attribute(from.id(), "model_config", file.string()));
  }
  fs::copy_file(files[0], folder / keras_base, fs::copy_options::overwrite_existing);
  const hdf5::Handle base(H5Fopen((folder / keras_base).c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
  const hdf5::Handle other = hdf5::open_file(files[1]);
  H5Ocopy(other.id(), "model_weights/a", base.id(), "model_weights/a", H5P_DEFAULT, H5P_DEFAULT);
  return seeds;
}

std::vector<std::string> native_seeds(const fs::path& folder) {
  const net::Model mlp = test::random_mlp({6, 5, 4, 3}, 1);
  store::write_model(folder / "float.h5", mlp);
  store::write_model(folder / "quantized.h5", mlp);
  quantize_by_hand(folder / "quantized.h5", mlp);
  store::write_model(folder / "maps.h5", convolution());
  return {test::read_text(folder / "float.h5"), test::read_text(folder / "quantized.h5"),
          test::read_text(folder / "maps.h5")};
}

std::vector<std::string> graph_seeds(const fs::path& folder) {
  static_cast<void>(native_seeds(folder));
  fs::copy_file(folder / "quantized.h5", folder / native_base, fs::copy_options::overwrite_existing);
  return {net::to_json(test::random_mlp({6, 5, 4, 3}, 1).graph), net::to_json(convolution().graph)};
}

std::vector<std::string> dataset_seeds(const fs::path& folder) {
  const std::vector<float> values = test::Random(4).normals(24, 1);
  test::write_dataset(folder / "plain.h5", "x", {4, 6}, values);
  test::write_dataset(folder / "plain.h5", "y", {4}, std::vector<std::int32_t>{0, 1, 2, 1});
  test::write_dataset(folder / "bytes.h5", "x", {4, 2, 3}, std::vector<std::uint8_t>(24, 7));
  test::write_dataset(folder / "bytes.h5", "y", {4}, std::vector<std::uint8_t>(4, 1));
  test::write_dataset(folder / "packed.h5", "y", {4}, std::vector<std::int32_t>{0, 1, 2, 1});
  {
    const hdf5::Handle file(H5Fopen((folder / "packed.h5").c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
    const hdf5::Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    const std::array<hsize_t, 2> extents{4, 6};
    const std::array<hsize_t, 2> chunk{2, 3};
    H5Pset_chunk(creation.id(), 2, chunk.data());
    H5Pset_shuffle(creation.id());
    H5Pset_deflate(creation.id(), 6);
    H5Pset_fletcher32(creation.id());
    const hdf5::Handle space(H5Screate_simple(2, extents.data(), nullptr), H5Sclose);
    const hdf5::Handle dataset(
        H5Dcreate2(file.id(), "x", H5T_IEEE_F64LE, space.id(), H5P_DEFAULT, creation.id(), H5P_DEFAULT), H5Dclose);
    H5Dwrite(dataset.id(), H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
  }
  return {test::read_text(folder / "plain.h5"), test::read_text(folder / "bytes.h5"),
          test::read_text(folder / "packed.h5")};
}

}  // namespace gpfq::fuzz
