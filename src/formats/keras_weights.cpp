// SPDX-License-Identifier: Apache-2.0
// Where Keras puts weights: /model_weights/<layer>/ with an attribute `weight_names` that lists the
// datasets below it, as "dense/kernel:0" (Keras 2) or "sequential/dense/kernel" (Keras 3).
#include "formats/keras_weights.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "formats/float_check.hpp"
#include "gpfq/base/error.hpp"

namespace gpfq::formats::keras_reader {

namespace {

constexpr Index strip_values = Index{1} << 18;  // of a kernel, read at a time beside the caller's memory

/// "sequential/dense/kernel:0" -> "kernel".
std::string role_of(const std::string& weight_name) {
  std::string role = weight_name.substr(weight_name.find_last_of('/') + 1);
  role.erase(std::min(role.find(':'), role.size()));
  return role;
}

std::string read_model_config(hid_t file, const std::string& where) {
  if (hdf5::has_attribute(file, "model_config")) return hdf5::read_string_attribute(file, "model_config", where);
  if (hdf5::has_attribute(file, "layer_names") || hdf5::has_attribute(file, "layer_names0")) {
    throw_input("{}: this file holds weights only, not the model; save the whole model (model.save)", where);
  }
  throw_input("{}: this HDF5 file has no attribute 'model_config'; expected a Keras model", where);
}

}  // namespace

struct WeightFile::Dataset {
  std::shared_ptr<hdf5::Handle> file;  ///< closed after the dataset
  hdf5::Handle dataset;
  std::string name;
  std::string where;
  Shape shape;

  void read(const Shape& start, const Shape& count, float* out) const {
    hdf5::read_box(dataset.id(), H5T_NATIVE_FLOAT, start, count, out, fmt::format("{}: dataset '{}'", where, name));
  }
};

WeightFile::WeightFile(const std::filesystem::path& path)
    : path_(path.string()), file_(std::make_shared<hdf5::Handle>(hdf5::open_file(path))) {
  model_config_ = read_model_config(file_->id(), path_);
  if (hdf5::has_attribute(file_->id(), "keras_version")) {
    const std::string version = hdf5::read_string_attribute(file_->id(), "keras_version", path_);
    const bool has_major = version.size() > 1 && version[0] >= '1' && version[0] <= '9' && version[1] == '.';
    if (!has_major) throw_input("{}: 'keras_version' is '{}'; expected such as 2.15.0", path_, version);
    keras_version_ = version[0] - '0';
  }
  weights_group_ = hdf5::link_exists(file_->id(), "model_weights") ? "/model_weights" : "";
}

std::vector<std::string> WeightFile::weight_names(const std::string& layer_group) const {
  const hdf5::Handle group = hdf5::open_group(file_->id(), layer_group, path_);
  const std::string where = fmt::format("{}:{}", path_, layer_group);
  if (hdf5::has_attribute(group.id(), "weight_names")) {
    return hdf5::read_string_list_attribute(group.id(), "weight_names", where);
  }
  // A list too long for one attribute is split over weight_names0, weight_names1, ...
  std::vector<std::string> names;
  for (int part = 0; hdf5::has_attribute(group.id(), fmt::format("weight_names{}", part)); ++part) {
    for (std::string& name : hdf5::read_string_list_attribute(group.id(), fmt::format("weight_names{}", part), where)) {
      names.push_back(std::move(name));
    }
  }
  return names;
}

std::shared_ptr<const WeightFile::Dataset> WeightFile::open(const std::string& layer, const std::string& role,
                                                            std::size_t rank) const {
  const std::string group = fmt::format("{}/{}", weights_group_, layer);
  const std::vector<std::string> names = weight_names(group);
  const auto name = std::find_if(names.begin(), names.end(), [&](const auto& n) { return role_of(n) == role; });
  if (name == names.end()) {
    throw_input("{}: layer '{}' has no weight '{}'; it lists [{}]", path_, layer, role, fmt::join(names, ", "));
  }
  auto result = std::make_shared<Dataset>();
  result->file = file_;
  result->name = fmt::format("{}/{}", group, *name);
  result->where = path_;
  result->dataset = hdf5::open_dataset(file_->id(), result->name, path_);
  const hdf5::DatasetInfo info = hdf5::dataset_info(result->dataset.id(), path_);
  result->shape = info.shape;
  if (info.type_class != H5T_FLOAT || info.shape.size() != rank || element_count(info.shape) == 0) {
    throw_input("{}: dataset '{}' is {} of shape {}; expected floating-point values in {} dimensions", path_,
                result->name, info.type_class == H5T_FLOAT ? "floating-point" : "of another type",
                to_string(info.shape), rank);
  }
  hdf5::require_numbers(result->dataset.id(), info, fmt::format("{}: dataset '{}'", path_, result->name));
  return result;
}

net::TensorSource WeightFile::transposed_matrix(const std::string& layer, const std::string& role) const {
  const std::shared_ptr<const Dataset> from = open(layer, role, 2);
  const Index inputs = from->shape[0];
  const Index outputs = from->shape[1];
  return {{outputs, inputs}, [from, inputs, outputs](Index first, Index count, float* out) {
            require(first >= 0 && count >= 0 && first + count <= outputs, "tensor source: rows out of range");
            if (count == 0) return;
            const Index strip_rows = std::clamp<Index>(strip_values / count, 1, inputs);
            std::vector<float> strip(static_cast<std::size_t>(strip_rows * count));
            for (Index k = 0; k < inputs; k += strip_rows) {
              const Index rows = std::min(strip_rows, inputs - k);
              from->read({k, first}, {rows, count}, strip.data());
              for (Index i = 0; i < rows; ++i) {
                const float* row = strip.data() + i * count;
                for (Index r = 0; r < count; ++r) out[r * inputs + k + i] = row[r];
                // The row is contiguous in the dataset, so that a bad value is named by its place there.
                require_finite({row, static_cast<std::size_t>(count)}, (k + i) * outputs + first, from->shape,
                               from->name, from->where);
              }
            }
          }};
}

net::TensorSource WeightFile::convolution_kernel(const std::string& layer, const std::string& role) const {
  const std::shared_ptr<const Dataset> from = open(layer, role, 4);
  const Index height = from->shape[0];
  const Index width = from->shape[1];
  const Index inputs = from->shape[2];
  const Index outputs = from->shape[3];
  return {{outputs, inputs, height, width}, [=](Index first, Index count, float* out) {
            require(first >= 0 && count >= 0 && first + count <= outputs, "tensor source: rows out of range");
            if (count == 0) return;
            const Index positions = height * width;
            const Index strip_inputs = std::clamp<Index>(strip_values / count, 1, inputs);
            std::vector<float> strip(static_cast<std::size_t>(strip_inputs * count));
            for (Index position = 0; position < positions; ++position) {
              for (Index c = 0; c < inputs; c += strip_inputs) {
                const Index rows = std::min(strip_inputs, inputs - c);
                from->read({position / width, position % width, c, first}, {1, 1, rows, count}, strip.data());
                for (Index i = 0; i < rows; ++i) {
                  const float* row = strip.data() + i * count;
                  for (Index r = 0; r < count; ++r) out[(r * inputs + c + i) * positions + position] = row[r];
                  require_finite({row, static_cast<std::size_t>(count)}, (position * inputs + c + i) * outputs + first,
                                 from->shape, from->name, from->where);
                }
              }
            }
          }};
}

net::TensorSource WeightFile::depthwise_kernel(const std::string& layer, const std::string& role) const {
  const std::shared_ptr<const Dataset> from = open(layer, role, 4);
  const Index height = from->shape[0];
  const Index width = from->shape[1];
  const Index multiplier = from->shape[3];
  const Index filters = element_count({from->shape[2], multiplier});
  return {{filters, 1, height, width}, [=](Index first, Index count, float* out) {
            require(first >= 0 && count >= 0 && first + count <= filters, "tensor source: rows out of range");
            if (count == 0) return;
            const Index positions = height * width;
            const Index channel = first / multiplier;
            const Index channels = ceil_div(first + count, multiplier) - channel;
            std::vector<float> strip(static_cast<std::size_t>(channels * multiplier));
            const float* rows = strip.data() + (first - channel * multiplier);
            for (Index position = 0; position < positions; ++position) {
              from->read({position / width, position % width, channel, 0}, {1, 1, channels, multiplier}, strip.data());
              for (Index r = 0; r < count; ++r) out[r * positions + position] = rows[r];
              require_finite({rows, static_cast<std::size_t>(count)}, position * filters + first, from->shape,
                             from->name, from->where);
            }
          }};
}

bool WeightFile::has(const std::string& layer, const std::string& role) const {
  const std::vector<std::string> names = weight_names(fmt::format("{}/{}", weights_group_, layer));
  return std::any_of(names.begin(), names.end(), [&](const auto& name) { return role_of(name) == role; });
}

std::vector<float> WeightFile::vector(const std::string& layer, const std::string& role, Index size) const {
  const std::shared_ptr<const Dataset> from = open(layer, role, 1);
  if (from->shape.front() != size) {
    throw_input("{}: dataset '{}' has {} values; expected {}", path_, from->name, from->shape.front(), size);
  }
  std::vector<float> values(static_cast<std::size_t>(size));
  from->read({0}, {size}, values.data());
  require_finite(values, 0, from->shape, from->name, from->where);
  return values;
}

}  // namespace gpfq::formats::keras_reader
