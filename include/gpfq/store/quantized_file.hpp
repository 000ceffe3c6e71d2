// SPDX-License-Identifier: Apache-2.0
// The result while it grows: a model file that all ranks hold open and write their shards of codes to.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "gpfq/mpi/communicator.hpp"
#include "gpfq/store/file_frame.hpp"
#include "gpfq/store/model_file.hpp"
#include "gpfq/store/parallel_file.hpp"

namespace gpfq::store {

/// A part of a layer's codes.
struct CodeBox {
  Index first_neuron = 0;
  Index neurons = 0;
  Index first_input = 0;
  Index inputs = 0;
};

/// A quantized model in the making, `<final name>.partial` until finish() renames it.
class QuantizedFile : public net::Parameters {
 public:
  /// Root copies graph and the tensors that stay float from `source`; then all ranks open the file. Collective.
  QuantizedFile(const mpi::Communicator& comm, std::filesystem::path path, const ModelFile& source,
                std::vector<QuantizedLayer> layers);

  /// Goes on with the file that an earlier run left unfinished, with its `frame`. Collective.
  /// @throws Error (input) naming a file that is missing, truncated or damaged.
  QuantizedFile(const mpi::Communicator& comm, std::filesystem::path path, const net::Graph& graph,
                std::vector<QuantizedLayer> layers, const FileFrame& frame);

  /// Some inputs of some neurons' codes (neurons × inputs, packed). The inputs are whole rows, or whole kernels of
  /// neighbouring channels. Independent.
  void write_codes(const std::string& layer, const CodeBox& box, const std::uint8_t* codes);
  /// Radius, step and what follows from it, of this rank's neurons. Independent.
  void write_alphabets(const std::string& layer, Index first_neuron, std::span<const float> radius,
                       std::span<const float> step);
  /// Some values of a vector that stays float, in place of the model's. Independent.
  void write_vector(const std::string& tensor, Index first, std::span<const float> values);
  /// Makes what all ranks wrote readable by all. Collective.
  void flush();
  /// Decoded codes of quantized layers, float tensors otherwise. Independent; after flush().
  void read_rows(const std::string& tensor, Index first, Index count, float* out) const override;
  /// Codes of a layer as stored. Independent; after flush().
  void read_codes(const std::string& layer, const CodeBox& box, std::uint8_t* codes) const;
  /// Alphabets of a layer's neurons. Independent; after flush().
  [[nodiscard]] std::vector<quant::Alphabet> read_alphabets(const std::string& layer, Index first_neuron, Index count) const;
  /// What of the file must not change while codes and alphabets are written; on root, after flush().
  [[nodiscard]] FileFrame frame() const;
  /// Closes and renames to the final name. Collective.
  void finish();

  [[nodiscard]] const std::vector<QuantizedLayer>& layers() const { return layers_; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  [[nodiscard]] const QuantizedLayer& layer(const std::string& name) const;

  const mpi::Communicator& comm_;
  std::filesystem::path path_;
  std::filesystem::path partial_path_;
  net::Graph graph_;
  std::vector<QuantizedLayer> layers_;
  ParallelFile file_;
};

}  // namespace gpfq::store
