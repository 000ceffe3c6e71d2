// SPDX-License-Identifier: Apache-2.0
// Writes the sample's data, network and config; what they hold is made by digits.cpp and
// classifier.cpp.
#include "gpfq/demo/sample.hpp"

#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <utility>

#include "demo/classifier.hpp"
#include "gpfq/base/error.hpp"
#include "gpfq/base/system.hpp"
#include "gpfq/demo/digits.hpp"
#include "gpfq/hdf5/handle.hpp"
#include "gpfq/store/model_file.hpp"

namespace gpfq::demo {
namespace {

constexpr Index train_count = 6000;
constexpr Index test_count = 2000;
constexpr Index calibration_count = 2000;
constexpr std::uint64_t train_seed = 1;
constexpr std::uint64_t test_seed = 2;
constexpr std::uint64_t network_seed = 3;

void make_folder(const std::filesystem::path& folder) {
  std::error_code code;
  std::filesystem::create_directories(folder, code);
  if (code) throw_input("cannot create folder {}: {}", folder.string(), code.message());
  if (!std::filesystem::is_directory(folder, code)) throw_input("{} is not a folder", folder.string());
}

void write_bytes(hid_t group, const std::string& name, const Shape& shape, const std::vector<std::uint8_t>& values,
                 const std::string& where) {
  const std::vector<hsize_t> extents(shape.begin(), shape.end());
  const hdf5::Handle space(H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr), H5Sclose);
  const hdf5::Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_obj_track_times(creation.id(), false);  // without the time of writing, the file is the same every time
  hdf5::Handle dataset(
      H5Dcreate2(group, name.c_str(), H5T_STD_U8LE, space.id(), H5P_DEFAULT, creation.id(), H5P_DEFAULT), H5Dclose);
  if (!dataset) throw_input("cannot create dataset '{}' in {}: {}", name, where, hdf5::take_error_stack());
  hdf5::write_box(dataset.id(), H5T_NATIVE_UINT8, Shape(shape.size(), 0), shape, values.data(), where);
  hdf5::close(dataset, ErrorKind::input, "cannot write " + where);
}

void write_digits(hid_t file, const std::string& name, const Digits& digits, const std::string& where) {
  const hdf5::Handle group(H5Gcreate2(file, name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Gclose);
  if (!group) throw_input("cannot create group '{}' in {}: {}", name, where, hdf5::take_error_stack());
  write_bytes(group.id(), "images", {digits.count, digit_side, digit_side}, digits.images, where);
  write_bytes(group.id(), "labels", {digits.count}, digits.labels, where);
}

/// Both sets in one file, written beside `path` and renamed.
void write_data(const std::filesystem::path& path, const Digits& train, const Digits& test) {
  const std::filesystem::path partial = path.string() + ".partial";
  std::error_code code;
  try {
    hdf5::silence_error_printing();
    hdf5::Handle file(H5Fcreate(partial.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
    if (!file) throw_input("cannot create {}: {}", partial.string(), hdf5::take_error_stack());
    write_digits(file.id(), "train", train, partial.string());
    write_digits(file.id(), "test", test, partial.string());
    hdf5::close(file, ErrorKind::input, "cannot write " + partial.string());
    std::filesystem::rename(partial, path, code);
    if (code) throw_input("cannot write {}: {}", path.string(), code.message());
  } catch (...) {
    std::filesystem::remove(partial, code);
    throw;
  }
}

/// Appends a node that reads the last one.
void append(net::Graph& graph, const std::string& name, net::Op op, Shape shape,
            std::map<std::string, std::string> parameters = {}) {
  net::Node node;
  node.name = name;
  node.source_name = name;
  node.op = op;
  if (graph.size() > 0) node.inputs = {graph.size() - 1};
  node.shape = std::move(shape);
  node.parameters = std::move(parameters);
  graph.nodes.push_back(std::move(node));
  graph.output = graph.size() - 1;
}

/// image → reshape → dense → ReLU → ... → dense: scores, the largest wins.
net::Model to_model(std::vector<TrainedLayer> layers) {
  net::Model model;
  append(model.graph, "image", net::Op::input, {digit_side, digit_side});
  append(model.graph, "pixels", net::Op::reshape, {digit_pixels});
  for (TrainedLayer& layer : layers) {
    const std::string weight = layer.name + ".weight";
    const std::string bias = layer.name + ".bias";
    model.tensors[weight] = net::make_source({layer.neurons, layer.inputs}, std::move(layer.weight));
    model.tensors[bias] = net::make_source({layer.neurons}, std::move(layer.bias));
    model.graph.tensors[weight] = {layer.neurons, layer.inputs};
    model.graph.tensors[bias] = {layer.neurons};
    append(model.graph, layer.name, net::Op::dense, {layer.neurons}, {{"weight", weight}, {"bias", bias}});
    const bool is_output = &layer == &layers.back();
    if (!is_output) append(model.graph, layer.name + "_relu", net::Op::relu, {layer.neurons});
  }
  return model;
}

std::string config_text(const SampleFiles& files) {
  using Json = nlohmann::ordered_json;
  const std::string data = files.data.filename().string();
  Json config;
  config["model"] = files.model.filename().string();
  config["calibration"] = {{"file", data}, {"inputs", "train/images"}, {"samples", calibration_count}};
  config["evaluation"] = {{"file", data}, {"inputs", "test/images"}, {"labels", "test/labels"}};
  config["preprocess"] = {{"scale", 1.0 / 255.0}, {"layout", "NHW"}};
  // Twice the median, below the default of 3: what this network keeps most accuracy with, at three levels.
  config["quantization"] = {
      {"method", "gpfq"}, {"levels", 3}, {"radius", {{"rule", "median"}, {"scale", 2}, {"per", "layer"}}}};
  config["memory_per_rank"] = "1GiB";
  config["threads"] = 1;
  config["output"] = "run";
  return config.dump(2) + "\n";
}

}  // namespace

SampleFiles write_sample(const std::filesystem::path& folder) {
  make_folder(folder);
  const SampleFiles files{folder / "digits_mlp.h5", folder / "digits.h5", folder / "digits.json"};
  const Digits train = draw_digits(train_count, train_seed);
  write_data(files.data, train, draw_digits(test_count, test_seed));
  store::write_model(files.model, to_model(train_classifier(train, network_seed)));
  write_file_atomically(files.config, config_text(files));
  return files;
}

}  // namespace gpfq::demo
