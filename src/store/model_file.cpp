// SPDX-License-Identifier: Apache-2.0
// Reading and writing of native models. Files are not trusted: what the graph claims is compared
// with what the file holds before anything is read.
#include "gpfq/store/model_file.hpp"

#include <algorithm>
#include <cmath>
#include <system_error>

#include "gpfq/base/durable.hpp"
#include "gpfq/base/error.hpp"
#include "gpfq/quant/alphabet.hpp"
#include "gpfq/store/model_copy.hpp"
#include "store/dataset.hpp"

namespace gpfq::store {
namespace {

QuantizedLayer read_layer(hid_t file, const std::string& name, const net::Graph& graph, const std::string& where) {
  const std::string group_name = "layers/" + name;
  const hdf5::Handle group = hdf5::open_group(file, group_name, where);
  QuantizedLayer layer;
  layer.name = name;
  layer.levels = static_cast<int>(
      std::clamp<Index>(hdf5::read_integer_attribute(group.id(), "levels", where), 0, 100000));
  layer.tensor = hdf5::read_string_attribute(group.id(), "tensor", where);
  layer.source_name = hdf5::read_string_attribute(group.id(), "name", where);
  layer.shape = graph.tensor_shape(layer.tensor);
  if (layer.levels < 2 || layer.levels > 256)
    throw_input("{}: layer '{}' has {} levels, expected 2 to 256", where, name, layer.levels);
  if (layer.shape.empty()) throw_input("{}: layer '{}' stands for tensor '{}', which is a scalar", where, name, layer.tensor);
  expect_dataset(file, group_name + "/codes", layer.shape, H5T_INTEGER, where);
  expect_dataset(file, group_name + "/step", {layer.shape.front()}, H5T_FLOAT, where);
  layer.is_shifted = hdf5::link_exists(group.id(), "shift");
  if (!layer.is_shifted) return layer;
  expect_dataset(file, group_name + "/shift", {layer.shape.front()}, H5T_FLOAT, where);
  if (layer.levels % 2 == 0)
    throw_input("{}: layer '{}' has shifted levels, {} of them, expected an odd number", where, name, layer.levels);
  return layer;
}

void check_finite(const std::string& tensor, Index first_value, const float* values, Index count) {
  for (Index i = 0; i < count; ++i)
    if (!std::isfinite(values[i]))
      throw_input("tensor '{}' holds {} at element {}: weights must be finite", tensor, values[i], first_value + i);
}

}  // namespace

void copy_tensor(hid_t file, const std::string& name, const net::TensorSource& source, const std::string& where) {
  const hdf5::Handle dataset = create_dataset(file, "tensors/" + name, source.shape, H5T_IEEE_F32LE, where);
  copy_rows(dataset.id(), name, source, {0, source.shape.empty() ? 1 : source.shape.front()}, where);
}

void copy_rows(hid_t dataset, const std::string& name, const net::TensorSource& source, Range rows,
               const std::string& where, hid_t transfer) {
  if (rows.empty()) return;
  const Index row_size = source.shape.empty() ? 1 : element_count(source.shape) / source.shape.front();
  const Index slab_rows = rows_within(copy_slab_bytes, row_size * 4, rows.size());
  std::vector<float> slab(static_cast<std::size_t>(slab_rows * row_size));
  for (Index first = rows.begin; first < rows.end; first += slab_rows) {
    const Index count = std::min(slab_rows, rows.end - first);
    source.read_rows(first, count, slab.data());
    check_finite(name, first * row_size, slab.data(), count * row_size);
    write_rows(dataset, H5T_NATIVE_FLOAT, source.shape, first, count, slab.data(), where + ":/tensors/" + name, transfer);
  }
  if (source.release) source.release();
}

hdf5::Handle create_model_file(const std::filesystem::path& path, const net::Graph& graph) {
  hdf5::silence_error_printing();
  hdf5::Handle file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
  if (!file) throw_output("cannot create {}: {}", path.string(), hdf5::take_error_stack());
  hdf5::write_string_attribute(file.id(), "format", model_format);
  hdf5::write_integer_attribute(file.id(), "version", model_version);
  hdf5::write_string_attribute(file.id(), "graph", net::to_json(graph));
  create_group(file.id(), "tensors", path.string());
  create_group(file.id(), "layers", path.string());
  return file;
}

bool is_model_file(const std::filesystem::path& path) {
  if (!hdf5::is_hdf5(path)) return false;
  const hdf5::Handle file = hdf5::open_file(path);
  return hdf5::has_attribute(file.id(), "format") &&
         hdf5::read_string_attribute(file.id(), "format", path.string()) == model_format;
}

void write_model(const std::filesystem::path& path, const net::Model& model) {
  net::validate(model.graph);
  const std::filesystem::path partial = path.string() + ".partial";
  try {
    hdf5::Handle file = create_model_file(partial, model.graph);
    for (const auto& [name, shape] : model.graph.tensors) {
      const net::TensorSource& source = model.tensors.at(name);
      require(source.shape == shape, "write_model: a tensor's source has another shape than the graph says");
      copy_tensor(file.id(), name, source, path.string());
    }
    hdf5::close(file, ErrorKind::output, "writing " + partial.string());
    rename_durably(partial, path);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(partial, ignored);
    throw;
  }
}

ModelFile::ModelFile(const std::filesystem::path& path)
    : path_(path), file_(hdf5::open_file(path)), stamp_(path) {
  const std::string where = path.string();
  if (!hdf5::has_attribute(file_.id(), "format") ||
      hdf5::read_string_attribute(file_.id(), "format", where) != model_format)
    throw_input("{} is not a gpfq model (no attribute format = \"{}\")", where, model_format);
  const Index version = hdf5::read_integer_attribute(file_.id(), "version", where);
  if (version != model_version)
    throw_input("{}: model format version {}, this program reads {}", where, version, model_version);
  graph_ = net::graph_from_json(hdf5::read_string_attribute(file_.id(), "graph", where), where);
  for (const std::string& name : hdf5::link_names(file_.id(), "layers")) {
    layers_.push_back(read_layer(file_.id(), name, graph_, where));
    const std::string& tensor = layers_.back().tensor;
    if (!layer_of_tensor_.emplace(tensor, layers_.size() - 1).second)
      throw_input("{}: two quantized layers, '{}' the second, stand for tensor '{}'", where, name, tensor);
  }
  for (const auto& [name, shape] : graph_.tensors)
    if (layer_of_tensor_.count(name) == 0) expect_dataset(file_.id(), "tensors/" + name, shape, H5T_FLOAT, where);
}

void ModelFile::read_rows(const std::string& tensor, Index first, Index count, float* out) const {
  const auto layer = layer_of_tensor_.find(tensor);
  if (layer != layer_of_tensor_.end())
    read_decoded_rows(file_.id(), layers_[layer->second], first, count, out, path_.string());
  else
    read_tensor_rows(file_.id(), tensor, graph_.tensor_shape(tensor), first, count, out, path_.string());
  stamp_.require_unchanged();
}

void read_tensor_rows(hid_t file, const std::string& tensor, const Shape& shape, Index first, Index count, float* out,
                      const std::string& where, hid_t transfer) {
  const hdf5::Handle dataset = hdf5::open_dataset(file, "tensors/" + tensor, where);
  read_rows_of(dataset.id(), H5T_NATIVE_FLOAT, shape, first, count, out, where + ":/tensors/" + tensor, transfer);
  const Index row_size = shape.empty() ? 1 : element_count(shape) / std::max<Index>(1, shape.front());
  check_finite(tensor, first * row_size, out, count * row_size);
}

std::vector<quant::Alphabet> read_layer_alphabets(hid_t file, const QuantizedLayer& layer, Index first, Index count,
                                                  const std::string& where, hid_t transfer) {
  const std::string group = "layers/" + layer.name;
  const auto read = [&](const char* name) {
    std::vector<float> values(static_cast<std::size_t>(count));
    const hdf5::Handle dataset = hdf5::open_dataset(file, group + name, where);
    hdf5::read_box(dataset.id(), H5T_NATIVE_FLOAT, {first}, {count}, values.data(), where + ":/" + group, transfer);
    return values;
  };
  const std::vector<float> steps = read("/step");
  const std::vector<float> shifts = layer.is_shifted ? read("/shift") : std::vector<float>(steps.size(), 0.0F);
  std::vector<quant::Alphabet> alphabets;
  for (std::size_t row = 0; row < steps.size(); ++row) {
    if (!std::isfinite(steps[row]) || steps[row] < 0)
      throw_input("{}: layer '{}' has step {} at neuron {}, expected a finite number >= 0", where, layer.name, steps[row],
                  first + static_cast<Index>(row));
    if (!std::isfinite(shifts[row]) || shifts[row] < -2 * steps[row])
      throw_input("{}: layer '{}' has shift {} at neuron {}, expected a finite number >= {} (-2 steps)", where, layer.name,
                  shifts[row], first + static_cast<Index>(row), -2 * steps[row]);
    alphabets.emplace_back(layer.levels, steps[row], shifts[row]);
  }
  return alphabets;
}

void read_decoded_rows(hid_t file, const QuantizedLayer& layer, Index first, Index count, float* out,
                       const std::string& where, hid_t transfer) {
  const std::string group = "layers/" + layer.name;
  const Index row_size = element_count(layer.shape) / layer.shape.front();
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(count * row_size));
  const hdf5::Handle code_set = hdf5::open_dataset(file, group + "/codes", where);
  read_rows_of(code_set.id(), H5T_NATIVE_UINT8, layer.shape, first, count, codes.data(), where + ":/" + group, transfer);
  const std::vector<quant::Alphabet> alphabets = read_layer_alphabets(file, layer, first, count, where, transfer);
  for (Index row = 0; row < count; ++row) {
    const quant::Alphabet& alphabet = alphabets[static_cast<std::size_t>(row)];
    for (Index i = row * row_size; i < (row + 1) * row_size; ++i) {
      const int code = codes[static_cast<std::size_t>(i)];
      if (code >= layer.levels)
        throw_input("{}: layer '{}' holds code {} at neuron {}, expected less than {}", where, layer.name, code,
                    first + row, layer.levels);
      out[i] = alphabet.value(code);
    }
  }
}

}  // namespace gpfq::store
