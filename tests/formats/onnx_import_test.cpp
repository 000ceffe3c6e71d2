// SPDX-License-Identifier: Apache-2.0
// Operators of ONNX models one by one: what they become, with weights worked out by hand, and what
// is said of those that cannot be read.
#include <cmath>
#include <functional>
#include <limits>
#include <map>

#include "gpfq/base/error.hpp"
#include "gpfq/formats/import.hpp"
#include "import_testing.hpp"
#include "onnx_model_writer.hpp"

namespace gpfq::formats {
namespace {

using Floats = std::vector<float>;

class OnnxImport : public ImportTest {
 protected:
  [[nodiscard]] net::Model import(const OnnxModelWriter& writer) const {
    return import_onnx(writer.save(path("net.onnx")));
  }
  [[nodiscard]] std::string error_of(const OnnxModelWriter& writer) const {
    return input_error([&] { (void)import(writer); });
  }
};

/// A model y = op(x) on samples of `shape`.
OnnxModelWriter single(const std::string& type, const Shape& shape = {-1, 2}, Index opset = 13,
                       const std::function<void(onnx::NodeProto&)>& change = {}) {
  OnnxModelWriter writer(shape, opset);
  onnx::NodeProto& node = writer.node(type, {"x"}, "y");
  if (change) change(node);
  return writer;
}

TEST_F(OnnxImport, GemmWithTransposedWeightKeepsIt) {
  OnnxModelWriter writer;
  writer.floats("fc1.weight", {3, 2}, {1, 2, 3, 4, 5, 6});
  writer.floats("fc1.bias", {3}, {7, 8, 9});
  set_integer(writer.node("Gemm", {"x", "fc1.weight", "fc1.bias"}, "y"), "transB", 1);
  const net::Model model = import(writer);
  EXPECT_EQ(outline(model), "x 2 | fc1 dense 3");
  EXPECT_EQ(values(model, "fc1.weight"), (Floats{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(values(model, "fc1.bias"), (Floats{7, 8, 9}));
  EXPECT_EQ(model.graph.output, 1);
}

TEST_F(OnnxImport, GemmFoldsAlphaAndBetaAndTransposes) {
  OnnxModelWriter writer;
  writer.floats("w", {2, 3}, {1, 2, 3, 4, 5, 6});  // [inputs, outputs]
  writer.floats("c", {1, 1}, {3});                 // broadcast over the outputs
  onnx::NodeProto& node = writer.node("Gemm", {"x", "w", "c"}, "y");
  set_float(node, "alpha", 2.0F);
  set_float(node, "beta", 0.5F);
  const net::Model model = import(writer);
  EXPECT_EQ(outline(model), "x 2 | y dense 3");  // no ".weight": named after the node "/y"
  EXPECT_EQ(values(model, "y.weight"), (Floats{2, 8, 4, 10, 6, 12}));
  EXPECT_EQ(values(model, "y.bias"), (Floats{1.5, 1.5, 1.5}));
  // Rows come alone or together.
  Floats row(2);
  model.tensors.at("y.weight").read_rows(1, 1, row.data());
  EXPECT_EQ(row, (Floats{4, 10}));
}

TEST_F(OnnxImport, GemmFormsThatCannotBeRead) {
  OnnxModelWriter trans_a;
  trans_a.floats("w", {2, 3}, {1, 2, 3, 4, 5, 6});
  set_integer(trans_a.node("Gemm", {"x", "w"}, "y"), "transA", 1);
  EXPECT_TRUE(mentions(error_of(trans_a), "Gemm with transA ('/y')"));

  OnnxModelWriter swapped;
  swapped.floats("w", {3, 2}, {1, 2, 3, 4, 5, 6});
  swapped.node("Gemm", {"w", "x"}, "y");
  EXPECT_TRUE(mentions(error_of(swapped), "Gemm of a constant (input 0) ('/y')"));

  OnnxModelWriter misfit;
  misfit.floats("w", {3, 3}, Floats(9, 1.0F));
  misfit.node("Gemm", {"x", "w"}, "y");
  EXPECT_TRUE(mentions(error_of(misfit), "its input has shape 2, its weight expects 3"));

  OnnxModelWriter bias;
  bias.floats("w", {2, 3}, Floats(6, 1.0F));
  bias.floats("c", {2}, {1, 2});
  bias.node("Gemm", {"x", "w", "c"}, "y");
  EXPECT_TRUE(mentions(error_of(bias), "Gemm with a constant of shape 2 on samples of 3"));
}

TEST_F(OnnxImport, MatMulThenAddIsOneDenseLayer) {
  for (const bool bias_first : {false, true}) {
    OnnxModelWriter writer;
    writer.floats("fc.weight", {2, 2}, {1, 2, 3, 4});
    writer.floats("b", {2}, {5, 6});
    writer.node("MatMul", {"x", "fc.weight"}, "product");
    writer.node("Add", bias_first ? Names{"b", "product"} : Names{"product", "b"}, "y");
    const net::Model model = import(writer);
    EXPECT_EQ(outline(model), "x 2 | fc dense 2");
    EXPECT_EQ(values(model, "fc.weight"), (Floats{1, 3, 2, 4}));
    EXPECT_EQ(values(model, "fc.bias"), (Floats{5, 6}));
  }
}

TEST_F(OnnxImport, MatMulAloneHasNoBias) {
  OnnxModelWriter writer;
  writer.floats("w", {2, 1}, {1, 2});
  writer.node("MatMul", {"x", "w"}, "y");
  const net::Model model = import(writer);
  EXPECT_EQ(outline(model), "x 2 | y dense 1");
  EXPECT_FALSE(model.graph.node(1).has_parameter("bias"));
}

TEST_F(OnnxImport, WhatIsAddedToAProductReadTwiceIsNoBias) {
  OnnxModelWriter writer;
  writer.floats("w", {2, 2}, {1, 2, 3, 4});
  writer.floats("b", {2}, {5, 6});
  writer.node("MatMul", {"x", "w"}, "product");
  writer.node("Add", {"product", "b"}, "sum");
  writer.node("Sigmoid", {"sum"}, "gate");
  // The product itself is read here as well: with the bias in it, this would pass for a swish.
  onnx::NodeProto& gated = writer.node("Mul", {"product", "gate"}, "y");
  EXPECT_EQ(outline(import(writer)), "x 2 | product dense 2 | sum batch_norm 2 | gate sigmoid 2 | y mul 2");
  gated.set_input(0, "sum");
  EXPECT_EQ(outline(import(writer)), "x 2 | product dense 2 | y swish 2");
}

TEST_F(OnnxImport, AWeightUsedTwiceGivesTwoNames) {
  OnnxModelWriter writer;
  writer.floats("net/fc.weight", {2, 2}, {1, 2, 3, 4});
  set_integer(writer.node("Gemm", {"x", "net/fc.weight"}, "h"), "transB", 1);
  set_integer(writer.node("Gemm", {"h", "net/fc.weight"}, "y"), "transB", 1);
  const net::Model model = import(writer);
  EXPECT_EQ(outline(model), "x 2 | net.fc dense 2 | net.fc#2 dense 2");
  EXPECT_EQ(model.graph.node(2).source_name, "net/fc");
  EXPECT_EQ(values(model, "net.fc#2.weight"), (Floats{1, 2, 3, 4}));
}

TEST_F(OnnxImport, NodesWithoutNamesAreNumbered) {
  OnnxModelWriter writer = single("Relu");
  writer.graph().mutable_node(0)->clear_name();
  EXPECT_EQ(outline(import(writer)), "x 2 | relu_1 relu 2");
}

TEST_F(OnnxImport, WeightsThroughConstantIdentityTransposeAndCast) {
  OnnxModelWriter writer;
  writer.floats("fc.weight", {2, 2}, {1, 2, 3, 4});
  writer.node("Identity", {"fc.weight"}, "alias");
  set_integers(writer.node("Transpose", {"alias"}, "turned"), "perm", {1, 0});
  set_integer(writer.node("Cast", {"turned"}, "cast"), "to", onnx::TensorProto::FLOAT);
  writer.node("MatMul", {"x", "cast"}, "h");
  onnx::AttributeProto& attribute = *writer.node("Constant", {}, "w2").add_attribute();
  attribute.set_name("value");
  attribute.set_type(onnx::AttributeProto::TENSOR);
  attribute.mutable_t()->set_data_type(onnx::TensorProto::FLOAT);
  attribute.mutable_t()->add_dims(1);
  attribute.mutable_t()->add_dims(2);
  attribute.mutable_t()->add_float_data(5);
  attribute.mutable_t()->add_float_data(6);
  set_integer(writer.node("Gemm", {"h", "w2"}, "y"), "transB", 1);
  const net::Model model = import(writer);
  EXPECT_EQ(outline(model), "x 2 | fc dense 2 | y dense 1");
  EXPECT_EQ(values(model, "fc.weight"), (Floats{1, 2, 3, 4}));  // transposed twice
  EXPECT_EQ(values(model, "y.weight"), (Floats{5, 6}));
}

TEST_F(OnnxImport, ActivationsWithTheirDefaults) {
  const std::vector<std::pair<const char*, std::map<std::string, double>>> expected = {
      {"Relu", {}},
      {"LeakyRelu", {{"alpha", 0.01}}},
      {"Elu", {{"alpha", 1.0}}},
      {"Selu", {{"alpha", 1.6732632}, {"gamma", 1.0507010}}},
      {"Sigmoid", {}},
      {"HardSigmoid", {{"alpha", 0.2}, {"beta", 0.5}}},
      {"HardSwish", {}},
      {"Tanh", {}},
      {"Softplus", {}},
      {"Softsign", {}},
      {"Gelu", {}},
      {"Swish", {}},
      {"Softmax", {}}};
  const std::vector<net::Op> ops = {net::Op::relu,     net::Op::leaky_relu,   net::Op::elu,        net::Op::selu,
                                    net::Op::sigmoid,  net::Op::hard_sigmoid, net::Op::hard_swish, net::Op::tanh,
                                    net::Op::softplus, net::Op::softsign,     net::Op::gelu,       net::Op::swish,
                                    net::Op::softmax};
  ASSERT_EQ(ops.size(), expected.size());
  for (std::size_t i = 0; i < ops.size(); ++i) {
    SCOPED_TRACE(expected[i].first);
    const net::Model model = import(single(expected[i].first, {-1, 2}, 20));
    ASSERT_EQ(model.graph.size(), 2);
    const net::Node& node = model.graph.node(1);
    EXPECT_EQ(node.op, ops[i]);
    EXPECT_EQ(node.attributes.size(), expected[i].second.size());
    for (const auto& [key, value] : expected[i].second) EXPECT_NEAR(node.attribute(key, -1), value, 1e-6);
  }
}

TEST_F(OnnxImport, AttributesAreReadAndUnknownOnesRefused) {
  const auto with_alpha = [](onnx::NodeProto& node) { set_float(node, "alpha", 0.25F); };
  EXPECT_EQ(import(single("LeakyRelu", {-1, 2}, 13, with_alpha)).graph.node(1).attribute("alpha", 0), 0.25);
  EXPECT_TRUE(mentions(error_of(single("Relu", {-1, 2}, 13, with_alpha)), "Relu with attribute 'alpha'"));
  const auto wrong_type = [](onnx::NodeProto& node) { set_integer(node, "alpha", 1); };
  EXPECT_TRUE(mentions(error_of(single("Elu", {-1, 2}, 13, wrong_type)), "attribute 'alpha' is of type INT"));
}

TEST_F(OnnxImport, ClipBoundsAsAttributesAndAsInputs) {
  const auto old = single("Clip", {-1, 2}, 9, [](onnx::NodeProto& node) { set_float(node, "max", 6.0F); });
  const net::Node old_node = import(old).graph.node(1);
  EXPECT_EQ(old_node.op, net::Op::clip);
  EXPECT_EQ(old_node.attribute("max", 0), 6.0);
  EXPECT_EQ(old_node.attributes.count("min"), 0U);

  OnnxModelWriter writer;
  writer.floats("low", {}, {-1});
  writer.node("Clip", {"x", "low", ""}, "y");
  const net::Node node = import(writer).graph.node(1);
  EXPECT_EQ(node.attribute("min", 0), -1.0);
  EXPECT_EQ(node.attributes.count("max"), 0U);

  OnnxModelWriter crossed;
  crossed.floats("low", {}, {1});
  crossed.floats("high", {}, {0});
  crossed.node("Clip", {"x", "low", "high"}, "y");
  EXPECT_TRUE(mentions(error_of(crossed), "min 1 is above max 0"));
}

TEST_F(OnnxImport, InfiniteClipBoundsAreNone) {
  const float infinity = std::numeric_limits<float>::infinity();
  const auto clip = [](float low, float high) {
    OnnxModelWriter writer;
    writer.floats("low", {}, {low});
    writer.floats("high", {}, {high});
    writer.node("Clip", {"x", "low", "high"}, "y");
    return writer;
  };
  EXPECT_EQ(import(clip(-infinity, 6)).graph.node(1).attributes, (std::map<std::string, std::vector<double>>{{"max", {6}}}));
  EXPECT_EQ(import(clip(0, infinity)).graph.node(1).attributes, (std::map<std::string, std::vector<double>>{{"min", {0}}}));
  EXPECT_TRUE(import(clip(-infinity, infinity)).graph.node(1).attributes.empty());
  EXPECT_TRUE(mentions(error_of(clip(-infinity, -infinity)), "is above max -inf"));
  EXPECT_TRUE(mentions(error_of(clip(std::nanf(""), 1)), "node '/y' (Clip): min nan"));
  const auto old = single("Clip", {-1, 2}, 9, [&](onnx::NodeProto& node) { set_float(node, "min", -infinity); });
  EXPECT_TRUE(import(old).graph.node(1).attributes.empty());
}

TEST_F(OnnxImport, PReluWithOneSlope) {
  OnnxModelWriter writer;
  writer.floats("slope", {2}, {0.5, 0.5});
  writer.node("PRelu", {"x", "slope"}, "y");
  EXPECT_EQ(import(writer).graph.node(1).attribute("alpha", 0), 0.5);
  writer.graph().mutable_initializer()->Clear();
  writer.floats("slope", {2}, {0.5, 0.25});
  EXPECT_TRUE(mentions(error_of(writer), "PRelu with several slopes"));
}

TEST_F(OnnxImport, SoftmaxOverTheLastAxisOnly) {
  const auto axis = [](Index value) { return [=](onnx::NodeProto& node) { set_integer(node, "axis", value); }; };
  EXPECT_EQ(outline(import(single("Softmax", {-1, 3}, 11))), "x 3 | y softmax 3");  // axis 1 by default
  EXPECT_EQ(outline(import(single("Softmax", {-1, 3, 4}, 13))), "x 3x4 | y softmax 3x4");
  EXPECT_EQ(outline(import(single("Softmax", {-1, 3, 4}, 13, axis(2)))), "x 3x4 | y softmax 3x4");
  EXPECT_TRUE(mentions(error_of(single("Softmax", {-1, 3, 4}, 11)), "Softmax over another axis"));
  EXPECT_TRUE(mentions(error_of(single("Softmax", {-1, 3}, 13, axis(0))), "Softmax over another axis"));
  EXPECT_TRUE(mentions(error_of(single("LogSoftmax")), "unsupported operators: LogSoftmax ('/y')"));
}

TEST_F(OnnxImport, BatchNormalization) {
  OnnxModelWriter writer;
  writer.floats("s", {2}, {1, 2});
  writer.floats("b", {2}, {3, 4});
  writer.floats("m", {2}, {5, 6});
  writer.floats("v", {2}, {7, 8});
  onnx::NodeProto& node = writer.node("BatchNormalization", {"x", "s", "b", "m", "v"}, "y");
  set_float(node, "epsilon", 0.5F);
  set_float(node, "momentum", 0.9F);
  const net::Model model = import(writer);
  EXPECT_EQ(outline(model), "x 2 | y batch_norm 2");
  EXPECT_EQ(model.graph.node(1).attribute("epsilon", 0), 0.5);
  EXPECT_EQ(values(model, "y.scale"), (Floats{1, 2}));
  EXPECT_EQ(values(model, "y.shift"), (Floats{3, 4}));
  EXPECT_EQ(values(model, "y.mean"), (Floats{5, 6}));
  EXPECT_EQ(values(model, "y.variance"), (Floats{7, 8}));
  set_integer(node, "training_mode", 1);
  EXPECT_TRUE(mentions(error_of(writer), "BatchNormalization in training mode"));
}

TEST_F(OnnxImport, BatchNormalizationRefusesNegativeVariance) {
  OnnxModelWriter writer;
  for (const char* name : {"s", "b", "m"}) writer.floats(name, {2}, {1, 1});
  writer.floats("v", {2}, {1, -1});
  writer.node("BatchNormalization", {"x", "s", "b", "m", "v"}, "y");
  EXPECT_TRUE(mentions(error_of(writer), "tensor 'v' holds a variance below"));
}

TEST_F(OnnxImport, ArithmeticWithConstantsIsPerChannel) {
  struct Case {
    const char* type;
    bool constant_first;
    Floats scale, shift;
  };
  for (const Case& expected :
       {Case{"Add", false, {1, 1}, {2, 4}}, Case{"Sub", false, {1, 1}, {-2, -4}}, Case{"Sub", true, {-1, -1}, {2, 4}},
        Case{"Mul", true, {2, 4}, {0, 0}}, Case{"Div", false, {0.5, 0.25}, {0, 0}}}) {
    SCOPED_TRACE(expected.type);
    OnnxModelWriter writer;
    writer.floats("c", {2}, {2, 4});
    writer.node(expected.type, expected.constant_first ? Names{"c", "x"} : Names{"x", "c"}, "y");
    const net::Model model = import(writer);
    EXPECT_EQ(outline(model), "x 2 | y batch_norm 2");
    EXPECT_EQ(values(model, "y.scale"), expected.scale);
    EXPECT_EQ(values(model, "y.shift"), expected.shift);
    EXPECT_EQ(values(model, "y.mean"), (Floats{0, 0}));
    EXPECT_EQ(values(model, "y.variance"), (Floats{1, 1}));
    EXPECT_EQ(model.graph.node(1).attribute("epsilon", -1), 0.0);
  }
}

TEST_F(OnnxImport, ArithmeticBroadcastsAsOnnxDoes) {
  const auto add = [](const Shape& constant) {
    OnnxModelWriter writer({-1, 2, 3, 3});
    writer.floats("c", constant, Floats(static_cast<std::size_t>(element_count(constant)), 1.0F));
    writer.node("Add", {"x", "c"}, "y");
    return writer;
  };
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{2, 1, 1}, Shape{1, 2, 1, 1}}) {
    EXPECT_EQ(outline(import(add(shape))), "x 2x3x3 | y batch_norm 2x3x3");
  }
  for (const Shape& shape : {Shape{3}, Shape{2, 1, 1, 1}, Shape{1, 1, 2, 1, 1}, Shape{1, 1, 3}}) {
    EXPECT_TRUE(mentions(error_of(add(shape)), "unsupported operators: Add with a constant of"));
  }
  OnnxModelWriter zero;
  zero.floats("c", {}, {0});
  zero.node("Div", {"x", "c"}, "y");
  EXPECT_TRUE(mentions(error_of(zero), "node '/y' divides by 0"));
}

TEST_F(OnnxImport, ActivationsWrittenOutAreRecognized) {
  OnnxModelWriter gelu;  // 0.5 · (x · (1 + erf(x / √2)))
  gelu.floats("root", {}, {1.41421354F});
  gelu.floats("one", {}, {1});
  gelu.floats("half", {}, {0.5});
  gelu.node("Div", {"x", "root"}, "a");
  gelu.node("Erf", {"a"}, "b");
  gelu.node("Add", {"b", "one"}, "c");
  gelu.node("Mul", {"x", "c"}, "d");
  gelu.node("Mul", {"d", "half"}, "y");
  EXPECT_EQ(outline(import(gelu)), "x 2 | y gelu 2");
  gelu.graph().mutable_node(3)->set_input(0, "a");  // another factor: no GELU
  EXPECT_TRUE(mentions(error_of(gelu), "Erf ('/b')"));

  OnnxModelWriter softsign;  // x / (1 + |x|)
  softsign.floats("one", {}, {1});
  softsign.node("Abs", {"x"}, "a");
  softsign.node("Add", {"one", "a"}, "b");
  softsign.node("Div", {"x", "b"}, "y");
  EXPECT_EQ(outline(import(softsign)), "x 2 | y softsign 2");

  OnnxModelWriter swish;
  swish.node("Sigmoid", {"x"}, "gate");
  swish.node("Mul", {"gate", "x"}, "y");
  EXPECT_EQ(outline(import(swish)), "x 2 | y swish 2");

  OnnxModelWriter hard_swish;
  set_float(hard_swish.node("HardSigmoid", {"x"}, "gate"), "alpha", 1.0F / 6.0F);
  hard_swish.node("Mul", {"x", "gate"}, "y");
  EXPECT_EQ(outline(import(hard_swish)), "x 2 | y hard_swish 2");
}

TEST_F(OnnxImport, WhatDoesNothingAtInferenceIsDropped) {
  OnnxModelWriter writer;
  writer.floats("ratio", {}, {0.5});
  writer.node("Identity", {"x"}, "a");
  onnx::NodeProto& dropout = writer.node("Dropout", {"a", "ratio"}, "b");
  dropout.add_output("mask");
  set_integer(writer.node("Cast", {"b"}, "c"), "to", onnx::TensorProto::FLOAT16);
  writer.node("Relu", {"c"}, "y");
  EXPECT_EQ(outline(import(writer)), "x 2 | y relu 2");
  writer.graph().mutable_node(3)->set_input(0, "mask");
  EXPECT_TRUE(mentions(error_of(writer), "node '/y' reads 'mask'"));
  OnnxModelWriter to_integers = single("Cast", {-1, 2}, 13, [](auto& node) { set_integer(node, "to", 7); });
  EXPECT_TRUE(mentions(error_of(to_integers), "Cast to data type 7"));
}

TEST_F(OnnxImport, OnlyWhatTheOutputNeedsMatters) {
  OnnxModelWriter writer;
  writer.add_input("unused", {-1, 5});
  writer.node("Relu", {"x"}, "y");
  writer.node("Conv", {"y", "nowhere"}, "side");
  EXPECT_EQ(outline(import(writer)), "x 2 | y relu 2");
}

TEST_F(OnnxImport, InitializersAmongTheInputsAreNoInputs) {
  OnnxModelWriter writer;
  writer.floats("w", {2, 1}, {1, 2});
  writer.add_input("w", {2, 1});
  writer.node("MatMul", {"x", "w"}, "y");
  EXPECT_EQ(outline(import(writer)), "x 2 | y dense 1");
}

TEST_F(OnnxImport, AllUnsupportedOperatorsAreNamedAtOnce) {
  OnnxModelWriter writer({-1, 1, 4, 4});
  writer.floats("k", {1, 1, 1}, Floats(1, 1.0F));
  writer.node("Resize", {"x"}, "r1");
  writer.node("Relu", {"r1"}, "r");
  writer.node("Resize", {"r"}, "r2");
  writer.node("Magic", {"r2"}, "m").set_domain("com.example");
  writer.node("Conv", {"x", "k"}, "c");  // one-dimensional
  writer.node("Add", {"m", "c"}, "y");
  EXPECT_TRUE(mentions(error_of(writer),
                       "unsupported operators: Resize ('/r1', '/r2'); com.example.Magic ('/m'); Conv with a weight of "
                       "shape 1x1x1 ('/c')"));
}

TEST_F(OnnxImport, InputsAndOutputsAreChecked) {
  OnnxModelWriter two_inputs;
  two_inputs.add_input("z", {-1, 2});
  two_inputs.node("Add", {"x", "z"}, "y");
  EXPECT_TRUE(mentions(error_of(two_inputs), "the network has 2 inputs (x, z); expected one"));

  OnnxModelWriter two_outputs = single("Relu");
  two_outputs.graph().add_output()->set_name("x");
  EXPECT_TRUE(mentions(error_of(two_outputs), "the network has 2 outputs (y, x); expected one"));

  EXPECT_TRUE(mentions(error_of(single("Relu", {-1, -1})), "the input 'x' has shape [n, n]"));
  EXPECT_TRUE(mentions(error_of(single("Relu", {784})), "the input 'x' has shape [784]"));

  OnnxModelWriter shapeless = single("Relu");
  shapeless.graph().mutable_input(0)->clear_type();
  EXPECT_TRUE(mentions(error_of(shapeless), "the input 'x' has no shape"));

  OnnxModelWriter constant;
  constant.floats("c", {1}, {1});
  constant.node("Identity", {"c"}, "y");
  EXPECT_TRUE(mentions(error_of(constant), "depends on no input"));
}

TEST_F(OnnxImport, BrokenGraphsAreNamed) {
  OnnxModelWriter ghost;
  ghost.node("Mul", {"x", "ghost"}, "y");
  EXPECT_TRUE(mentions(error_of(ghost), "node '/y' reads 'ghost', which nothing produces"));

  OnnxModelWriter late;
  late.node("Relu", {"h"}, "y");
  late.node("Relu", {"x"}, "h");
  EXPECT_TRUE(mentions(error_of(late), "node '/y' reads 'h' before it is produced"));

  OnnxModelWriter twice;
  twice.node("Relu", {"x"}, "y");
  twice.node("Tanh", {"x"}, "y");
  EXPECT_TRUE(mentions(error_of(twice), "value 'y' is produced by two nodes"));
}

TEST_F(OnnxImport, FilesThatAreNoModels) {
  const auto error_at = [&](const std::filesystem::path& file) {
    return input_error([&] { (void)import_onnx(file); });
  };
  EXPECT_TRUE(mentions(error_at(path("none.onnx")), "none.onnx': the file does not exist"));
  EXPECT_TRUE(mentions(error_at(folder_), "this is a folder"));
  const auto write = [&](const std::string& bytes) {
    std::ofstream(path("file.onnx"), std::ios::binary) << bytes;
    return error_at(path("file.onnx"));
  };
  EXPECT_TRUE(mentions(write(""), "the file is empty"));
  EXPECT_TRUE(mentions(write("\x89HDF\r\n\x1a\n and more"), "this is an HDF5 file"));
  EXPECT_TRUE(mentions(write("PK\x03\x04 and more"), "a zip archive"));
  EXPECT_TRUE(mentions(write("certainly no protobuf"), "not an ONNX model"));
  EXPECT_TRUE(mentions(write(std::string("\x08\x07", 2)), "no IR version or no graph"));  // ir_version alone

  OnnxModelWriter writer = single("Relu");
  const std::string whole = writer.model.SerializeAsString();
  EXPECT_TRUE(mentions(write(whole.substr(0, whole.size() / 2)), "damaged or truncated"));
  writer.model.mutable_opset_import(0)->set_version(6);
  EXPECT_TRUE(mentions(error_of(writer), "opset 6; expected 7 or later"));
  writer.model.clear_opset_import();
  EXPECT_TRUE(mentions(error_of(writer), "names no opset"));
  writer.graph().clear_node();
  EXPECT_TRUE(mentions(error_of(writer), "no nodes"));
}

TEST_F(OnnxImport, ASmallFileCannotMakeALargeNetwork) {
  // One constant that many nodes hold.
  OnnxModelWriter repeated({-1, 1 << 16});
  repeated.floats("c", {1 << 16}, std::vector<float>(1 << 16, 1));
  std::string value = "x";
  for (int i = 0; i < 300; ++i) {
    repeated.node("Mul", {value, "c"}, fmt::format("v{}", i));
    value = fmt::format("v{}", i);
  }
  repeated.node("Relu", {value}, "y");
  EXPECT_TRUE(mentions(error_of(repeated), "hold more than 16777216 values in all"));
  // One number for every channel there may be.
  OnnxModelWriter wide({-1, Index{1} << 40});
  wide.floats("c", {}, {2});
  wide.node("Mul", {"x", "c"}, "y");
  EXPECT_TRUE(mentions(error_of(wide), "one value stands for 1099511627776 channels, expected at most 16777216"));
  // A shape with as many dimensions as there are bytes for.
  OnnxModelWriter deep({-1, 1});
  deep.integers("target", {1000}, std::vector<Index>(1000, 1));
  deep.node("Reshape", {"x", "target"}, "y");
  EXPECT_TRUE(mentions(error_of(deep), "a shape has 999 dimensions, expected at most 32"));
  // A name that a config's pattern would be matched with.
  OnnxModelWriter named({-1, 2});
  named.node("Relu", {"x"}, "y").set_name(std::string(5000, 'n'));
  EXPECT_TRUE(mentions(error_of(named), "has a name of 5000 bytes, expected at most 1024"));
}

TEST_F(OnnxImport, EveryPrefixOfAModelIsAnErrorOrAModel) {
  OnnxModelWriter writer;
  writer.floats("fc.weight", {3, 2}, {1, 2, 3, 4, 5, 6});
  set_integer(writer.node("Gemm", {"x", "fc.weight"}, "y"), "transB", 1);
  const std::string whole = writer.model.SerializeAsString();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    std::ofstream(path("cut.onnx"), std::ios::binary) << whole.substr(0, size);
    try {
      (void)import_onnx(path("cut.onnx"));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::input) << size << ": " << error.what();
    }
  }
}

TEST_F(OnnxImport, TrainedMlp) {
  const std::filesystem::path file = std::filesystem::path(GPFQ_SHARED_DATA) / "models/mnist_mlp.onnx";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << file << " is missing";
  const net::Model model = import_onnx(file);
  EXPECT_EQ(outline(model),
            "input 784 | 0 dense 500 | 1.Relu relu 500 | 2.BatchNormalization batch_norm 500 | 3 dense 300 | "
            "4.Relu relu 300 | 5.BatchNormalization batch_norm 300 | 6 dense 10");
  EXPECT_EQ(model.graph.tensor_shape("0.weight"), (Shape{500, 784}));
  EXPECT_EQ(model.graph.tensor_shape("3.weight"), (Shape{300, 500}));
  EXPECT_EQ(model.graph.tensor_shape("6.weight"), (Shape{10, 300}));
  EXPECT_EQ(values(model, "6.bias").size(), 10U);
}

}  // namespace
}  // namespace gpfq::formats
