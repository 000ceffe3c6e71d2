// SPDX-License-Identifier: Apache-2.0
// Parsing of .onnx files. What is not one is told apart from what is damaged.
#include "formats/onnx_file.hpp"

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <google/protobuf/stubs/logging.h>

#include <array>
#include <fstream>
#include <limits>
#include <string_view>
#include <system_error>

#include "gpfq/base/error.hpp"

namespace gpfq::formats::onnx_reader {

namespace {

// Before 7 broadcasting and BatchNormalization had another meaning.
constexpr Index oldest_opset = 7;

void require_readable(const std::filesystem::path& path) {
  std::error_code code;
  const std::filesystem::file_status status = std::filesystem::status(path, code);
  if (status.type() == std::filesystem::file_type::not_found) throw_input("the file does not exist");
  if (code) throw_input("the file cannot be opened: {}", code.message());
  if (status.type() == std::filesystem::file_type::directory) throw_input("this is a folder; expected an .onnx file");
  if (status.type() != std::filesystem::file_type::regular) throw_input("this is not a regular file");
  const auto size = std::filesystem::file_size(path, code);
  if (code) throw_input("the file's size cannot be read: {}", code.message());
  if (size == 0) throw_input("the file is empty; expected an ONNX model");
  if (size > static_cast<std::uintmax_t>(std::numeric_limits<int>::max())) {
    throw_input("the file has {} bytes, more than the 2 GiB a protobuf may have; save its weights as external data",
                size);
  }
}

/// A better guess than "not ONNX" for the files that users confuse with it; empty where there is none.
std::string known_other_kind(std::ifstream& file) {
  std::array<char, 8> start{};
  file.read(start.data(), start.size());
  const std::string_view bytes(start.data(), static_cast<std::size_t>(file.gcount()));
  file.clear();
  file.seekg(0);
  if (bytes == std::string_view("\x89HDF\r\n\x1a\n", 8)) return "an HDF5 file";
  if (bytes.substr(0, 4) == std::string_view("PK\x03\x04", 4)) return "a zip archive (a PyTorch checkpoint is one)";
  return {};
}

bool parse(std::ifstream& file, onnx::ModelProto& model) {
  const google::protobuf::LogSilencer quiet;  // a broken file is an Error here, not lines on stderr
  google::protobuf::io::IstreamInputStream stream(&file);
  google::protobuf::io::CodedInputStream coded(&stream);
  coded.SetTotalBytesLimit(std::numeric_limits<int>::max());
  return model.ParseFromCodedStream(&coded) && coded.ConsumedEntireMessage();
}

}  // namespace

std::shared_ptr<OnnxFile> read_onnx_file(const std::filesystem::path& path) {
  require_readable(path);
  std::ifstream file(path, std::ios::binary);
  if (!file) throw_input("the file cannot be read");
  const std::string other = known_other_kind(file);
  if (!other.empty()) throw_input("this is {}, not an ONNX model", other);
  auto result = std::make_shared<OnnxFile>();
  result->path = path;
  if (!parse(file, result->model)) throw_input("this is not an ONNX model, or it is damaged or truncated");
  // Protobuf accepts much that is no model: unknown fields are skipped, none is compulsory.
  if (result->model.ir_version() < 1 || !result->model.has_graph()) {
    throw_input("this is not an ONNX model: it has no IR version or no graph");
  }
  if (result->model.graph().node_size() == 0) throw_input("the model's graph has no nodes");
  return result;
}

Index standard_opset(const onnx::ModelProto& model) {
  for (const onnx::OperatorSetIdProto& opset : model.opset_import()) {
    if (!opset.domain().empty() && opset.domain() != "ai.onnx") continue;
    if (opset.version() < oldest_opset) {
      throw_input("the model is of opset {}; expected {} or later", opset.version(), oldest_opset);
    }
    return opset.version();
  }
  throw_input("the model names no opset of the standard operators");
}

}  // namespace gpfq::formats::onnx_reader
