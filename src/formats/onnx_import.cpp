// SPDX-License-Identifier: Apache-2.0
// The entrance to the ONNX importer; it alone adds the file to messages of what goes wrong inside.
#include "formats/onnx_translator.hpp"
#include "gpfq/base/error.hpp"
#include "gpfq/formats/import.hpp"

namespace gpfq::formats {

bool has_onnx() { return true; }

net::Model import_onnx(const std::filesystem::path& path) {
  try {
    const std::shared_ptr<onnx_reader::OnnxFile> file = onnx_reader::read_onnx_file(path);
    net::Model model = onnx_reader::Translator(file).run();
    model.other_files = file->external_files;
    return model;
  } catch (const Error& error) {
    const std::string message = error.what();
    if (message.find(path.string()) != std::string::npos) throw;
    throw Error(error.kind(), fmt::format("ONNX model '{}': {}", path.string(), message));
  }
}

}  // namespace gpfq::formats
