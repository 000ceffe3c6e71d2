// SPDX-License-Identifier: Apache-2.0
// Writes ONNX models for tests, as exporters would, a line per node.
#pragma once

#include <onnx/onnx_pb.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "gpfq/base/types.hpp"

namespace gpfq::formats {

using Names = std::vector<std::string>;

class OnnxModelWriter {
 public:
  /// @param input_shape  of the input "x", batch first; −1 stands for an open extent
  explicit OnnxModelWriter(const Shape& input_shape = {-1, 2}, Index opset = 13) {
    model.set_ir_version(7);
    model.add_opset_import()->set_version(opset);
    graph().set_name("test");
    add_input("x", input_shape);
    graph().add_output()->set_name("y");
  }

  [[nodiscard]] onnx::GraphProto& graph() { return *model.mutable_graph(); }

  void add_input(const std::string& name, const Shape& shape) {
    onnx::ValueInfoProto& input = *graph().add_input();
    input.set_name(name);
    onnx::TypeProto::Tensor& type = *input.mutable_type()->mutable_tensor_type();
    type.set_elem_type(onnx::TensorProto::FLOAT);
    type.mutable_shape();
    for (const Index extent : shape) {
      auto& dimension = *type.mutable_shape()->add_dim();
      if (extent < 0) {
        dimension.set_dim_param("n");
      } else {
        dimension.set_dim_value(extent);
      }
    }
  }

  /// A node whose name is "/<output>"; returns it for attributes to be added.
  onnx::NodeProto& node(const std::string& type, const Names& inputs, const std::string& output) {
    onnx::NodeProto& node = *graph().add_node();
    node.set_op_type(type);
    node.set_name("/" + output);
    for (const std::string& input : inputs) node.add_input(input);
    node.add_output(output);
    return node;
  }

  onnx::TensorProto& floats(const std::string& name, const Shape& shape, const std::vector<float>& values) {
    onnx::TensorProto& tensor = empty(name, shape, onnx::TensorProto::FLOAT);
    tensor.mutable_raw_data()->assign(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    return tensor;
  }

  onnx::TensorProto& integers(const std::string& name, const Shape& shape, const std::vector<Index>& values) {
    onnx::TensorProto& tensor = empty(name, shape, onnx::TensorProto::INT64);
    for (const Index value : values) tensor.add_int64_data(value);
    return tensor;
  }

  onnx::TensorProto& empty(const std::string& name, const Shape& shape, onnx::TensorProto::DataType type) {
    onnx::TensorProto& tensor = *graph().add_initializer();
    tensor.set_name(name);
    tensor.set_data_type(type);
    for (const Index extent : shape) tensor.add_dims(extent);
    return tensor;
  }

  [[nodiscard]] std::filesystem::path save(const std::filesystem::path& path) const {
    std::ofstream file(path, std::ios::binary);
    model.SerializeToOstream(&file);
    return path;
  }

  onnx::ModelProto model;
};

inline void set_integer(onnx::NodeProto& node, const std::string& name, Index value) {
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx::AttributeProto::INT);
  attribute.set_i(value);
}

inline void set_float(onnx::NodeProto& node, const std::string& name, float value) {
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx::AttributeProto::FLOAT);
  attribute.set_f(value);
}

inline void set_text(onnx::NodeProto& node, const std::string& name, const std::string& value) {
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx::AttributeProto::STRING);
  attribute.set_s(value);
}

inline void set_integers(onnx::NodeProto& node, const std::string& name, const std::vector<Index>& values) {
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx::AttributeProto::INTS);
  for (const Index value : values) attribute.add_ints(value);
}

}  // namespace gpfq::formats
