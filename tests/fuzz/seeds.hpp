// SPDX-License-Identifier: Apache-2.0
// Small valid files of every kind, made when they are needed: nothing binary lies in the sources.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace gpfq::fuzz {

// Each writes into `folder` what its inputs refer to and returns the inputs.
[[nodiscard]] std::vector<std::string> onnx_seeds(const std::filesystem::path& folder);
[[nodiscard]] std::vector<std::string> keras_seeds(const std::filesystem::path& folder);
[[nodiscard]] std::vector<std::string> keras_config_seeds(const std::filesystem::path& folder);
[[nodiscard]] std::vector<std::string> native_seeds(const std::filesystem::path& folder);
[[nodiscard]] std::vector<std::string> graph_seeds(const std::filesystem::path& folder);
[[nodiscard]] std::vector<std::string> dataset_seeds(const std::filesystem::path& folder);
[[nodiscard]] std::vector<std::string> safetensors_seeds(const std::filesystem::path& folder);
[[nodiscard]] std::vector<std::string> npy_seeds(const std::filesystem::path& folder);
[[nodiscard]] std::vector<std::string> config_seeds(const std::filesystem::path& folder);
[[nodiscard]] std::vector<std::string> checkpoint_seeds(const std::filesystem::path& folder);
[[nodiscard]] std::vector<std::string> archive_seeds(const std::filesystem::path& folder);  ///< without their headers

/// Files whose one attribute the importers of texts replace: a Keras model, and a native one.
inline constexpr const char* keras_base = "keras_base.h5";
inline constexpr const char* native_base = "native_base.h5";
void set_attribute(const std::filesystem::path& file, const std::string& name, const std::string& text);

}  // namespace gpfq::fuzz
