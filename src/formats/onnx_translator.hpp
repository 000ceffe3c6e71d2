// SPDX-License-Identifier: Apache-2.0
// The walk over an ONNX graph that turns it into a model, and what each operator's conversion sees
// of it. Adding an operator means one function and one row in onnx_operators.cpp.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "formats/model_builder.hpp"
#include "formats/onnx_file.hpp"
#include "formats/onnx_index.hpp"
#include "formats/onnx_integers.hpp"
#include "formats/unsupported.hpp"

namespace gpfq::formats::onnx_reader {

/// The result of a node whose shape depends on an unsupported operator.
struct Unknown {};
/// A value per sample: node `index` of the model being built. Its batch dimension comes first.
struct Activation {
  int index = 0;
};

using Value = std::variant<Unknown, Activation, Constant, Integers>;

class Translator;

/// One operator being converted: its inputs, attributes and the model so far.
class Call {
 public:
  Call(Translator& translator, const onnx::NodeProto& node, std::vector<Value> inputs)
      : translator_(translator), node_(node), inputs_(std::move(inputs)) {}

  [[nodiscard]] const onnx::NodeProto& node() const { return node_; }
  [[nodiscard]] const std::string& type() const { return node_.op_type(); }
  [[nodiscard]] ModelBuilder& builder() const;
  [[nodiscard]] std::shared_ptr<const OnnxFile> file() const;
  [[nodiscard]] Index opset() const;
  /// The batch size that the exporter fixed; 0 where it is open.
  [[nodiscard]] Index fixed_batch() const;

  [[nodiscard]] bool has_input(std::size_t i) const;
  [[nodiscard]] const Value& input(std::size_t i) const;
  [[nodiscard]] bool is_activation(std::size_t i) const;
  [[nodiscard]] bool is_float_constant(std::size_t i) const;
  /// The graph index of input i. @throws Unsupported when it is a constant.
  [[nodiscard]] int activation(std::size_t i) const;
  [[nodiscard]] const Shape& sample_shape(std::size_t i) const { return builder().shape(activation(i)); }
  /// @throws Unsupported when input i is not a floating-point constant.
  [[nodiscard]] const Constant& constant(std::size_t i) const;
  /// Integers where input i is a constant or computed shape.
  [[nodiscard]] std::optional<Integers> integers(std::size_t i) const;
  /// One floating-point constant number, which may be infinite or not a number. @throws Unsupported.
  [[nodiscard]] double number(std::size_t i) const;
  /// Plain numbers, where a batch size makes no sense (indexes, axes). @throws Unsupported.
  [[nodiscard]] std::vector<Index> numbers(std::size_t i) const;
  /// Numbers that are an input in this opset and were an attribute before; none where the node has neither.
  [[nodiscard]] std::optional<std::vector<Index>> numbers(std::size_t i, std::string_view attribute_name) const;
  /// True when input i is a product (MatMul, Gemm, Conv) that nothing but this node reads.
  [[nodiscard]] bool is_only_reader_of_product(std::size_t i) const;

  [[nodiscard]] const onnx::AttributeProto* attribute(std::string_view name) const;
  [[nodiscard]] double float_attribute(std::string_view name, double fallback) const;
  [[nodiscard]] Index integer_attribute(std::string_view name, Index fallback) const;
  [[nodiscard]] std::string text_attribute(std::string_view name, const std::string& fallback) const;
  [[nodiscard]] std::optional<std::vector<Index>> integers_attribute(std::string_view name) const;

  /// Adds a node of the model named after this ONNX node.
  [[nodiscard]] Value add(net::Op op, int input, Attributes attributes = {}, Parameters parameters = {}) const;
  [[nodiscard]] Value add(net::Op op, std::vector<int> inputs, Attributes attributes) const;
  /// Adds a linear node. Its name is the weight's less a trailing ".weight" where it has that, else this node's.
  [[nodiscard]] Value add_linear(net::Op op, const Constant& weight, Attributes attributes,
                                 Parameters parameters) const;

 private:
  Translator& translator_;
  const onnx::NodeProto& node_;
  std::vector<Value> inputs_;
};

/// How one operator is converted, and what of it is understood: other attributes are refused, for
/// a later version of the operator may give them a meaning.
struct Operator {
  Value (*convert)(const Call&) = nullptr;
  int max_inputs = 1;
  std::vector<std::string_view> attributes = {};
};

/// Constant i as one value per channel (dimension 0) of a sample, broadcast as ONNX does; one value where it has one,
/// unless `repeat`. @throws Unsupported where it varies along another dimension.
[[nodiscard]] std::vector<float> channel_values(const Call& call, std::size_t i, const Shape& sample, bool repeat);

/// The row of the operator table; none for operators that are not supported.
[[nodiscard]] const Operator* find_operator(const std::string& type);

class Translator {
 public:
  explicit Translator(std::shared_ptr<OnnxFile> file);
  [[nodiscard]] net::Model run() &&;

 private:
  friend class Call;

  void find_needed_nodes();
  [[nodiscard]] const onnx::ValueInfoProto& network_input() const;
  void add_network_input();
  void translate(const onnx::NodeProto& node);
  [[nodiscard]] Value convert(const onnx::NodeProto& node, const Operator& entry);
  [[nodiscard]] Value value_of(const std::string& name, const onnx::NodeProto& reader) const;

  std::shared_ptr<OnnxFile> file_;
  const onnx::GraphProto& graph_;
  Index opset_;
  GraphIndex index_;
  Index fixed_batch_ = 0;
  ModelBuilder builder_;
  UnsupportedList unsupported_;
  std::unordered_map<std::string, Value> values_;
  std::unordered_map<std::string, int> readers_;  ///< among needed nodes; the network's output is one
  std::vector<const onnx::NodeProto*> needed_;    ///< last one first
  std::unordered_map<const onnx::NodeProto*, WrittenOut> written_out_;  ///< by last node
};

/// How messages call a node: its name, or its output where it has none.
[[nodiscard]] std::string display_name(const onnx::NodeProto& node);

}  // namespace gpfq::formats::onnx_reader
