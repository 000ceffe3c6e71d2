// SPDX-License-Identifier: Apache-2.0
// Writes Keras models for tests as Keras 2 and Keras 3 do: Sequential ones from a list of layers,
// functional ones from layers and what each reads.
#pragma once

#include <string>
#include <vector>

#include "gpfq/formats/import.hpp"
#include "gpfq/hdf5/handle.hpp"
#include "import_testing.hpp"

namespace gpfq::formats {

using Floats = std::vector<float>;

/// One layer of a model to be written: its JSON and its weights (role, shape, values).
struct TestLayer {
  struct Weight {
    std::string role;
    Shape shape;
    Floats values;
  };
  std::string class_name;
  std::string name;
  std::string config = {};  ///< further members of "config", each after a comma
  std::vector<Weight> weights = {};
  std::vector<std::vector<std::string>> calls =
      {};  ///< functional: "layer" or "layer:call" per value that a call reads
};

inline void write_names(hid_t group, const std::string& attribute, const std::vector<std::string>& names) {
  const hsize_t count = names.size();
  const hdf5::Handle space(H5Screate_simple(1, &count, nullptr), H5Sclose);
  if (names.empty()) {  // h5py writes an empty list as float64
    const hdf5::Handle empty(
        H5Acreate2(group, attribute.c_str(), H5T_NATIVE_DOUBLE, space.id(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    return;
  }
  const hdf5::Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.id(), H5T_VARIABLE);
  std::vector<const char*> texts;
  for (const std::string& name : names) texts.push_back(name.c_str());
  const hdf5::Handle written(H5Acreate2(group, attribute.c_str(), type.id(), space.id(), H5P_DEFAULT, H5P_DEFAULT),
                             H5Aclose);
  H5Awrite(written.id(), type.id(), texts.data());
}

class KerasTest : public ImportTest {
 protected:
  KerasTest() { hdf5::silence_error_printing(); }

  [[nodiscard]] hdf5::Handle create(const std::string& name) const {
    return {H5Fcreate(path(name).c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose};
  }

  [[nodiscard]] bool is_keras3() const { return version[0] == '3'; }

  /// Dataset names as this version writes them: "dense/kernel:0", or "sequential/dense/kernel".
  [[nodiscard]] std::string weight_name(const std::string& layer, const std::string& role) const {
    return is_keras3() ? fmt::format("sequential/{}/{}", layer, role) : fmt::format("{}/{}:0", layer, role);
  }

  void write_layer(hid_t weights, const TestLayer& layer) const {
    const hdf5::Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
    H5Pset_create_intermediate_group(links.id(), 1);
    const hdf5::Handle group(H5Gcreate2(weights, layer.name.c_str(), links.id(), H5P_DEFAULT, H5P_DEFAULT), H5Gclose);
    std::vector<std::string> names;
    for (const TestLayer::Weight& weight : layer.weights) {
      names.push_back(weight_name(layer.name, weight.role));
      const std::vector<hsize_t> extents(weight.shape.begin(), weight.shape.end());
      const hdf5::Handle space(H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr), H5Sclose);
      const hdf5::Handle dataset(H5Dcreate2(group.id(), names.back().c_str(), H5T_IEEE_F32LE, space.id(), links.id(),
                                            H5P_DEFAULT, H5P_DEFAULT),
                                 H5Dclose);
      if (!weight.values.empty()) {
        H5Dwrite(dataset.id(), H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, weight.values.data());
      }
    }
    write_names(group.id(), names_attribute, names);
  }

  /// Writes a Sequential model; the input shape stands where this version puts it.
  void write(const std::vector<TestLayer>& layers, const std::string& shape = "[null, 2]") const {
    std::string list;
    if (is_keras3()) {
      list = fmt::format(R"({{"class_name": "InputLayer", "config": {{"batch_shape": {}, "name": "in"}}}})", shape);
    }
    for (const TestLayer& layer : layers) {
      const std::string first = list.empty() ? fmt::format(R"(, "batch_input_shape": {})", shape) : "";
      list += fmt::format(R"({}{{"class_name": "{}", "config": {{"name": "{}"{}{}}}}})", list.empty() ? "" : ", ",
                          layer.class_name, layer.name, first, layer.config);
    }
    write_file(
        fmt::format(R"({{"class_name": "Sequential", "config": {{"name": "sequential", "layers": [{}]}}}})", list),
        layers);
  }

  static bool is_constant(const std::string& value) { return value[0] == '#'; }

  /// How this version writes a value, "layer" or "layer:call", that a layer of a functional model reads; "#" stands
  /// before a constant's JSON.
  [[nodiscard]] std::string reference(const std::string& value) const {
    if (is_constant(value)) return value.substr(1);
    const std::size_t colon = value.find(':');
    const std::string call = colon == std::string::npos ? "0" : value.substr(colon + 1);
    const std::string history = fmt::format(R"(["{}", {}, 0)", value.substr(0, colon), call);
    if (!is_keras3()) return history + ", {}]";
    return fmt::format(R"({{"class_name": "__keras_tensor__", "config": {{"shape": [null], "keras_history": {}]}}}})",
                       history);
  }

  /// One element of `inbound_nodes`.
  [[nodiscard]] std::string call(const std::vector<std::string>& values) const {
    std::string list;
    for (const std::string& value : values) list += (list.empty() ? "" : ", ") + reference(value);
    if (!is_keras3()) return fmt::format("[{}]", list);
    const bool is_operator = std::any_of(values.begin(), values.end(), is_constant);
    return fmt::format(R"({{"args": [{}], "kwargs": {{"training": false, "mask": null}}}})",
                       values.size() > 1 && !is_operator ? fmt::format("[{}]", list) : list);
  }

  /// A functional model whose input layer is "in".
  void write_functional(const std::vector<TestLayer>& layers, const std::string& output,
                        const std::string& shape = "[null, 2]") const {
    std::string list = fmt::format(
        R"({{"class_name": "InputLayer", "name": "in", "config": {{"{}": {}, "name": "in"}}, "inbound_nodes": []}})",
        is_keras3() ? "batch_shape" : "batch_input_shape", shape);
    for (const TestLayer& layer : layers) {
      std::string calls;
      for (const std::vector<std::string>& values : layer.calls) calls += (calls.empty() ? "" : ", ") + call(values);
      list += fmt::format(
          R"(, {{"class_name": "{0}", "name": "{1}", "config": {{"name": "{1}"{2}}}, "inbound_nodes": [{3}]}})",
          layer.class_name, layer.name, layer.config, calls);
    }
    const char* ends = is_keras3() ? R"(["{}", 0, 0])" : R"([["{}", 0, 0]])";
    const std::string model_class = is_keras3() ? "Functional" : "Model";
    write_file(
        fmt::format(R"({{"class_name": "{}", "config": {{"name": "net", "layers": [{}], "input_layers": {}, )"
                    R"("output_layers": {}}}}})",
                    model_class, list, fmt::format(fmt::runtime(ends), "in"), fmt::format(fmt::runtime(ends), output)),
        layers);
  }
  [[nodiscard]] net::Model import_functional(const std::vector<TestLayer>& layers, const std::string& output,
                                             const std::string& shape = "[null, 2]") const {
    write_functional(layers, output, shape);
    return import_keras(model_path());
  }
  [[nodiscard]] std::string functional_error(const std::vector<TestLayer>& layers, const std::string& output,
                                             const std::string& shape = "[null, 2]") const {
    return input_error([&] { (void)import_functional(layers, output, shape); });
  }

  void write_file(const std::string& config, const std::vector<TestLayer>& layers) const {
    ++written_;  // an earlier file may still be open, behind a model's tensors
    const hdf5::Handle file = create(model_path().filename());
    hdf5::write_string_attribute(file.id(), "model_config", config);
    hdf5::write_string_attribute(file.id(), "keras_version", version);
    const hdf5::Handle weights(H5Gcreate2(file.id(), "model_weights", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Gclose);
    for (const TestLayer& layer : layers) write_layer(weights.id(), layer);
  }

  [[nodiscard]] net::Model import(const std::vector<TestLayer>& layers, const std::string& shape = "[null, 2]") const {
    write(layers, shape);
    return import_keras(model_path());
  }
  [[nodiscard]] std::string error_of(const std::vector<TestLayer>& layers,
                                     const std::string& shape = "[null, 2]") const {
    return input_error([&] { (void)import(layers, shape); });
  }
  [[nodiscard]] std::string error_of_config(const std::string& config) const {
    write_file(config, {});
    return input_error([&] { (void)import_keras(model_path()); });
  }

  [[nodiscard]] std::filesystem::path model_path() const { return path(fmt::format("model{}.h5", written_)); }

  std::string version = "2.15.0";
  std::string names_attribute = "weight_names";

 private:
  mutable int written_ = 0;
};

}  // namespace gpfq::formats
