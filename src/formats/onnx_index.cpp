// SPDX-License-Identifier: Apache-2.0
// Indexing of an ONNX graph, and the patterns that are recognized before the walk: activations that
// exporters write out over several nodes, such as GELU before opset 20.
#include "formats/onnx_index.hpp"

#include <array>
#include <cmath>
#include <numbers>
#include <utility>

#include "gpfq/base/error.hpp"

namespace gpfq::formats::onnx_reader {

namespace {

onnx::TensorProto& make_tensor(OnnxFile& file, onnx::TensorProto::DataType type) {
  onnx::TensorProto& tensor = file.made.emplace_back();
  tensor.set_data_type(type);
  return tensor;
}

/// The tensor of a Constant node, whichever attribute holds it; null for strings and sparse tensors.
onnx::TensorProto* constant_tensor(OnnxFile& file, onnx::NodeProto& node) {
  for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
    const std::string& name = attribute.name();
    if (name == "value" && attribute.has_t()) return attribute.mutable_t();
    if (name == "value_float" || name == "value_floats") {
      onnx::TensorProto& tensor = make_tensor(file, onnx::TensorProto::FLOAT);
      if (name == "value_float") tensor.add_float_data(attribute.f());
      if (name == "value_floats") {
        tensor.add_dims(attribute.floats_size());
        tensor.mutable_float_data()->CopyFrom(attribute.floats());
      }
      return &tensor;
    }
    if (name == "value_int" || name == "value_ints") {
      onnx::TensorProto& tensor = make_tensor(file, onnx::TensorProto::INT64);
      if (name == "value_int") tensor.add_int64_data(attribute.i());
      if (name == "value_ints") {
        tensor.add_dims(attribute.ints_size());
        tensor.mutable_int64_data()->CopyFrom(attribute.ints());
      }
      return &tensor;
    }
  }
  return nullptr;
}

/// Equal up to what float16 leaves of a constant such as √2.
bool is_about(std::optional<double> value, double expected) {
  return value.has_value() && std::abs(*value - expected) < 1e-3 * std::abs(expected);
}

/// The term beside the 1 in an Add of 1 and something; null where `value` is no such sum.
const std::string* term_beside_one(const std::string& value, const GraphIndex& index) {
  const onnx::NodeProto* add = index.producer(value, "Add");
  if (add == nullptr || add->input_size() != 2) return nullptr;
  for (const int i : {0, 1}) {
    if (is_about(index.number(add->input(i)), 1.0)) return &add->input(1 - i);
  }
  return nullptr;
}

/// The x of 1 + erf(x/√2), written as Add(Erf(Div(x, √2)), 1) or Add(Erf(Mul(x, 1/√2)), 1).
std::optional<std::string> shifted_erf_input(const std::string& value, const GraphIndex& index) {
  const std::string* term = term_beside_one(value, index);
  const onnx::NodeProto* erf = term == nullptr ? nullptr : index.producer(*term, "Erf");
  if (erf == nullptr || erf->input_size() != 1) return std::nullopt;
  const onnx::NodeProto* quotient = index.producer(erf->input(0), "Div");
  if (quotient != nullptr && quotient->input_size() == 2 &&
      is_about(index.number(quotient->input(1)), std::numbers::sqrt2)) {
    return quotient->input(0);
  }
  const onnx::NodeProto* product = index.producer(erf->input(0), "Mul");
  if (product == nullptr || product->input_size() != 2) return std::nullopt;
  for (const int i : {0, 1}) {
    if (is_about(index.number(product->input(i)), 1.0 / std::numbers::sqrt2)) return product->input(1 - i);
  }
  return std::nullopt;
}

/// Matches {x, 1/2, 1 + erf(x/√2)} in any order.
std::optional<std::string> match_gelu_factors(const std::array<std::string, 3>& factors, const GraphIndex& index) {
  for (const std::size_t erf : {0U, 1U, 2U}) {
    const std::optional<std::string> x = shifted_erf_input(factors[erf], index);
    if (!x) continue;
    const std::string& a = factors[(erf + 1) % 3];
    const std::string& b = factors[(erf + 2) % 3];
    if (a == *x && is_about(index.number(b), 0.5)) return x;
    if (b == *x && is_about(index.number(a), 0.5)) return x;
  }
  return std::nullopt;
}

std::optional<std::string> gelu_input(const onnx::NodeProto& product, const GraphIndex& index) {
  if (product.op_type() != "Mul" || product.input_size() != 2) return std::nullopt;
  for (const int i : {0, 1}) {
    const onnx::NodeProto* inner = index.producer(product.input(i), "Mul");
    if (inner == nullptr || inner->input_size() != 2) continue;
    const std::optional<std::string> x =
        match_gelu_factors({inner->input(0), inner->input(1), product.input(1 - i)}, index);
    if (x) return x;
  }
  return std::nullopt;
}

/// The x of Div(x, Add(Abs(x), 1)).
std::optional<std::string> softsign_input(const onnx::NodeProto& quotient, const GraphIndex& index) {
  if (quotient.op_type() != "Div" || quotient.input_size() != 2) return std::nullopt;
  const std::string* term = term_beside_one(quotient.input(1), index);
  const onnx::NodeProto* magnitude = term == nullptr ? nullptr : index.producer(*term, "Abs");
  if (magnitude == nullptr || magnitude->input_size() != 1 || magnitude->input(0) != quotient.input(0)) {
    return std::nullopt;
  }
  return quotient.input(0);
}

}  // namespace

const onnx::NodeProto* GraphIndex::producer(const std::string& value, const std::string& type) const {
  const auto found = producers.find(value);
  return found != producers.end() && found->second->op_type() == type ? found->second : nullptr;
}

std::optional<double> GraphIndex::number(const std::string& value) const {
  const auto found = constants.find(value);
  if (found == constants.end() || !is_floating(*found->second)) return std::nullopt;
  if (element_count(shape_of(*found->second)) != 1) return std::nullopt;
  return static_cast<double>(read_floats(file, *found->second).front());
}

GraphIndex index_graph(const std::shared_ptr<OnnxFile>& file) {
  GraphIndex index;
  index.file = file;
  onnx::GraphProto& graph = *file->model.mutable_graph();
  for (const onnx::TensorProto& tensor : graph.initializer()) index.constants[tensor.name()] = &tensor;
  for (onnx::NodeProto& node : *graph.mutable_node()) {
    for (const std::string& output : node.output()) {
      if (!output.empty() && !index.producers.emplace(output, &node).second) {
        throw_input("value '{}' is produced by two nodes", output);
      }
    }
    if (node.op_type() != "Constant" || node.output_size() != 1) continue;
    onnx::TensorProto* tensor = constant_tensor(*file, node);
    if (tensor == nullptr) continue;
    tensor->set_name(node.output(0));
    index.constants[node.output(0)] = tensor;
  }
  return index;
}

std::optional<WrittenOut> written_out_activation(const onnx::NodeProto& last, const GraphIndex& index) {
  if (const auto x = gelu_input(last, index)) return WrittenOut{net::Op::gelu, *x};
  if (const auto x = softsign_input(last, index)) return WrittenOut{net::Op::softsign, *x};
  return std::nullopt;
}

}  // namespace gpfq::formats::onnx_reader
