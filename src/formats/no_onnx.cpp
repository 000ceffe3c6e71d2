// SPDX-License-Identifier: Apache-2.0
// Stands in for the ONNX importer in builds without ONNX and protobuf, so that the rest of the
// program needs no conditions.
#include "gpfq/base/error.hpp"
#include "gpfq/formats/import.hpp"

namespace gpfq::formats {

bool has_onnx() { return false; }

net::Model import_onnx(const std::filesystem::path& path) {
  throw_input("'{}' cannot be read: this gpfq was built without ONNX (configure with -DGPFQ_ONNX=ON)", path.string());
}

}  // namespace gpfq::formats
