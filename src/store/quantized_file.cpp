// SPDX-License-Identifier: Apache-2.0
// The growing result: made by root, filled by all, renamed when it is whole.
#include "gpfq/store/quantized_file.hpp"

#include <algorithm>
#include <exception>
#include <set>
#include <system_error>

#include "gpfq/base/durable.hpp"
#include "store/dataset.hpp"

namespace gpfq::store {
namespace {

void create_layer(hid_t file, const QuantizedLayer& layer, const std::string& where) {
  const std::string group_name = "layers/" + layer.name;
  create_group(file, group_name, where);
  const hdf5::Handle group(H5Gopen2(file, group_name.c_str(), H5P_DEFAULT), H5Gclose);
  hdf5::write_integer_attribute(group.id(), "levels", layer.levels);
  hdf5::write_string_attribute(group.id(), "tensor", layer.tensor);
  hdf5::write_string_attribute(group.id(), "name", layer.source_name);
  static_cast<void>(create_dataset(group.id(), "codes", layer.shape, H5T_STD_U8LE, where));
  static_cast<void>(create_dataset(group.id(), "radius", {layer.shape.front()}, H5T_IEEE_F32LE, where));
  static_cast<void>(create_dataset(group.id(), "step", {layer.shape.front()}, H5T_IEEE_F32LE, where));
  if (layer.is_shifted)
    static_cast<void>(create_dataset(group.id(), "shift", {layer.shape.front()}, H5T_IEEE_F32LE, where));
}

void create_serially(const std::filesystem::path& path, const ModelFile& source,
                     const std::vector<QuantizedLayer>& layers) {
  hdf5::Handle file = create_model_file(path, source.graph());
  std::set<std::string> coded;
  for (const QuantizedLayer& layer : layers) {
    create_layer(file.id(), layer, path.string());
    coded.insert(layer.tensor);
  }
  for (const auto& [name, shape] : source.graph().tensors) {
    if (coded.count(name) != 0) continue;
    const net::TensorSource tensor{
        shape, [&source, &tensor_name = name](Index first, Index count, float* out) {
          source.read_rows(tensor_name, first, count, out);
        }};
    copy_tensor(file.id(), name, tensor, path.string());
  }
  hdf5::close(file, ErrorKind::output, "writing " + path.string());
}

struct FileBox {
  Shape start;
  Shape count;
};

/// Where a box of codes lies in a dataset of `shape`: neurons first, then inputs, of whose extents the first is cut.
FileBox file_box(const Shape& shape, const CodeBox& box) {
  FileBox result{Shape(shape.size(), 0), shape};
  result.start.front() = box.first_neuron;
  result.count.front() = box.neurons;
  if (shape.size() > 1) {
    const Index row = element_count(shape) / shape.front();
    const Index unit = row / shape[1];  // a channel's kernel
    require(box.first_input % unit == 0 && box.inputs % unit == 0, "QuantizedFile: a box of whole kernels");
    result.start[1] = box.first_input / unit;
    result.count[1] = box.inputs / unit;
  }
  return result;
}

}  // namespace

QuantizedFile::QuantizedFile(const mpi::Communicator& comm, std::filesystem::path path, const ModelFile& source,
                             std::vector<QuantizedLayer> layers)
    : comm_(comm),
      path_(std::move(path)),
      partial_path_(path_.string() + ".partial"),
      graph_(source.graph()),
      layers_(std::move(layers)) {
  comm_.agree([&] {
    if (comm_.is_root()) create_serially(partial_path_, source, layers_);
  });
  file_ = ParallelFile(comm_, partial_path_, OpenMode::read_write);
}

QuantizedFile::QuantizedFile(const mpi::Communicator& comm, std::filesystem::path path, const net::Graph& graph,
                             std::vector<QuantizedLayer> layers, const FileFrame& frame)
    : comm_(comm),
      path_(std::move(path)),
      partial_path_(path_.string() + ".partial"),
      graph_(graph),
      layers_(std::move(layers)) {
  comm_.agree([&] {
    if (!comm_.is_root()) return;
    std::error_code ignored;  // stopped between its renaming and the end of the run
    if (!std::filesystem::exists(partial_path_, ignored) && std::filesystem::exists(path_, ignored))
      std::filesystem::rename(path_, partial_path_, ignored);
    check_frame(partial_path_, frame);
  });
  file_ = ParallelFile(comm_, partial_path_, OpenMode::read_write);
}

FileFrame QuantizedFile::frame() const {
  std::vector<FileRange> holes;
  for (const QuantizedLayer& layer : layers_) {
    std::vector<std::string> written;
    for (const char* name : {"/codes", "/radius", "/step"}) written.push_back("layers/" + layer.name + name);
    if (layer.is_shifted) written.push_back("layers/" + layer.name + "/shift");
    if (!layer.corrected_bias.empty()) written.push_back("tensors/" + layer.corrected_bias);
    for (const std::string& name : written)
      holes.push_back(range_of(hdf5::open_dataset(file_.id(), name, partial_path_.string()).id()));
  }
  return take_frame(partial_path_, std::move(holes));
}

const QuantizedLayer& QuantizedFile::layer(const std::string& name) const {
  const auto found =
      std::find_if(layers_.begin(), layers_.end(), [&](const QuantizedLayer& layer) { return layer.name == name; });
  if (found == layers_.end()) throw_fault("QuantizedFile: no layer '{}'", name);
  return *found;
}

void QuantizedFile::write_codes(const std::string& name, const CodeBox& box, const std::uint8_t* codes) {
  const std::string where = partial_path_.string();
  const hdf5::Handle dataset = hdf5::open_dataset(file_.id(), "layers/" + name + "/codes", where);
  const FileBox target = file_box(layer(name).shape, box);
  hdf5::write_box(dataset.id(), H5T_NATIVE_UINT8, target.start, target.count, codes, where + ":/layers/" + name,
                  independent_transfer().id());
}

void QuantizedFile::write_alphabets(const std::string& name, Index first_neuron, std::span<const float> radius,
                                    std::span<const float> step) {
  const std::string where = partial_path_.string();
  const hdf5::Handle transfer = independent_transfer();
  const Index count = static_cast<Index>(step.size());
  const hdf5::Handle radius_set = hdf5::open_dataset(file_.id(), "layers/" + name + "/radius", where);
  const hdf5::Handle step_set = hdf5::open_dataset(file_.id(), "layers/" + name + "/step", where);
  hdf5::write_box(radius_set.id(), H5T_NATIVE_FLOAT, {first_neuron}, {count}, radius.data(), where, transfer.id());
  hdf5::write_box(step_set.id(), H5T_NATIVE_FLOAT, {first_neuron}, {count}, step.data(), where, transfer.id());
  const QuantizedLayer& described = layer(name);
  if (!described.is_shifted) return;
  std::vector<float> shift;
  for (const float each : step) shift.push_back(quant::Alphabet::from_step(described.levels, each, described.threshold_steps).shift());
  const hdf5::Handle shift_set = hdf5::open_dataset(file_.id(), "layers/" + name + "/shift", where);
  hdf5::write_box(shift_set.id(), H5T_NATIVE_FLOAT, {first_neuron}, {count}, shift.data(), where, transfer.id());
}

void QuantizedFile::write_vector(const std::string& tensor, Index first, std::span<const float> values) {
  const std::string where = partial_path_.string();
  const hdf5::Handle dataset = hdf5::open_dataset(file_.id(), "tensors/" + tensor, where);
  hdf5::write_box(dataset.id(), H5T_NATIVE_FLOAT, {first}, {static_cast<Index>(values.size())}, values.data(),
                  where + ":/tensors/" + tensor, independent_transfer().id());
}

void QuantizedFile::flush() {
  file_.flush(comm_);
  comm_.barrier();
}

void QuantizedFile::read_rows(const std::string& tensor, Index first, Index count, float* out) const {
  const hdf5::Handle transfer = independent_transfer();
  for (const QuantizedLayer& candidate : layers_)
    if (candidate.tensor == tensor)
      return read_decoded_rows(file_.id(), candidate, first, count, out, partial_path_.string(), transfer.id());
  read_tensor_rows(file_.id(), tensor, graph_.tensor_shape(tensor), first, count, out, partial_path_.string(),
                   transfer.id());
}

void QuantizedFile::read_codes(const std::string& name, const CodeBox& box, std::uint8_t* codes) const {
  const std::string where = partial_path_.string();
  const hdf5::Handle dataset = hdf5::open_dataset(file_.id(), "layers/" + name + "/codes", where);
  const FileBox source = file_box(layer(name).shape, box);
  hdf5::read_box(dataset.id(), H5T_NATIVE_UINT8, source.start, source.count, codes, where + ":/layers/" + name,
                 independent_transfer().id());
}

std::vector<quant::Alphabet> QuantizedFile::read_alphabets(const std::string& name, Index first_neuron, Index count) const {
  return read_layer_alphabets(file_.id(), layer(name), first_neuron, count, partial_path_.string(),
                              independent_transfer().id());
}

void QuantizedFile::finish() {
  file_.flush(comm_);
  file_.close(comm_);
  comm_.agree([&] {
    if (comm_.is_root()) rename_durably(partial_path_, path_);
  });
}

}  // namespace gpfq::store
