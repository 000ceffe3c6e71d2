// SPDX-License-Identifier: Apache-2.0
// What an operator's conversion may ask: inputs by kind, attributes by type, each with a message
// for what does not fit.
#include <fmt/format.h>

#include "formats/onnx_translator.hpp"
#include "gpfq/base/error.hpp"

namespace gpfq::formats::onnx_reader {

namespace {

void expect_type(const onnx::NodeProto& node, const onnx::AttributeProto& attribute,
                 onnx::AttributeProto::AttributeType expected) {
  // Files of early IR versions leave the type out.
  if (attribute.type() == expected || attribute.type() == onnx::AttributeProto::UNDEFINED) return;
  throw_input("node '{}' ({}): attribute '{}' is of type {}; expected {}", display_name(node), node.op_type(),
              attribute.name(), onnx::AttributeProto::AttributeType_Name(attribute.type()),
              onnx::AttributeProto::AttributeType_Name(expected));
}

}  // namespace

ModelBuilder& Call::builder() const { return translator_.builder_; }
std::shared_ptr<const OnnxFile> Call::file() const { return translator_.file_; }
Index Call::opset() const { return translator_.opset_; }
Index Call::fixed_batch() const { return translator_.fixed_batch_; }

bool Call::has_input(std::size_t i) const { return i < inputs_.size() && !std::holds_alternative<Unknown>(inputs_[i]); }

const Value& Call::input(std::size_t i) const {
  if (!has_input(i)) throw_input("node '{}' ({}) lacks input {}", display_name(node_), type(), i);
  return inputs_[i];
}

bool Call::is_activation(std::size_t i) const { return std::holds_alternative<Activation>(input(i)); }

bool Call::is_float_constant(std::size_t i) const {
  const Constant* constant = std::get_if<Constant>(&input(i));
  return constant != nullptr && is_floating(*constant->tensor);
}

int Call::activation(std::size_t i) const {
  if (!is_activation(i)) throw Unsupported(fmt::format("of a constant (input {})", i));
  return std::get<Activation>(input(i)).index;
}

const Constant& Call::constant(std::size_t i) const {
  if (!is_float_constant(i)) throw Unsupported(fmt::format("whose input {} is no floating-point constant", i));
  return std::get<Constant>(input(i));
}

std::optional<Integers> Call::integers(std::size_t i) const {
  const Value& value = input(i);
  if (const Integers* known = std::get_if<Integers>(&value)) return *known;
  const Constant* constant = std::get_if<Constant>(&value);
  if (constant == nullptr || is_floating(*constant->tensor)) return std::nullopt;
  Integers result{{}, constant->shape()};
  if (element_count(result.shape) > most_integers) return std::nullopt;
  for (const Index number : read_integers(file(), *constant->tensor)) result.values.push_back({number, false});
  return result;
}

std::vector<Index> Call::numbers(std::size_t i) const {
  const std::optional<Integers> found = integers(i);
  if (!found) throw Unsupported(fmt::format("whose input {} is no constant or shape", i));
  std::vector<Index> result;
  for (const Extent& extent : found->values) {
    if (extent.is_batch) throw Unsupported("that computes with the batch size");
    result.push_back(extent.value);
  }
  return result;
}

std::optional<std::vector<Index>> Call::numbers(std::size_t i, std::string_view attribute_name) const {
  if (has_input(i)) return numbers(i);
  return integers_attribute(attribute_name);
}

double Call::number(std::size_t i) const {
  const Constant& from = constant(i);
  if (element_count(from.shape()) != 1) throw Unsupported(fmt::format("whose input {} is no single number", i));
  return static_cast<double>(TensorValues(file(), *from.tensor).first_value());
}

bool Call::is_only_reader_of_product(std::size_t i) const {
  const std::string& name = node_.input(static_cast<int>(i));
  const GraphIndex& index = translator_.index_;
  const bool is_product = index.producer(name, "MatMul") != nullptr || index.producer(name, "Gemm") != nullptr ||
                          index.producer(name, "Conv") != nullptr;
  const auto readers = translator_.readers_.find(name);
  return is_product && readers != translator_.readers_.end() && readers->second == 1;
}

const onnx::AttributeProto* Call::attribute(std::string_view name) const {
  for (const onnx::AttributeProto& candidate : node_.attribute()) {
    if (candidate.name() == name) return &candidate;
  }
  return nullptr;
}

double Call::float_attribute(std::string_view name, double fallback) const {
  const onnx::AttributeProto* found = attribute(name);
  if (found == nullptr) return fallback;
  expect_type(node_, *found, onnx::AttributeProto::FLOAT);
  return static_cast<double>(found->f());
}

Index Call::integer_attribute(std::string_view name, Index fallback) const {
  const onnx::AttributeProto* found = attribute(name);
  if (found == nullptr) return fallback;
  expect_type(node_, *found, onnx::AttributeProto::INT);
  return found->i();
}

std::string Call::text_attribute(std::string_view name, const std::string& fallback) const {
  const onnx::AttributeProto* found = attribute(name);
  if (found == nullptr) return fallback;
  expect_type(node_, *found, onnx::AttributeProto::STRING);
  return found->s();
}

std::optional<std::vector<Index>> Call::integers_attribute(std::string_view name) const {
  const onnx::AttributeProto* found = attribute(name);
  if (found == nullptr) return std::nullopt;
  expect_type(node_, *found, onnx::AttributeProto::INTS);
  return std::vector<Index>(found->ints().begin(), found->ints().end());
}

Value Call::add(net::Op op, int input, Attributes attributes, Parameters parameters) const {
  Layer layer{.name = node_.name(), .op = op, .attributes = std::move(attributes), .parameters = std::move(parameters)};
  return Activation{builder().add(std::move(layer), {input})};
}

Value Call::add(net::Op op, std::vector<int> inputs, Attributes attributes) const {
  return Activation{
      builder().add({.name = node_.name(), .op = op, .attributes = std::move(attributes)}, std::move(inputs))};
}

Value Call::add_linear(net::Op op, const Constant& weight, Attributes attributes, Parameters parameters) const {
  constexpr std::string_view suffix = ".weight";
  const std::string& tensor = weight.tensor->name();
  const bool is_named = tensor.size() > suffix.size() && tensor.ends_with(suffix);
  Layer layer{.name = is_named ? tensor.substr(0, tensor.size() - suffix.size()) : node_.name(),
              .op = op,
              .attributes = std::move(attributes),
              .parameters = std::move(parameters)};
  return Activation{builder().add(std::move(layer), {activation(0)})};
}

std::vector<float> channel_values(const Call& call, std::size_t i, const Shape& sample, bool repeat) {
  const Constant& constant = call.constant(i);
  const Shape shape = constant.shape();
  const std::size_t rank = sample.size() + 1;
  if (constant.is_transposed || shape.size() > rank) throw Unsupported("with a constant of more dimensions");
  for (std::size_t d = 0; d < shape.size(); ++d) {
    const std::size_t aligned = d + rank - shape.size();  // 0 is the batch, 1 the channel
    const bool fits = shape[d] == 1 || (aligned == 1 && shape[d] == sample.front());
    if (!fits)
      throw Unsupported(
          fmt::format("with a constant of shape {} on samples of {}", to_string(shape), to_string(sample)));
  }
  std::vector<float> values = read_floats(call.file(), *constant.tensor);
  if (values.size() == 1 && repeat) require_repeatable(sample.front());
  if (values.size() == 1 && repeat) values.resize(static_cast<std::size_t>(sample.front()), values.front());
  return values;
}

}  // namespace gpfq::formats::onnx_reader
