// SPDX-License-Identifier: Apache-2.0
// What is in a file, for people.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "gpfq/base/error.hpp"
#include "gpfq/base/text.hpp"
#include "gpfq/hdf5/handle.hpp"
#include "gpfq/job/job.hpp"
#include "gpfq/store/model_file.hpp"
#include "job/checkpoint.hpp"
#include "job/model_source.hpp"

namespace gpfq::job {
namespace {

std::string graph_table(const net::Graph& graph, const std::vector<store::QuantizedLayer>& layers) {
  std::size_t width = 4;
  for (const net::Node& node : graph.nodes) width = std::max(width, node.name.size());
  std::string text = fmt::format("{:<{}}  {:<12}  {:>14}  parameters\n", "node", width, "operator", "output");
  Index parameters = 0;
  for (const net::Node& node : graph.nodes) {
    std::string list;
    for (const auto& [role, tensor] : node.parameters) {
      const auto quantized = std::find_if(layers.begin(), layers.end(),
                                          [&, &name = tensor](const auto& layer) { return layer.tensor == name; });
      list += fmt::format("{}{} {}{}", list.empty() ? "" : ", ", role, to_string(graph.tensor_shape(tensor)),
                          quantized == layers.end() ? "" : fmt::format(" ({} levels{})", quantized->levels, quantized->is_shifted ? ", shifted" : ""));
      parameters += element_count(graph.tensor_shape(tensor));
    }
    text += fmt::format("{:<{}}  {:<12}  {:>14}  {}\n", node.name, width, net::op_name(node.op), to_string(node.shape), list);
  }
  return text + fmt::format("{} parameters, {} as float32; {} quantized layers\n", parameters,
                            format_bytes(parameters * 4), layers.size());
}

/// Every dataset below a group with its shape, for files that are not models.
std::string dataset_table(hid_t file, const std::string& group, const std::string& where, int depth) {
  constexpr int deepest = 16;
  std::string text;
  for (const std::string& name : hdf5::link_names(file, group)) {
    const std::string full = group == "/" ? "/" + name : group + "/" + name;
    H5O_info_t info;
    if (!hdf5::link_exists(file, full) || H5Oget_info_by_name2(file, full.c_str(), &info, H5O_INFO_BASIC, H5P_DEFAULT) < 0)
      continue;
    if (info.type == H5O_TYPE_GROUP && depth < deepest) text += dataset_table(file, full, where, depth + 1);
    if (info.type != H5O_TYPE_DATASET) continue;
    const hdf5::Handle dataset = hdf5::open_dataset(file, full, where);
    const hdf5::DatasetInfo header = hdf5::dataset_info(dataset.id(), where);
    const char* kind = header.type_class == H5T_INTEGER ? "integer" : header.type_class == H5T_FLOAT ? "float" : "other";
    text += fmt::format("{:<40}  {:>20}  {}{}\n", full, to_string(header.shape), kind, 8 * header.element_bytes);
  }
  return text;
}

std::string contents(const std::filesystem::path& path) {
  if (is_checkpoint(path)) return fmt::format("{}: {}", path.string(), describe(read_checkpoint(path)));
  const bool is_hdf5 = hdf5::is_hdf5(path);
  if (is_hdf5) hdf5::check_heaps(path);
  if (is_hdf5 && store::is_model_file(path)) {
    const store::ModelFile model(path);
    return fmt::format("{}: gpfq {} model\n", path.string(), model.quantized_layers().empty() ? "float" : "quantized") +
           graph_table(model.graph(), model.quantized_layers());
  }
  if (is_hdf5) {
    const hdf5::Handle file = hdf5::open_file(path);
    if (!hdf5::has_attribute(file.id(), "model_config"))
      return fmt::format("{}: HDF5 file\n{}", path.string(), dataset_table(file.id(), "/", path.string(), 0));
  }
  const std::optional<net::Model> model = import_unless_native(path);
  return fmt::format("{}: model to import\n{}", path.string(), graph_table(model->graph, {}));
}

}  // namespace

std::string inspect(const std::filesystem::path& path) { return printable(contents(path)); }

}  // namespace gpfq::job
