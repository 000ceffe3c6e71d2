// SPDX-License-Identifier: Apache-2.0
// Flattening and reshaping in the many ways exporters write them: with an open batch dimension, one
// fixed to 1, and the shape arithmetic of x.view(x.size(0), -1).
#include <limits>

#include "gpfq/formats/import.hpp"
#include "import_testing.hpp"
#include "onnx_model_writer.hpp"

namespace gpfq::formats {
namespace {

class OnnxShapes : public ImportTest {
 protected:
  [[nodiscard]] net::Model import(const OnnxModelWriter& writer) const {
    return import_onnx(writer.save(path("net.onnx")));
  }
  [[nodiscard]] std::string error_of(const OnnxModelWriter& writer) const {
    return input_error([&] { (void)import(writer); });
  }
};

OnnxModelWriter with_axis(const std::string& type, const Shape& input, Index axis) {
  OnnxModelWriter writer(input);
  set_integer(writer.node(type, {"x"}, "y"), "axis", axis);
  return writer;
}

OnnxModelWriter reshape(const Shape& input, const std::vector<Index>& target) {
  OnnxModelWriter writer(input);
  writer.integers("target", {static_cast<Index>(target.size())}, target);
  writer.node("Reshape", {"x", "target"}, "y");
  return writer;
}

TEST_F(OnnxShapes, Flatten) {
  EXPECT_EQ(outline(import(with_axis("Flatten", {-1, 2, 3, 4}, 1))), "x 2x3x4 | y reshape 24");
  EXPECT_EQ(outline(import(with_axis("Flatten", {-1, 2, 3, 4}, -3))), "x 2x3x4 | y reshape 24");
  EXPECT_EQ(outline(import(with_axis("Flatten", {-1, 1, 3, 4}, 2))), "x 1x3x4 | y reshape 12");
  EXPECT_EQ(outline(import(with_axis("Flatten", {1, 2, 3}, 0))), "x 2x3 | y reshape 6");
  EXPECT_EQ(outline(import(with_axis("Flatten", {-1, 5}, 1))), "x 5");  // nothing to do
  EXPECT_TRUE(mentions(error_of(with_axis("Flatten", {-1, 2, 3}, 0)), "Flatten at axis 0"));
  EXPECT_TRUE(mentions(error_of(with_axis("Flatten", {-1, 2, 3}, 2)), "Flatten at axis 2"));
  EXPECT_TRUE(mentions(error_of(with_axis("Flatten", {-1, 2, 3}, 4)), "axis 4"));
}

TEST_F(OnnxShapes, ReshapeKeepsSamplesApart) {
  for (const std::vector<Index>& target : {std::vector<Index>{-1, 24}, {0, 24}, {0, -1}, {1, 24}, {1, -1}}) {
    EXPECT_EQ(outline(import(reshape({-1, 2, 3, 4}, target))), "x 2x3x4 | y reshape 24");
    EXPECT_EQ(outline(import(reshape({1, 2, 3, 4}, target))), "x 2x3x4 | y reshape 24");
  }
  EXPECT_EQ(outline(import(reshape({8, 2, 3}, {8, -1}))), "x 2x3 | y reshape 6");  // a batch of 8, fixed
  EXPECT_EQ(outline(import(reshape({-1, 2, 6}, {0, 0, 3, -1}))), "x 2x6 | y reshape 2x3x2");
  EXPECT_EQ(outline(import(reshape({-1, 1}, {-1}))), "x 1");  // one value per sample stays a vector of one
  for (const std::vector<Index>& target :
       {std::vector<Index>{-1, 12}, {24}, {-1}, {2, -1}, {0, 25}, {0, -1, 5}, {0, -1, -1}, {0, -2}, {-1, -1}}) {
    EXPECT_TRUE(mentions(error_of(reshape({-1, 2, 3, 4}, target)), "unsupported operators: Reshape")) << target.size();
  }
  EXPECT_TRUE(mentions(error_of(reshape({8, 2, 3}, {1, -1})), "unsupported operators: Reshape"));
}

TEST_F(OnnxShapes, ReshapeToHugeExtentsIsRefused) {
  EXPECT_FALSE(error_of(reshape({-1, 4}, {-1, Index{1} << 40, Index{1} << 40})).empty());
  EXPECT_FALSE(error_of(reshape({-1, Index{1} << 40, Index{1} << 40}, {0, -1})).empty());
}

/// x.view(x.size(0), last): Shape, Gather, Unsqueeze, Concat, Reshape.
OnnxModelWriter view(const Shape& input, Index opset, Index last) {
  OnnxModelWriter writer(input, opset);
  writer.integers("zero", {}, {0});
  writer.integers("last", {}, {last});
  writer.integers("axes", {1}, {0});
  writer.node("Shape", {"x"}, "shape");
  set_integer(writer.node("Gather", {"shape", "zero"}, "batch"), "axis", 0);
  for (const auto& [from, to] : {std::pair{"batch", "batch1"}, std::pair{"last", "last1"}}) {
    onnx::NodeProto& node = writer.node("Unsqueeze", opset < 13 ? Names{from} : Names{from, "axes"}, to);
    if (opset < 13) set_integers(node, "axes", {0});
  }
  set_integer(writer.node("Concat", {"batch1", "last1"}, "target"), "axis", 0);
  writer.node("Reshape", {"x", "target"}, "y");
  return writer;
}

TEST_F(OnnxShapes, ViewWithComputedBatch) {
  for (const Index opset : {9, 11, 13, 18}) {
    for (const Index batch : {-1, 1}) {
      EXPECT_EQ(outline(import(view({batch, 2, 3}, opset, -1))), "x 2x3 | y reshape 6");
      EXPECT_EQ(outline(import(view({batch, 2, 3}, opset, 6))), "x 2x3 | y reshape 6");
    }
  }
  EXPECT_TRUE(mentions(error_of(view({-1, 2, 3}, 13, 7)), "Reshape that does not keep samples apart"));
}

TEST_F(OnnxShapes, ShapeArithmetic) {
  // x.reshape(x.shape[0], x.shape[1] * x.shape[2]) with Slice and Mul, and a Cast on the way.
  OnnxModelWriter writer({-1, 2, 3});
  writer.integers("0", {1}, {0});
  writer.integers("1", {1}, {1});
  writer.integers("2", {1}, {2});
  writer.node("Shape", {"x"}, "shape");
  writer.node("Slice", {"shape", "0", "1"}, "batch");
  writer.node("Gather", {"shape", "1"}, "a");
  writer.node("Gather", {"shape", "2"}, "b");
  writer.node("Mul", {"a", "b"}, "ab");
  set_integer(writer.node("Cast", {"ab"}, "cast"), "to", onnx::TensorProto::INT64);
  set_integer(writer.node("Concat", {"batch", "cast"}, "target"), "axis", 0);
  writer.node("Reshape", {"x", "target"}, "y");
  EXPECT_EQ(outline(import(writer)), "x 2x3 | y reshape 6");
  writer.graph().mutable_node(4)->set_input(1, "batch");  // 2 · batch has no meaning here
  EXPECT_TRUE(mentions(error_of(writer), "Mul of the batch size ('/ab')"));
}

TEST_F(OnnxShapes, GatherOutOfRangeIsNamed) {
  OnnxModelWriter writer = view({-1, 2, 3}, 13, -1);
  writer.graph().mutable_initializer(0)->set_int64_data(0, 9);
  EXPECT_TRUE(mentions(error_of(writer), "node '/batch' (Gather): axis 9 of 3"));
}

TEST_F(OnnxShapes, SqueezeAndUnsqueeze) {
  const auto apply = [&](const std::string& type, const Shape& input, const std::vector<Index>& axes, Index opset) {
    OnnxModelWriter writer(input, opset);
    if (opset >= 13) writer.integers("axes", {static_cast<Index>(axes.size())}, axes);
    onnx::NodeProto& node = writer.node(type, opset >= 13 ? Names{"x", "axes"} : Names{"x"}, "y");
    if (opset < 13) set_integers(node, "axes", axes);
    return writer;
  };
  for (const Index opset : {11, 13}) {
    EXPECT_EQ(outline(import(apply("Squeeze", {-1, 1, 5}, {1}, opset))), "x 1x5 | y reshape 5");
    EXPECT_EQ(outline(import(apply("Squeeze", {-1, 5, 1}, {-1}, opset))), "x 5x1 | y reshape 5");
    EXPECT_EQ(outline(import(apply("Unsqueeze", {-1, 5}, {1}, opset))), "x 5 | y reshape 1x5");
    EXPECT_EQ(outline(import(apply("Unsqueeze", {-1, 5}, {-1, 1}, opset))), "x 5 | y reshape 1x5x1");
    EXPECT_TRUE(mentions(error_of(apply("Squeeze", {-1, 5}, {1}, opset)), "extent 5 is not 1"));
    EXPECT_TRUE(mentions(error_of(apply("Squeeze", {1, 5}, {0}, opset)), "Squeeze of the batch dimension"));
    EXPECT_TRUE(mentions(error_of(apply("Unsqueeze", {1, 5}, {0}, opset)), "Unsqueeze before the batch dimension"));
    EXPECT_TRUE(mentions(error_of(apply("Squeeze", {1, 5}, {7}, opset)), "axis 7 of 2"));
    EXPECT_FALSE(error_of(apply("Unsqueeze", {1, 5}, {2, 2}, opset)).empty());
  }
  OnnxModelWriter all({1, 1, 5});
  all.node("Squeeze", {"x"}, "y");
  EXPECT_TRUE(mentions(error_of(all), "Squeeze without axes"));
}

OnnxModelWriter transpose(const Shape& input, const std::vector<Index>& order) {
  OnnxModelWriter writer(input);
  set_integers(writer.node("Transpose", {"x"}, "y"), "perm", order);
  return writer;
}

TEST_F(OnnxShapes, TransposesOfSamples) {
  EXPECT_EQ(outline(import(transpose({-1, 5}, {0, 1}))), "x 5");
  EXPECT_EQ(outline(import(transpose({-1, 4, 4, 1}, {0, 3, 1, 2}))),
            "x 4x4x1 | y reshape 1x4x4");  // values stay in order
  const net::Model model = import(transpose({-1, 4, 5, 3}, {0, 3, 1, 2}));
  EXPECT_EQ(outline(model), "x 4x5x3 | y transpose 3x4x5");
  EXPECT_EQ(model.graph.node(1).attributes.at("perm"), (std::vector<double>{2, 0, 1}));
  EXPECT_TRUE(mentions(error_of(transpose({-1, 5}, {1, 0})), "Transpose of the batch dimension"));
  EXPECT_TRUE(mentions(error_of(transpose({-1, 5, 4}, {0, 1, 1})), "node '/y' (Transpose): perm names axis 1 twice"));
  EXPECT_TRUE(mentions(error_of(transpose({-1, 5, 4}, {0, 1, 3})), "axis 3 of 3"));
}

TEST_F(OnnxShapes, TransposesInARowBecomeOne) {
  OnnxModelWriter writer({-1, 4, 5, 3});
  set_integers(writer.node("Transpose", {"x"}, "a"), "perm", {0, 3, 1, 2});
  set_integers(writer.node("Transpose", {"a"}, "b"), "perm", {0, 2, 3, 1});
  writer.node("Relu", {"b"}, "y");
  EXPECT_EQ(outline(import(writer)), "x 4x5x3 | y relu 4x5x3");
  writer.graph().mutable_node(1)->clear_attribute();
  set_integers(*writer.graph().mutable_node(1), "perm", {0, 1, 3, 2});
  const net::Model model = import(writer);
  EXPECT_EQ(outline(model), "x 4x5x3 | b transpose 3x5x4 | y relu 3x5x4");
  EXPECT_EQ(model.graph.node(1).attributes.at("perm"), (std::vector<double>{2, 1, 0}));
}

TEST_F(OnnxShapes, OneTransposeServesAllItsReaders) {
  OnnxModelWriter writer({-1, 4, 5, 3});
  for (const char* name : {"a", "b"}) set_integers(writer.node("Transpose", {"x"}, name), "perm", {0, 3, 1, 2});
  writer.node("Add", {"a", "b"}, "y");
  EXPECT_EQ(outline(import(writer)), "x 4x5x3 | a transpose 3x4x5 | y add 3x4x5");
}

/// The pads of a Pad as PyTorch's exporter computes them: [w0, w1, h0, h1, c0, c1] last axis first, filled up with
/// zeros, paired, reversed, transposed.
OnnxModelWriter computed_pads() {
  OnnxModelWriter writer({-1, 2, 3, 3});
  writer.integers("given", {6}, {1, 2, 3, 4, 5, 6});
  writer.integers("rest", {1}, {2});
  onnx::AttributeProto& value = *writer.node("ConstantOfShape", {"rest"}, "zeros").add_attribute();
  value.set_name("value");
  value.set_type(onnx::AttributeProto::TENSOR);
  value.mutable_t()->set_data_type(onnx::TensorProto::INT64);
  value.mutable_t()->add_dims(1);
  value.mutable_t()->add_int64_data(0);
  set_integer(writer.node("Concat", {"given", "zeros"}, "all"), "axis", 0);
  writer.integers("pairs", {2}, {-1, 2});
  writer.node("Reshape", {"all", "pairs"}, "paired");
  writer.integers("axis", {1}, {0});
  writer.integers("last", {1}, {-1});
  writer.integers("before_first", {1}, {-std::numeric_limits<Index>::max()});
  writer.node("Slice", {"paired", "last", "before_first", "axis", "last"}, "reversed");
  set_integers(writer.node("Transpose", {"reversed"}, "turned"), "perm", {1, 0});
  writer.node("Reshape", {"turned", "last"}, "flat");
  set_integer(writer.node("Cast", {"flat"}, "pads"), "to", onnx::TensorProto::INT64);
  writer.node("Pad", {"x", "pads"}, "y");
  return writer;
}

TEST_F(OnnxShapes, ComputedPads) {
  const net::Model model = import(computed_pads());
  EXPECT_EQ(outline(model), "x 2x3x3 | y pad 13x10x6");
  EXPECT_EQ(model.graph.node(1).attributes.at("pads"), (std::vector<double>{5, 3, 1, 6, 4, 2}));
}

TEST_F(OnnxShapes, IntegersWithoutAnEndAreRefused) {
  OnnxModelWriter writer = computed_pads();
  writer.graph().mutable_initializer(1)->set_int64_data(0, Index{1} << 40);
  EXPECT_TRUE(mentions(error_of(writer), "ConstantOfShape that makes 1099511627776 integers ('/zeros')"));
  writer.graph().mutable_initializer(1)->set_int64_data(0, -1);
  EXPECT_FALSE(error_of(writer).empty());

  OnnxModelWriter doubling({-1, 2});  // a shape of 2^40 extents
  doubling.node("Shape", {"x"}, "s0");
  for (int i = 0; i < 40; ++i) {
    const std::string from = fmt::format("s{}", i);
    set_integer(doubling.node("Concat", {from, from}, fmt::format("s{}", i + 1)), "axis", 0);
  }
  doubling.node("Reshape", {"x", "s40"}, "y");
  EXPECT_TRUE(mentions(error_of(doubling), "Concat that makes 2048 integers"));
}

TEST_F(OnnxShapes, SlicesOfShapes) {
  const auto slice = [&](Index start, Index end, Index step) {
    OnnxModelWriter writer({-1, 2, 3, 4, 5});
    for (const auto& [name, value] : {std::pair{"start", start}, {"end", end}, {"axis", Index{0}}, {"step", step}}) {
      writer.integers(name, {1}, {value});
    }
    writer.integers("first", {1}, {0});
    writer.node("Shape", {"x"}, "shape");
    writer.node("Slice", {"shape", "start", "end", "axis", "step"}, "part");
    set_integer(writer.node("Concat", {"first", "part"}, "target"), "axis", 0);
    writer.node("Reshape", {"x", "target"}, "y");
    return writer;
  };
  EXPECT_EQ(outline(import(slice(4, 0, -1))), "x 2x3x4x5 | y reshape 5x4x3x2");
  EXPECT_EQ(outline(import(slice(1, 99, 1))), "x 2x3x4x5");
  EXPECT_TRUE(mentions(error_of(slice(1, 99, 2)), "Reshape that does not keep samples apart"));  // 2x4
  EXPECT_TRUE(mentions(error_of(slice(0, 2, 1)), "moves the batch dimension"));
  EXPECT_TRUE(mentions(error_of(slice(0, 2, 0)), "node '/part' (Slice): a slice with a step of 0"));
}

TEST_F(OnnxShapes, SlicesOfSamples) {
  const auto slice = [&](const Shape& input, const std::vector<Index>& starts, const std::vector<Index>& ends,
                         const std::vector<Index>& axes, const std::vector<Index>& steps) {
    OnnxModelWriter writer(input);
    const Index count = static_cast<Index>(axes.size());
    writer.integers("starts", {count}, starts);
    writer.integers("ends", {count}, ends);
    writer.integers("axes", {count}, axes);
    writer.integers("steps", {count}, steps);
    writer.node("Slice", {"x", "starts", "ends", "axes", "steps"}, "y");
    return writer;
  };
  constexpr Index end = std::numeric_limits<Index>::max();
  const net::Model model = import(slice({-1, 2, 5, 6}, {0, 0}, {end, end}, {2, 3}, {2, 3}));
  EXPECT_EQ(outline(model), "x 2x5x6 | y max_pool 2x3x2");
  EXPECT_EQ(model.graph.node(1).attributes.at("kernel"), (std::vector<double>{1, 1}));
  EXPECT_EQ(model.graph.node(1).attributes.at("strides"), (std::vector<double>{2, 3}));
  std::vector<float> counted(2 * 5 * 6);
  for (std::size_t i = 0; i < counted.size(); ++i) counted[i] = -static_cast<float>(i);
  EXPECT_EQ(run(model, counted), (std::vector<float>{0, -3, -12, -15, -24, -27, -30, -33, -42, -45, -54, -57}));
  // A range of an axis, then every second or third value of it.
  const net::Model range = import(slice({-1, 6}, {1}, {4}, {1}, {1}));
  EXPECT_EQ(outline(range), "x 6 | y slice 3");
  EXPECT_EQ(run(range, {0, 1, 2, 3, 4, 5}), (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(run(import(slice({-1, 6}, {-5}, {-1}, {-1}, {2})), {0, 1, 2, 3, 4, 5}), (std::vector<float>{1, 3}));
  EXPECT_EQ(run(import(slice({-1, 6}, {2}, {3}, {1}, {3})), {0, 1, 2, 3, 4, 5}), (std::vector<float>{2}));
  EXPECT_EQ(run(import(slice({-1, 2, 3}, {1, 0}, {2, 2}, {1, 2}, {1, 1})), {0, 1, 2, 3, 4, 5}),
            (std::vector<float>{3, 4}));
  // Another axis than height and width goes by way of a reshape.
  const net::Model channels = import(slice({-1, 3, 2}, {0}, {end}, {1}, {2}));
  EXPECT_EQ(run(channels, {1, 2, 3, 4, 5, 6}), (std::vector<float>{1, 2, 5, 6}));
  // Nothing is left out here.
  EXPECT_EQ(outline(import(slice({-1, 2, 5, 6}, {0, 0}, {end, 5}, {0, 2}, {1, 1}))), "x 2x5x6");
  EXPECT_TRUE(
      mentions(error_of(slice({-1, 2, 5, 6}, {3}, {3}, {3}, {1})), "Slice of samples that takes nothing of axis 3"));
  EXPECT_TRUE(mentions(error_of(slice({-1, 2, 5, 6}, {-1}, {-9}, {3}, {-1})), "Slice of samples with step -1"));
  EXPECT_TRUE(mentions(error_of(slice({-1, 2, 5, 6}, {0}, {3}, {0}, {1})), "Slice of the batch dimension"));
  EXPECT_TRUE(mentions(error_of(slice({-1, 2, 5, 6}, {0}, {3}, {4}, {1})), "axis 4 of 4"));
}

TEST_F(OnnxShapes, GathersOfSamples) {
  const auto gather = [](const Shape& input, const Shape& index_shape, const std::vector<Index>& indexes, Index axis) {
    OnnxModelWriter writer(input);
    writer.integers("indexes", index_shape, indexes);
    set_integer(writer.node("Gather", {"x", "indexes"}, "y"), "axis", axis);
    return writer;
  };
  const std::vector<float> values = {0, 1, 2, 3, 4, 5};
  const net::Model channel = import(gather({-1, 3, 1, 2}, {}, {1}, 1));
  EXPECT_EQ(outline(channel), "x 3x1x2 | y slice 1x1x2 | y#2 reshape 1x2");
  EXPECT_EQ(run(channel, values), (std::vector<float>{2, 3}));
  EXPECT_EQ(run(import(gather({-1, 2, 3}, {}, {-1}, -1)), values), (std::vector<float>{2, 5}));
  EXPECT_EQ(outline(import(gather({-1, 6}, {}, {4}, 1))), "x 6 | y slice 1");
  EXPECT_EQ(run(import(gather({-1, 6}, {2}, {3, 4}, 1)), values), (std::vector<float>{3, 4}));
  EXPECT_TRUE(mentions(error_of(gather({-1, 6}, {2}, {4, 3}, 1)), "Gather of samples by indexes that do not ascend"));
  EXPECT_TRUE(mentions(error_of(gather({-1, 6}, {1, 1}, {4}, 1)), "Gather of samples by a table of indexes"));
  EXPECT_TRUE(mentions(error_of(gather({-1, 6}, {}, {0}, 0)), "Gather of the batch dimension"));
  EXPECT_TRUE(mentions(error_of(gather({-1, 6}, {}, {6}, 1)), "axis 6 of 6"));
}

TEST_F(OnnxShapes, ConcatOfSamples) {
  const auto concat = [](Index axis) {
    OnnxModelWriter writer({-1, 2, 3, 3});
    writer.node("Relu", {"x"}, "r");
    set_integer(writer.node("Concat", {"x", "r", "x"}, "y"), "axis", axis);
    return writer;
  };
  EXPECT_EQ(outline(import(concat(1))), "x 2x3x3 | r relu 2x3x3 | y concat 6x3x3");
  EXPECT_EQ(import(concat(-1)).graph.node(2).attribute("axis", -1), 2.0);
  EXPECT_TRUE(mentions(error_of(concat(0)), "Concat of the batch dimension"));
  EXPECT_TRUE(mentions(error_of(concat(4)), "node '/y' (Concat): axis 4 of 4"));
  OnnxModelWriter mixed({-1, 2});
  mixed.floats("c", {1, 2}, {1, 2});
  set_integer(mixed.node("Concat", {"x", "c"}, "y"), "axis", 1);
  EXPECT_TRUE(mentions(error_of(mixed), "Concat of computed values and constants"));
}

TEST_F(OnnxShapes, ConstantsUnderAnotherShape) {
  OnnxModelWriter writer({-1, 2, 3, 3});
  writer.floats("mean", {2}, {1, 2});
  writer.integers("axes", {2}, {1, 2});
  writer.integers("target", {4}, {1, -1, 1, 1});
  writer.node("Unsqueeze", {"mean", "axes"}, "mean3");
  writer.node("Sub", {"x", "mean3"}, "centred");
  writer.node("Reshape", {"mean", "target"}, "mean4");
  writer.node("Div", {"centred", "mean4"}, "y");
  const net::Model model = import(writer);
  EXPECT_EQ(outline(model), "x 2x3x3 | centred batch_norm 2x3x3 | y batch_norm 2x3x3");
  EXPECT_EQ(values(model, "centred.shift"), (std::vector<float>{-1, -2}));
  EXPECT_EQ(values(model, "y.scale"), (std::vector<float>{1, 0.5}));
  writer.graph().mutable_initializer(2)->set_int64_data(1, 3);
  EXPECT_TRUE(mentions(error_of(writer), "Reshape of 2 values ('/mean4')"));
}

}  // namespace
}  // namespace gpfq::formats
