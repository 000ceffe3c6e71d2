// SPDX-License-Identifier: Apache-2.0
// The native model file: graph, float tensors, and for quantized layers codes with their alphabets.
// One reader serves float and quantized models.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gpfq/base/aligned_buffer.hpp"
#include "gpfq/hdf5/handle.hpp"
#include "gpfq/net/propagate.hpp"
#include "gpfq/net/tensor_source.hpp"
#include "gpfq/quant/alphabet.hpp"

namespace gpfq::store {

/// Layout of the file (HDF5):
///   /            attributes format = "gpfq-model", version = 1, graph = JSON text
///   /tensors/T   float32 parameters by name
///   /layers/L    quantized layers: codes uint8 (neurons × inputs), radius, step and, where levels are not equispaced,
///                shift float32 per neuron (quant::Alphabet); attributes levels, tensor (the weight that the codes
///                stand for), name (in the source)
inline constexpr const char* model_format = "gpfq-model";
inline constexpr Index model_version = 1;

/// A quantized layer as the file describes it.
struct QuantizedLayer {
  std::string name;
  std::string source_name;
  std::string tensor;
  int levels = 0;
  Shape shape;  ///< of the codes, neurons first
  std::string corrected_bias = {};  ///< a tensor that write_vector() changes; empty: none
  bool is_shifted = false;          ///< has a dataset shift
  double threshold_steps = 0;       ///< of a shifted one in the making: λ in steps
};

/// True when `path` is a native model file.
[[nodiscard]] bool is_model_file(const std::filesystem::path& path);

/// Writes a float model beside `path` and renames it. Streams weights by rows.
/// @throws Error (input) when the file cannot be written or a weight is not finite.
void write_model(const std::filesystem::path& path, const net::Model& model);

/// A native model, open for reading. Each process opens it for itself (reads are independent).
class ModelFile : public net::Parameters {
 public:
  /// @throws Error (input): not a native model, or damaged (every tensor's presence and shape is checked).
  explicit ModelFile(const std::filesystem::path& path);

  [[nodiscard]] const net::Graph& graph() const { return graph_; }
  [[nodiscard]] const std::vector<QuantizedLayer>& quantized_layers() const { return layers_; }
  /// Float rows; codes of quantized layers are decoded.
  void read_rows(const std::string& tensor, Index first, Index count, float* out) const override;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  hdf5::Handle file_;
  hdf5::FileStamp stamp_;
  net::Graph graph_;
  std::vector<QuantizedLayer> layers_;
  std::map<std::string, std::size_t> layer_of_tensor_;
};

/// Reads rows of a float tensor, alphabets of a quantized layer's neurons, or decodes rows of it, from an open file.
void read_tensor_rows(hid_t file, const std::string& tensor, const Shape& shape, Index first, Index count, float* out,
                      const std::string& where, hid_t transfer = H5P_DEFAULT);
[[nodiscard]] std::vector<quant::Alphabet> read_layer_alphabets(hid_t file, const QuantizedLayer& layer, Index first,
                                                                Index count, const std::string& where,
                                                                hid_t transfer = H5P_DEFAULT);
void read_decoded_rows(hid_t file, const QuantizedLayer& layer, Index first, Index count, float* out,
                       const std::string& where, hid_t transfer = H5P_DEFAULT);

}  // namespace gpfq::store
