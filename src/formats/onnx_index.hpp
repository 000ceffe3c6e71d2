// SPDX-License-Identifier: Apache-2.0
// Who produces which value of an ONNX graph, and which values are constants: initializers and the
// outputs of Constant nodes alike.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "formats/onnx_file.hpp"

namespace gpfq::formats::onnx_reader {

struct GraphIndex {
  std::shared_ptr<const OnnxFile> file;
  std::unordered_map<std::string, const onnx::NodeProto*> producers;
  std::unordered_map<std::string, const onnx::TensorProto*> constants;

  /// The node behind a value when it is one of the given type; null otherwise.
  [[nodiscard]] const onnx::NodeProto* producer(const std::string& value, const std::string& type) const;
  /// The number behind a value when it is a floating-point constant of one element.
  [[nodiscard]] std::optional<double> number(const std::string& value) const;
};

/// Indexes the graph. Constants written as plain attributes become tensors in file->made, and
/// constants take the name of the value they produce.
/// @throws Error (input) when a value is produced twice.
[[nodiscard]] GraphIndex index_graph(const std::shared_ptr<OnnxFile>& file);

/// An activation that a file writes out over several nodes.
struct WrittenOut {
  net::Op op;
  std::string input;
};
/// What ends in `last`: gelu as 0.5 x (1 + erf(x/√2)), softsign as x / (1 + |x|).
[[nodiscard]] std::optional<WrittenOut> written_out_activation(const onnx::NodeProto& last, const GraphIndex& index);

}  // namespace gpfq::formats::onnx_reader
