// SPDX-License-Identifier: Apache-2.0
// Which importer a file is for: by content where it is HDF5, by extension for ONNX.
#include "job/model_source.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "gpfq/base/error.hpp"
#include "gpfq/base/system.hpp"
#include "gpfq/formats/import.hpp"
#include "gpfq/job/job.hpp"
#include "gpfq/store/model_file.hpp"

namespace gpfq::job {

std::optional<net::Model> import_unless_native(const std::filesystem::path& path) {
  std::error_code code;
  if (!std::filesystem::exists(path, code)) throw_input("model: {} does not exist", path.string());
  if (std::filesystem::is_directory(path, code)) throw_input("model: {} is a folder, expected a file", path.string());
  if (path.extension() == ".onnx") return formats::import_onnx(path);
  if (hdf5::is_hdf5(path)) {
    hdf5::check_heaps(path);
    if (store::is_model_file(path)) return std::nullopt;
    if (formats::is_keras_file(path)) return formats::import_keras(path);
    throw_input("model: {} is HDF5, but neither a native model nor a Keras whole-model file", path.string());
  }
  throw_input("model: {} is not a model: expected .onnx, a Keras whole-model .h5 or a native .h5", path.string());
}

net::Model as_model(const store::ModelFile& file) {
  net::Model model;
  model.graph = file.graph();
  for (const auto& [name, shape] : file.graph().tensors)
    model.tensors[name] = {shape, [&file, tensor = name](Index first, Index count, float* out) {
                             file.read_rows(tensor, first, count, out);
                           }};
  return model;
}

std::string import_model(const std::filesystem::path& from, const std::filesystem::path& to) {
  const std::optional<net::Model> model = import_unless_native(from);
  if (!model) throw_input("{} is a native model already", from.string());
  store::write_model(to, *model);
  const auto layers = std::count_if(model->graph.nodes.begin(), model->graph.nodes.end(),
                                    [](const net::Node& node) { return net::is_linear(node.op); });
  return fmt::format("{}: {} nodes, {} layers to quantize, written to {}\n", from.string(), model->graph.nodes.size(),
                     layers, to.string());
}

}  // namespace gpfq::job
