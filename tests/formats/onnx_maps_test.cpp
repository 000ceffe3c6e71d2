// SPDX-License-Identifier: Apache-2.0
// Operators over feature maps in ONNX models: the paddings that they come to, worked out by hand,
// and small networks run against values worked out by hand.
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "gpfq/formats/import.hpp"
#include "import_testing.hpp"
#include "onnx_model_writer.hpp"

namespace gpfq::formats {
namespace {

using Floats = std::vector<float>;
using Numbers = std::vector<double>;

class OnnxMaps : public ImportTest {
 protected:
  [[nodiscard]] net::Model import(const OnnxModelWriter& writer) const {
    return import_onnx(writer.save(path("net.onnx")));
  }
  [[nodiscard]] std::string error_of(const OnnxModelWriter& writer) const {
    return input_error([&] { (void)import(writer); });
  }
};

Floats ones(const Shape& shape) { return Floats(static_cast<std::size_t>(element_count(shape)), 1.0F); }

/// first, first + 1, ...
Floats counted(std::size_t count, float first = 1) {
  Floats values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}

/// y = Conv(x, c.weight) with attributes to be added.
struct ConvModel {
  ConvModel(const Shape& input, const Shape& weight) : writer(input) {
    writer.floats("c.weight", weight, ones(weight));
    node = &writer.node("Conv", {"x", "c.weight"}, "y");
  }
  OnnxModelWriter writer;
  onnx::NodeProto* node;
};

TEST_F(OnnxMaps, ConvolutionWithEverything) {
  ConvModel model({-1, 4, 9, 8}, {6, 2, 3, 2});
  model.writer.floats("c.bias", {6}, counted(6));
  model.node->add_input("c.bias");
  set_integers(*model.node, "kernel_shape", {3, 2});
  set_integers(*model.node, "strides", {2, 1});
  set_integers(*model.node, "dilations", {1, 3});
  set_integers(*model.node, "pads", {0, 1, 2, 3});
  set_integer(*model.node, "group", 2);
  const net::Model result = import(model.writer);
  EXPECT_EQ(outline(result), "x 4x9x8 | c conv 6x5x9");  // ⌊(9+2−3)/2⌋+1, ⌊(8+4−4)/1⌋+1
  const net::Node& node = result.graph.node(1);
  EXPECT_EQ(node.attributes.at("strides"), (Numbers{2, 1}));
  EXPECT_EQ(node.attributes.at("dilations"), (Numbers{1, 3}));
  EXPECT_EQ(node.attributes.at("pads"), (Numbers{0, 1, 2, 3}));
  EXPECT_EQ(node.attribute("groups", 0), 2.0);
  EXPECT_EQ(result.graph.tensor_shape("c.weight"), (Shape{6, 2, 3, 2}));
  EXPECT_EQ(values(result, "c.bias"), counted(6));
}

TEST_F(OnnxMaps, ConvolutionWeightsComeByFilters) {
  OnnxModelWriter writer({-1, 2, 3, 3});
  writer.floats("w", {3, 2, 2, 2}, counted(24));
  writer.node("Conv", {"x", "w"}, "y");
  const net::Model model = import(writer);
  EXPECT_EQ(outline(model), "x 2x3x3 | y conv 3x2x2");  // no ".weight": named after the node "/y"
  Floats filter(8);
  model.tensors.at("y.weight").read_rows(1, 1, filter.data());
  EXPECT_EQ(filter, counted(8, 9));
}

TEST_F(OnnxMaps, PaddingByNameBecomesNumbers) {
  const auto pads = [&](const char* name, const Shape& weight, const std::vector<Index>& strides,
                        const std::vector<Index>& dilations = {1, 1}) {
    ConvModel model({-1, 1, 8, 9}, weight);
    set_text(*model.node, "auto_pad", name);
    set_integers(*model.node, "strides", strides);
    set_integers(*model.node, "dilations", dilations);
    return import(model.writer).graph.node(1).attributes.at("pads");
  };
  // Height 8, stride 2, kernel 3: 4 outputs reach over 3·2 + 3 = 9, one too many; width 9: 5 outputs, 11, two.
  EXPECT_EQ(pads("SAME_UPPER", {1, 1, 3, 3}, {2, 2}), (Numbers{0, 1, 1, 1}));
  EXPECT_EQ(pads("SAME_LOWER", {1, 1, 3, 3}, {2, 2}), (Numbers{1, 1, 0, 1}));
  EXPECT_EQ(pads("VALID", {1, 1, 3, 3}, {2, 2}), (Numbers{0, 0, 0, 0}));
  // Dilation 2: the kernel of 3 reaches over 5; stride 1 needs 4.
  EXPECT_EQ(pads("SAME_UPPER", {1, 1, 3, 3}, {1, 1}, {2, 2}), (Numbers{2, 2, 2, 2}));
  // A stride beyond the kernel needs none: 3 outputs reach over 2·3 + 1 = 7 of 8.
  EXPECT_EQ(pads("SAME_UPPER", {1, 1, 1, 1}, {3, 3}), (Numbers{0, 0, 0, 0}));
  // Even kernel, stride 1: 8 + 1, the odd value at the end or at the start.
  EXPECT_EQ(pads("SAME_UPPER", {1, 1, 2, 4}, {1, 1}), (Numbers{0, 1, 1, 2}));
  EXPECT_EQ(pads("SAME_LOWER", {1, 1, 2, 4}, {1, 1}), (Numbers{1, 2, 0, 1}));
}

TEST_F(OnnxMaps, ConvolutionsThatCannotBeRead) {
  EXPECT_TRUE(mentions(error_of(ConvModel({-1, 2, 9}, {3, 2, 3}).writer), "Conv on samples of 2x9 (not channels"));
  EXPECT_TRUE(mentions(error_of(ConvModel({-1, 2, 9, 9}, {3, 2, 3}).writer), "Conv with a weight of shape 3x2x3"));
  const auto with = [&](const std::function<void(onnx::NodeProto&)>& change) {
    ConvModel model({-1, 2, 9, 9}, {4, 2, 3, 3});
    change(*model.node);
    return error_of(model.writer);
  };
  EXPECT_TRUE(mentions(with([](auto& node) { set_integers(node, "kernel_shape", {3, 2}); }), "'kernel_shape' is 3x2"));
  EXPECT_TRUE(mentions(with([](auto& node) {
                         set_integers(node, "strides", {0, 1});
                       }),
                       "node '/y' (Conv): attribute 'strides' is [0, 1]; expected 2 integers from 1 on"));
  EXPECT_TRUE(mentions(with([](auto& node) { set_integers(node, "strides", {1}); }), "attribute 'strides' is [1]"));
  EXPECT_TRUE(mentions(with([](auto& node) { set_integers(node, "pads", {1, -1, 0, 0}); }), "attribute 'pads'"));
  EXPECT_TRUE(mentions(with([](auto& node) { set_integers(node, "dilations", {1, Index{1} << 40}); }), "'dilations'"));
  EXPECT_TRUE(mentions(with([](auto& node) { set_integer(node, "group", 0); }), "attribute 'group' is 0"));
  EXPECT_FALSE(with([](auto& node) { set_integer(node, "group", 2); }).empty());  // the weight reads two channels
  EXPECT_TRUE(mentions(with([](auto& node) { set_text(node, "auto_pad", "SAME"); }), "'auto_pad' is 'SAME'"));
  EXPECT_FALSE(with([](auto& node) { set_integers(node, "dilations", {5, 5}); }).empty());  // reaches too far
  OnnxModelWriter computed({-1, 1, 1, 1});
  computed.node("Conv", {"x", "x"}, "y");
  EXPECT_TRUE(mentions(error_of(computed), "Conv whose input 1 is no floating-point constant"));
}

TEST_F(OnnxMaps, ConvThenAddIsOneLayer) {
  ConvModel model({-1, 2, 4, 4}, {3, 2, 3, 3});
  model.node->set_output(0, "product");
  model.writer.floats("b", {1, 3, 1, 1}, {5, 6, 7});
  model.writer.node("Add", {"product", "b"}, "y");
  const net::Model result = import(model.writer);
  EXPECT_EQ(outline(result), "x 2x4x4 | c conv 3x2x2");
  EXPECT_EQ(values(result, "c.bias"), (Floats{5, 6, 7}));
}

OnnxModelWriter pool(const std::string& type, const Shape& input, const std::vector<Index>& kernel,
                     const std::function<void(onnx::NodeProto&)>& change = {}) {
  OnnxModelWriter writer(input, 19);
  onnx::NodeProto& node = writer.node(type, {"x"}, "y");
  set_integers(node, "kernel_shape", kernel);
  if (change) change(node);
  return writer;
}

TEST_F(OnnxMaps, PoolsWithEverything) {
  const auto change = [](onnx::NodeProto& node) {
    set_integers(node, "strides", {2, 3});
    set_integers(node, "dilations", {2, 1});
    set_integers(node, "pads", {1, 0, 1, 1});
    set_integer(node, "ceil_mode", 1);
  };
  const net::Model max = import(pool("MaxPool", {-1, 2, 8, 8}, {3, 2}, change));
  EXPECT_EQ(outline(max), "x 2x8x8 | y max_pool 2x4x3");  // ⌈(10−5)/2⌉+1; of ⌈(9−2)/3⌉+1 one would start behind
  const auto& attributes = max.graph.node(1).attributes;
  EXPECT_EQ(attributes.at("kernel"), (Numbers{3, 2}));
  EXPECT_EQ(attributes.at("strides"), (Numbers{2, 3}));
  EXPECT_EQ(attributes.at("dilations"), (Numbers{2, 1}));
  EXPECT_EQ(attributes.at("pads"), (Numbers{1, 0, 1, 1}));
  EXPECT_EQ(attributes.at("ceil_mode"), (Numbers{1}));
  EXPECT_FALSE(attributes.contains("count_include_pad"));
  const net::Model mean = import(pool("AveragePool", {-1, 2, 8, 8}, {3, 2}, [&](onnx::NodeProto& node) {
    change(node);
    set_integer(node, "count_include_pad", 1);
  }));
  EXPECT_EQ(mean.graph.node(1).op, net::Op::average_pool);
  EXPECT_EQ(mean.graph.node(1).attribute("count_include_pad", 0), 1.0);
  EXPECT_EQ(mean.graph.node(1).attributes.at("dilations"), (Numbers{2, 1}));
}

TEST_F(OnnxMaps, PoolsOnValues) {
  // 3x3 values 1..9, kernel 2, stride 2: with ceil_mode the last windows hold what is left.
  const auto pooled = [&](const std::string& type, const std::function<void(onnx::NodeProto&)>& change) {
    return run(import(pool(type, {-1, 1, 3, 3}, {2, 2},
                           [&](onnx::NodeProto& node) {
                             set_integers(node, "strides", {2, 2});
                             change(node);
                           })),
               counted(9));
  };
  const auto ceil = [](onnx::NodeProto& node) { set_integer(node, "ceil_mode", 1); };
  EXPECT_EQ(pooled("MaxPool", [](auto&) {}), (Floats{5}));
  EXPECT_EQ(pooled("MaxPool", ceil), (Floats{5, 6, 8, 9}));
  EXPECT_EQ(pooled("AveragePool", ceil), (Floats{3, 4.5, 7.5, 9}));
  const auto padded = [](onnx::NodeProto& node) { set_integers(node, "pads", {1, 1, 0, 0}); };
  EXPECT_EQ(pooled("AveragePool", padded), (Floats{1, 2.5, 5.5, 7}));
  const auto counting = [&](onnx::NodeProto& node) {
    padded(node);
    set_integer(node, "count_include_pad", 1);
  };
  EXPECT_EQ(pooled("AveragePool", counting), (Floats{0.25, 1.25, 2.75, 7}));
}

TEST_F(OnnxMaps, PoolsThatCannotBeRead) {
  EXPECT_TRUE(mentions(error_of(pool("MaxPool", {-1, 2, 8}, {2})), "MaxPool on samples of 2x8"));
  EXPECT_TRUE(mentions(error_of(pool("MaxPool", {-1, 2, 8, 8}, {2})), "attribute 'kernel_shape' is [2]"));
  EXPECT_TRUE(mentions(error_of(pool("MaxPool", {-1, 2, 8, 8}, {0, 2})), "attribute 'kernel_shape' is [0, 2]"));
  OnnxModelWriter missing({-1, 2, 8, 8});
  missing.node("AveragePool", {"x"}, "y");
  EXPECT_TRUE(mentions(error_of(missing), "node '/y' (AveragePool): attribute 'kernel_shape' is missing"));
  OnnxModelWriter indexes = pool("MaxPool", {-1, 2, 8, 8}, {2, 2});
  indexes.graph().mutable_node(0)->set_output(0, "pooled");
  indexes.graph().mutable_node(0)->add_output("places");
  indexes.node("Relu", {"places"}, "y");
  EXPECT_TRUE(mentions(error_of(indexes), "node '/y' reads 'places', which has no meaning at inference"));
}

TEST_F(OnnxMaps, GlobalPools) {
  const auto global = [](const std::string& type) {
    OnnxModelWriter writer({-1, 2, 2, 3});
    writer.node(type, {"x"}, "y");
    return writer;
  };
  const net::Model mean = import(global("GlobalAveragePool"));
  EXPECT_EQ(outline(mean), "x 2x2x3 | y reduce_mean 2x1x1");
  EXPECT_EQ(run(mean, counted(12)), (Floats{3.5, 9.5}));
  const net::Model max = import(global("GlobalMaxPool"));
  EXPECT_EQ(outline(max), "x 2x2x3 | y max_pool 2x1x1");
  EXPECT_EQ(run(max, counted(12)), (Floats{6, 12}));
}

TEST_F(OnnxMaps, ReduceMean) {
  const auto mean = [](const std::vector<Index>& axes, Index keep, Index opset = 13) {
    OnnxModelWriter writer({-1, 2, 2, 3}, opset);
    if (opset >= 18) writer.integers("axes", {static_cast<Index>(axes.size())}, axes);
    onnx::NodeProto& node = writer.node("ReduceMean", opset >= 18 ? Names{"x", "axes"} : Names{"x"}, "y");
    if (opset < 18 && !axes.empty()) set_integers(node, "axes", axes);
    set_integer(node, "keepdims", keep);
    return writer;
  };
  for (const Index opset : {13, 18}) {
    EXPECT_EQ(run(import(mean({2, 3}, 0, opset)), counted(12)), (Floats{3.5, 9.5}));
    EXPECT_EQ(outline(import(mean({-1, 1}, 1, opset))), "x 2x2x3 | y reduce_mean 1x2x1");
    EXPECT_EQ(outline(import(mean({3, 1}, 0, opset))), "x 2x2x3 | y reduce_mean 2");
    EXPECT_EQ(outline(import(mean({1, 2, 3}, 0, opset))), "x 2x2x3 | y reduce_mean 1x1x1 | y#2 reshape 1");
    EXPECT_TRUE(mentions(error_of(mean({0, 1}, 1, opset)), "ReduceMean over the batch dimension"));
    EXPECT_TRUE(mentions(error_of(mean({}, 1, opset)), "ReduceMean over the batch dimension"));  // all axes
    EXPECT_TRUE(mentions(error_of(mean({4}, 1, opset)), "node '/y' (ReduceMean): axis 4 of 4"));
    EXPECT_FALSE(error_of(mean({1, 1}, 1, opset)).empty());
  }
}

TEST_F(OnnxMaps, PadInEveryOpset) {
  OnnxModelWriter old({-1, 1, 2, 2}, 9);
  onnx::NodeProto& node = old.node("Pad", {"x"}, "y");
  set_integers(node, "pads", {0, 0, 1, 0, 0, 1, 0, 1});
  set_float(node, "value", 9);
  const Floats expected{9, 9, 9, 1, 2, 9, 3, 4, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9};
  const net::Model model = import(old);
  EXPECT_EQ(outline(model), "x 1x2x2 | y pad 2x3x3");
  EXPECT_EQ(run(model, counted(4)), expected);

  const auto later = [](const std::vector<Index>& pads, const std::vector<Index>& axes, Index opset) {
    OnnxModelWriter writer({-1, 1, 2, 2}, opset);
    writer.integers("pads", {static_cast<Index>(pads.size())}, pads);
    writer.floats("value", {}, {9});
    writer.integers("axes", {static_cast<Index>(axes.size())}, axes);
    onnx::NodeProto& pad = writer.node("Pad", {"x", "pads", "value"}, "y");
    if (!axes.empty()) pad.add_input("axes");
    return writer;
  };
  EXPECT_EQ(run(import(later({0, 0, 1, 0, 0, 1, 0, 1}, {}, 13)), counted(4)), expected);
  EXPECT_EQ(run(import(later({1, 0, 0, 0, 1, 1}, {2, -1, 1}, 18)), counted(4)), expected);
  EXPECT_EQ(outline(import(later({0, 0, 0, 0, 0, 0, 0, 0}, {}, 13))), "x 1x2x2");  // nothing to do
  EXPECT_TRUE(mentions(error_of(later({1, 0, 0, 0, 0, 0, 0, 0}, {}, 13)), "Pad of the batch dimension"));
  EXPECT_TRUE(mentions(error_of(later({0, 0, -1, 0, 0, 0, 0, 0}, {}, 13)), "Pad by [0, -1, 0, 0, 0, 0]"));
  EXPECT_TRUE(mentions(error_of(later({0, 0, 1}, {}, 13)), "3 pads for 4 axes"));
  EXPECT_TRUE(mentions(error_of(later({1, 1}, {7}, 18)), "axis 7 of 4"));
  OnnxModelWriter reflected = later({0, 0, 1, 1, 0, 0, 1, 1}, {}, 13);
  set_text(*reflected.graph().mutable_node(0), "mode", "reflect");
  EXPECT_TRUE(mentions(error_of(reflected), "Pad in mode 'reflect'"));
}

TEST_F(OnnxMaps, PadByMinusInfinityBeforeAMaximum) {
  for (const Index opset : {9, 13}) {
    OnnxModelWriter writer({-1, 1, 2, 2}, opset);
    const float infinity = std::numeric_limits<float>::infinity();
    if (opset == 13) {
      writer.integers("pads", {8}, {0, 0, 1, 1, 0, 0, 1, 1});
      writer.floats("value", {}, {-infinity});
      writer.node("Pad", {"x", "pads", "value"}, "padded");
    } else {
      onnx::NodeProto& pad = writer.node("Pad", {"x"}, "padded");
      set_integers(pad, "pads", {0, 0, 1, 1, 0, 0, 1, 1});
      set_float(pad, "value", -infinity);
    }
    onnx::NodeProto& pool = writer.node("MaxPool", {"padded"}, "y");
    set_integers(pool, "kernel_shape", {2, 2});
    set_integers(pool, "strides", {2, 2});
    net::Model model = import(writer);
    model.graph = net::graph_from_json(net::to_json(model.graph), "here");  // text knows no infinity
    EXPECT_EQ(run(model, {-1, -2, -3, -4}), (Floats{-1, -2, -3, -4}));
  }
  OnnxModelWriter writer({-1, 1, 2, 2});
  writer.integers("pads", {8}, {0, 0, 1, 1, 0, 0, 1, 1});
  writer.floats("value", {}, {std::nanf("")});
  writer.node("Pad", {"x", "pads", "value"}, "y");
  EXPECT_TRUE(mentions(error_of(writer), "Pad with a value that is not a number ('/y')"));
}

TEST_F(OnnxMaps, SumsAndProductsOfSamples) {
  OnnxModelWriter writer({-1, 2, 1, 2});  // squeeze and excitation: x · clip(mean(x)) + x
  writer.node("GlobalAveragePool", {"x"}, "mean");
  writer.node("Relu", {"mean"}, "gate");
  writer.node("Mul", {"gate", "x"}, "scaled");
  writer.node("Add", {"scaled", "x"}, "y");
  const net::Model model = import(writer);
  EXPECT_EQ(outline(model), "x 2x1x2 | mean reduce_mean 2x1x1 | gate relu 2x1x1 | scaled mul 2x1x2 | y add 2x1x2");
  EXPECT_EQ(run(model, {1, 3, -1, -3}), (Floats{3, 9, -1, -3}));

  OnnxModelWriter square({-1, 2});
  square.node("Mul", {"x", "x"}, "y");
  EXPECT_EQ(run(import(square), {2, 3}), (Floats{4, 9}));

  OnnxModelWriter ranks({-1, 2, 2});
  set_integers(ranks.node("ReduceMean", {"x"}, "mean"), "axes", {1});
  set_integer(*ranks.graph().mutable_node(0), "keepdims", 0);
  ranks.node("Add", {"mean", "x"}, "y");  // ONNX would align the batch with an axis of the other
  EXPECT_TRUE(mentions(error_of(ranks), "Add of samples of 2 and 2x2"));
  ranks.graph().mutable_node(1)->set_op_type("Div");
  EXPECT_TRUE(mentions(error_of(ranks), "Div of two computed values"));

  OnnxModelWriter difference({-1, 2, 1, 2});
  difference.node("GlobalAveragePool", {"x"}, "mean");
  difference.node("Sub", {"mean", "x"}, "y");
  const net::Model centred = import(difference);
  EXPECT_EQ(outline(centred), "x 2x1x2 | mean reduce_mean 2x1x1 | y sub 2x1x2");
  EXPECT_EQ(run(centred, {1, 3, -1, -5}), (Floats{1, -1, -2, 2}));
}

TEST_F(OnnxMaps, BatchNormalizationOfMaps) {
  OnnxModelWriter writer({-1, 2, 1, 2});
  for (const char* name : {"s", "b", "m", "v"}) writer.floats(name, {2}, {1, 2});
  set_float(writer.node("BatchNormalization", {"x", "s", "b", "m", "v"}, "y"), "epsilon", 2);
  const net::Model model = import(writer);
  EXPECT_EQ(outline(model), "x 2x1x2 | y batch_norm 2x1x2");
  // Channel 1: (x − 2) / √(2 + 2) · 2 + 2 = x.
  const Floats result = run(model, {0, 0, 5, 6});
  EXPECT_NEAR(result[2], 5, 1e-6);
  EXPECT_NEAR(result[3], 6, 1e-6);
}

TEST_F(OnnxMaps, AConstantForManyChannelsTakesNoMemoryAndForTooManyIsRefused) {
  const auto writer_of = [](Index channels) {
    OnnxModelWriter writer({-1, channels});
    writer.floats("c", {}, {2});
    writer.node("Mul", {"x", "c"}, "y");
    return writer;
  };
  const net::Model model = import(writer_of(Index{1} << 24));
  Floats some(3);
  model.tensors.at("y.scale").read_rows(Index{1} << 20, 3, some.data());
  EXPECT_EQ(some, (Floats{2, 2, 2}));
  EXPECT_TRUE(mentions(error_of(writer_of(Index{1} << 50)),
                       "one value stands for 1125899906842624 channels"));
}

TEST_F(OnnxMaps, TrainedNetworks) {
  const std::filesystem::path models = std::filesystem::path(GPFQ_SHARED_DATA) / "models";
  for (const char* name : {"resnet20.onnx", "cifar10_cnn.onnx", "cifar10_cnn_decay.onnx"}) {
    if (!std::filesystem::exists(models / name)) GTEST_SKIP() << models / name << " is missing";
  }
  const net::Model resnet = import_onnx(models / "resnet20.onnx");
  std::vector<std::string> linear;
  for (const net::Node& node : resnet.graph.nodes) {
    if (net::is_linear(node.op)) linear.push_back(node.name);
  }
  ASSERT_EQ(linear.size(), 20U);
  EXPECT_EQ(linear.front(), "conv1.Conv");  // its folded weight is "onnx::Conv_264"
  EXPECT_EQ(linear[1], "layer1.layer1.0.conv1.Conv");
  EXPECT_EQ(linear.back(), "linear");
  EXPECT_EQ(resnet.graph.tensor_shape("layer3.layer3.2.conv2.Conv.weight"), (Shape{64, 64, 3, 3}));
  // The shortcut x[:, :, ::2, ::2], then 8 channels of zeros before and behind.
  const net::Node& pad = node_named(resnet, "layer2.layer2.0.shortcut.Pad");
  EXPECT_EQ(pad.attributes.at("pads"), (Numbers{8, 0, 0, 8, 0, 0}));
  EXPECT_EQ(resnet.graph.node(pad.inputs.front()).attributes.at("strides"), (Numbers{2, 2}));
  EXPECT_EQ(resnet.graph.node(pad.inputs.front()).shape, (Shape{16, 16, 16}));
  for (const char* name : {"cifar10_cnn.onnx", "cifar10_cnn_decay.onnx"}) {
    const net::Model cnn = import_onnx(models / name);
    EXPECT_TRUE(mentions(outline(cnn),
                         "input 3x32x32 | 0 conv 32x32x32 | 1.Relu relu 32x32x32 | 2.BatchNormalization "
                         "batch_norm 32x32x32 | 3 conv 32x32x32"));
    EXPECT_TRUE(mentions(outline(cnn), "22.MaxPool max_pool 128x4x4 | 24.Flatten reshape 2048 | 25 dense 128"));
    EXPECT_EQ(cnn.graph.tensor_shape("19.weight"), (Shape{128, 128, 3, 3}));
  }
}

}  // namespace
}  // namespace gpfq::formats
