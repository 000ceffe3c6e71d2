// SPDX-License-Identifier: Apache-2.0
// The walk: backwards to find what the output needs, then forwards, one conversion per node.
// Conversion goes on behind an unsupported operator, so that one message can name them all.
#include "formats/onnx_translator.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "gpfq/base/error.hpp"

namespace gpfq::formats::onnx_reader {

namespace {

bool is_standard(const onnx::NodeProto& node) { return node.domain().empty() || node.domain() == "ai.onnx"; }

std::string qualified_type(const onnx::NodeProto& node) {
  return is_standard(node) ? node.op_type() : fmt::format("{}.{}", node.domain(), node.op_type());
}

std::string describe(const onnx::TensorShapeProto& shape) {
  std::vector<std::string> extents;
  for (const auto& extent : shape.dim()) {
    extents.push_back(extent.has_dim_value()       ? fmt::format("{}", extent.dim_value())
                      : extent.dim_param().empty() ? std::string("?")
                                                   : extent.dim_param());
  }
  return fmt::format("[{}]", fmt::join(extents, ", "));
}

void require_understood(const onnx::NodeProto& node, const Operator& entry) {
  if (node.input_size() > entry.max_inputs) throw Unsupported(fmt::format("with {} inputs", node.input_size()));
  for (const onnx::AttributeProto& attribute : node.attribute()) {
    if (std::find(entry.attributes.begin(), entry.attributes.end(), attribute.name()) == entry.attributes.end()) {
      throw Unsupported(fmt::format("with attribute '{}'", attribute.name()));
    }
  }
}

}  // namespace

std::string display_name(const onnx::NodeProto& node) {
  if (!node.name().empty()) return node.name();
  return node.output_size() == 0 ? "unnamed" : fmt::format("(node of output {})", node.output(0));
}

Translator::Translator(std::shared_ptr<OnnxFile> file)
    : file_(std::move(file)),
      graph_(file_->model.graph()),
      opset_(standard_opset(file_->model)),
      index_(index_graph(file_)) {}

net::Model Translator::run() && {
  find_needed_nodes();
  add_network_input();
  for (auto node = needed_.rbegin(); node != needed_.rend(); ++node) translate(**node);
  unsupported_.throw_if_any("operators");
  const std::string& output = graph_.output(0).name();
  const auto value = values_.find(output);
  const Activation* result = value == values_.end() ? nullptr : std::get_if<Activation>(&value->second);
  if (result == nullptr) throw_input("the output '{}' does not depend on the network's input", output);
  return std::move(builder_).finish(result->index);
}

void Translator::find_needed_nodes() {
  if (graph_.output_size() != 1) {
    std::vector<std::string> names;
    for (const auto& output : graph_.output()) names.push_back(output.name());
    throw_input("the network has {} outputs ({}); expected one", names.size(), fmt::join(names, ", "));
  }
  readers_[graph_.output(0).name()] = 1;
  std::unordered_set<const onnx::NodeProto*> passed;  // this node and those behind it in the file
  for (int i = graph_.node_size() - 1; i >= 0; --i) {
    const onnx::NodeProto& node = graph_.node(i);
    passed.insert(&node);
    const bool is_needed = std::any_of(node.output().begin(), node.output().end(),
                                       [&](const std::string& output) { return readers_.count(output) != 0; });
    if (!is_needed || (node.output_size() == 1 && index_.constants.count(node.output(0)) != 0)) continue;
    needed_.push_back(&node);
    if (const std::optional<WrittenOut> found = written_out_activation(node, index_)) {
      ++readers_[found->input];
      written_out_.emplace(&node, *found);
      continue;
    }
    for (const std::string& input : node.input()) {
      const auto producer = index_.producers.find(input);
      if (producer != index_.producers.end() && passed.count(producer->second) != 0) {
        throw_input("node '{}' reads '{}' before it is produced", display_name(node), input);
      }
      if (!input.empty()) ++readers_[input];
    }
  }
}

const onnx::ValueInfoProto& Translator::network_input() const {
  std::vector<const onnx::ValueInfoProto*> inputs;
  std::vector<std::string> names;
  for (const onnx::ValueInfoProto& input : graph_.input()) {
    // Old opsets list initializers among the inputs.
    if (index_.constants.count(input.name()) != 0 || readers_.count(input.name()) == 0) continue;
    inputs.push_back(&input);
    names.push_back(input.name());
  }
  if (inputs.empty()) throw_input("the network's output depends on no input");
  if (inputs.size() > 1)
    throw_input("the network has {} inputs ({}); expected one", inputs.size(), fmt::join(names, ", "));
  return *inputs.front();
}

void Translator::add_network_input() {
  const onnx::ValueInfoProto& input = network_input();
  if (!input.type().has_tensor_type() || !input.type().tensor_type().has_shape()) {
    throw_input("the input '{}' has no shape", input.name());
  }
  const onnx::TensorShapeProto& shape = input.type().tensor_type().shape();
  Shape sample;
  for (int d = 1; d < shape.dim_size(); ++d) sample.push_back(shape.dim(d).dim_value());
  if (sample.empty() || std::any_of(sample.begin(), sample.end(), [](Index extent) { return extent < 1; })) {
    throw_input("the input '{}' has shape {}; expected a batch dimension, then extents that are fixed", input.name(),
                describe(shape));
  }
  static_cast<void>(element_count(sample));
  fixed_batch_ = std::max<Index>(shape.dim(0).dim_value(), 0);
  values_[input.name()] = Activation{builder_.add({.name = input.name(), .op = net::Op::input, .shape = sample}, {})};
}

void Translator::translate(const onnx::NodeProto& node) {
  const Operator* entry = is_standard(node) ? find_operator(node.op_type()) : nullptr;
  Value result = Unknown{};
  try {
    const auto known = written_out_.find(&node);
    if (known != written_out_.end()) {
      const Value x = value_of(known->second.input, node);
      const Call call(*this, node, {x});
      if (!std::holds_alternative<Unknown>(x)) result = call.add(known->second.op, call.activation(0));
    } else if (entry == nullptr) {
      unsupported_.add(qualified_type(node), display_name(node));
    } else {
      result = convert(node, *entry);
    }
  } catch (const Unsupported& reason) {
    unsupported_.add(fmt::format("{} {}", node.op_type(), reason.what()), display_name(node));
  }
  // Further outputs (a Dropout's mask) have no value; reading one is an error.
  if (node.output_size() > 0) values_[node.output(0)] = std::move(result);
}

Value Translator::convert(const onnx::NodeProto& node, const Operator& entry) {
  require_understood(node, entry);
  std::vector<Value> inputs;
  for (const std::string& input : node.input()) {
    inputs.push_back(input.empty() ? Value(Unknown{}) : value_of(input, node));
    if (!input.empty() && std::holds_alternative<Unknown>(inputs.back())) return Unknown{};
  }
  try {
    return entry.convert(Call(*this, node, std::move(inputs)));
  } catch (const Error& error) {
    const std::string message = error.what();
    if (message.starts_with("node '")) throw;
    throw Error(error.kind(), fmt::format("node '{}' ({}): {}", display_name(node), node.op_type(), message));
  }
}

Value Translator::value_of(const std::string& name, const onnx::NodeProto& reader) const {
  const auto value = values_.find(name);
  if (value != values_.end()) return value->second;
  const auto constant = index_.constants.find(name);
  if (constant != index_.constants.end()) return Constant{constant->second};
  if (index_.producers.count(name) != 0) {
    throw_input("node '{}' reads '{}', which has no meaning at inference", display_name(reader), name);
  }
  throw_input("node '{}' reads '{}', which nothing produces", display_name(reader), name);
}

}  // namespace gpfq::formats::onnx_reader
