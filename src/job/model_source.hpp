// SPDX-License-Identifier: Apache-2.0
// A model named by the user: native, Keras or ONNX.
#pragma once

#include <filesystem>
#include <optional>

#include "gpfq/net/tensor_source.hpp"
#include "gpfq/store/model_file.hpp"

namespace gpfq::job {

/// The imported network, or nothing where `path` is a native model already.
/// @throws Error (input) when it is none of the three.
[[nodiscard]] std::optional<net::Model> import_unless_native(const std::filesystem::path& path);

/// A native model as one to read from; `file` must outlive it.
[[nodiscard]] net::Model as_model(const store::ModelFile& file);

}  // namespace gpfq::job
