// SPDX-License-Identifier: Apache-2.0
// The weights of a Keras file by layer and role, read from the open file as they are asked for.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "gpfq/hdf5/handle.hpp"
#include "gpfq/net/tensor_source.hpp"

namespace gpfq::formats::keras_reader {

class WeightFile {
 public:
  /// @throws Error (input): not readable, no HDF5, not a whole Keras model.
  explicit WeightFile(const std::filesystem::path& path);

  [[nodiscard]] const std::string& model_config() const { return model_config_; }
  /// 1, 2 or 3; 2 where the file does not say.
  [[nodiscard]] int keras_version() const { return keras_version_; }

  /// The [inputs, outputs] matrix of `role` ("kernel") as rows per output. @throws Error (input).
  [[nodiscard]] net::TensorSource transposed_matrix(const std::string& layer, const std::string& role) const;
  /// The [kh, kw, inputs, outputs] kernel `role` of a convolution as [outputs, inputs, kh, kw]. @throws Error (input).
  [[nodiscard]] net::TensorSource convolution_kernel(const std::string& layer, const std::string& role) const;
  /// The [kh, kw, channels, multiplier] kernel of a depthwise convolution as [channels · multiplier, 1, kh, kw]:
  /// filter c · multiplier + m reads channel c.
  [[nodiscard]] net::TensorSource depthwise_kernel(const std::string& layer, const std::string& role) const;
  /// True when the layer lists a weight of that role.
  [[nodiscard]] bool has(const std::string& layer, const std::string& role) const;
  /// A vector, read now and checked to have `size` values.
  [[nodiscard]] std::vector<float> vector(const std::string& layer, const std::string& role, Index size) const;

 private:
  struct Dataset;
  [[nodiscard]] std::vector<std::string> weight_names(const std::string& layer_group) const;
  [[nodiscard]] std::shared_ptr<const Dataset> open(const std::string& layer, const std::string& role,
                                                    std::size_t rank) const;

  std::string path_;
  std::shared_ptr<hdf5::Handle> file_;
  std::string weights_group_;  ///< "/model_weights"
  std::string model_config_;
  int keras_version_ = 2;
};

}  // namespace gpfq::formats::keras_reader
