// SPDX-License-Identifier: Apache-2.0
// ONNX models that between them use every part of the importer.
#include <numeric>

#include "formats/onnx_model_writer.hpp"
#include "seeds.hpp"
#include "support/data_files.hpp"

namespace gpfq::fuzz {
namespace {

using formats::OnnxModelWriter;
using formats::set_float;
using formats::set_integer;
using formats::set_integers;
using formats::set_text;

std::vector<float> counted(Index count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  std::iota(values.begin(), values.end(), 0.5F);
  return values;
}

/// Gemm, MatMul and Add of a bias, activations, softmax.
OnnxModelWriter mlp() {
  OnnxModelWriter writer({-1, 6});
  writer.floats("fc1.weight", {4, 6}, counted(24));
  writer.floats("fc1.bias", {4}, counted(4));
  onnx::NodeProto& gemm = writer.node("Gemm", {"x", "fc1.weight", "fc1.bias"}, "a");
  set_integer(gemm, "transB", 1);
  set_float(gemm, "alpha", 0.5F);
  writer.node("Relu", {"a"}, "b");
  writer.floats("fc2", {4, 3}, counted(12));
  writer.node("MatMul", {"b", "fc2"}, "c");
  writer.floats("fc2.bias", {3}, counted(3));
  writer.node("Add", {"c", "fc2.bias"}, "d");
  onnx::NodeProto& softmax = writer.node("Softmax", {"d"}, "y");
  set_integer(softmax, "axis", -1);
  return writer;
}

/// Convolutions, normalization, a residual, pooling, and the shape arithmetic of x.view(x.size(0), -1).
OnnxModelWriter convolutions() {
  OnnxModelWriter writer({-1, 2, 6, 6});
  writer.floats("c1.weight", {4, 2, 3, 3}, counted(72));
  onnx::NodeProto& conv = writer.node("Conv", {"x", "c1.weight"}, "a");
  set_integers(conv, "pads", {1, 1, 1, 1});
  set_integers(conv, "kernel_shape", {3, 3});
  set_integers(conv, "strides", {1, 1});
  for (const char* name : {"scale", "shift", "mean", "variance"}) writer.floats(name, {4}, counted(4));
  set_float(writer.node("BatchNormalization", {"a", "scale", "shift", "mean", "variance"}, "b"), "epsilon", 1e-5F);
  writer.node("Relu", {"b"}, "r");
  writer.floats("c2.weight", {4, 2, 3, 3}, counted(72));
  onnx::NodeProto& grouped = writer.node("Conv", {"r", "c2.weight"}, "g");
  set_integer(grouped, "group", 2);
  set_text(grouped, "auto_pad", "SAME_UPPER");
  writer.node("Add", {"g", "r"}, "s");
  onnx::NodeProto& pool = writer.node("MaxPool", {"s"}, "p");
  set_integers(pool, "kernel_shape", {2, 2});
  set_integers(pool, "strides", {2, 2});
  writer.node("Shape", {"p"}, "shape");
  writer.integers("zero", {}, {0});
  set_integer(writer.node("Gather", {"shape", "zero"}, "batch"), "axis", 0);
  writer.integers("axes", {1}, {0});
  writer.node("Unsqueeze", {"batch", "axes"}, "first");
  writer.integers("rest", {1}, {-1});
  set_integer(writer.node("Concat", {"first", "rest"}, "target"), "axis", 0);
  writer.node("Reshape", {"p", "target"}, "flat");
  writer.floats("fc.weight", {3, 36}, counted(108));
  set_integer(writer.node("Gemm", {"flat", "fc.weight"}, "y"), "transB", 1);
  return writer;
}

/// Slices, pads, transposes, means, arithmetic with constants, and gates.
OnnxModelWriter shapes() {
  OnnxModelWriter writer({2, 3, 4, 4}, 11);
  writer.integers("pads", {8}, {0, 0, 1, 1, 0, 0, 1, 1});
  writer.node("Pad", {"x", "pads"}, "a");
  writer.integers("starts", {1}, {0});
  writer.integers("ends", {1}, {9});
  writer.integers("axis", {1}, {2});
  writer.integers("steps", {1}, {2});
  writer.node("Slice", {"a", "starts", "ends", "axis", "steps"}, "b");
  set_integers(writer.node("Transpose", {"b"}, "c"), "perm", {0, 2, 3, 1});
  set_integers(writer.node("Transpose", {"c"}, "d"), "perm", {0, 3, 1, 2});
  writer.floats("gain", {3, 1, 1}, counted(3));
  writer.node("Mul", {"d", "gain"}, "e");
  writer.node("Sigmoid", {"e"}, "f");
  writer.node("Mul", {"e", "f"}, "g");
  writer.floats("half", {}, {0.5F});
  writer.node("Sub", {"g", "half"}, "h");
  set_integer(writer.node("Concat", {"h", "e"}, "i"), "axis", 1);
  onnx::NodeProto& mean = writer.node("ReduceMean", {"i"}, "j");
  set_integers(mean, "axes", {2, 3});
  set_integer(mean, "keepdims", 0);
  set_integer(writer.node("Flatten", {"j"}, "k"), "axis", 1);
  onnx::TensorProto& doubles = writer.empty("fc.weight", {6, 2}, onnx::TensorProto::DOUBLE);
  for (int i = 0; i < 12; ++i) doubles.add_double_data(i);
  writer.node("MatMul", {"k", "fc.weight"}, "y");
  return writer;
}

/// A matrix in a file of its own, and a constant in a node.
OnnxModelWriter external() {
  OnnxModelWriter writer({-1, 4});
  onnx::TensorProto& weight = writer.empty("fc.weight", {2, 4}, onnx::TensorProto::FLOAT);
  weight.set_data_location(onnx::TensorProto::EXTERNAL);
  for (const auto& [key, value] : {std::pair{"location", "weights.bin"}, {"offset", "16"}, {"length", "32"}}) {
    onnx::StringStringEntryProto& entry = *weight.add_external_data();
    entry.set_key(key);
    entry.set_value(value);
  }
  set_integer(writer.node("Gemm", {"x", "fc.weight"}, "a"), "transB", 1);
  onnx::AttributeProto& value = *writer.node("Constant", {}, "two").add_attribute();
  value.set_name("value_float");
  value.set_type(onnx::AttributeProto::FLOAT);
  value.set_f(2);
  writer.node("Div", {"a", "two"}, "b");
  onnx::NodeProto& clip = writer.node("Clip", {"b"}, "y");
  clip.set_name(std::string(40, 'n'));
  return writer;
}

}  // namespace

std::vector<std::string> onnx_seeds(const std::filesystem::path& folder) {
  test::write_text(folder / "weights.bin", std::string(48, '\x3d'));
  std::vector<std::string> seeds;
  for (const OnnxModelWriter& writer : {mlp(), convolutions(), shapes(), external()}) {
    seeds.push_back(writer.model.SerializeAsString());
  }
  return seeds;
}

}  // namespace gpfq::fuzz
