// SPDX-License-Identifier: Apache-2.0
// Flattening and reshaping in the many ways exporters write them: with an open batch dimension, one
// fixed to 1, and the shape arithmetic of x.view(x.size(0), -1).
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

TEST_F(OnnxShapes, TransposeOnlyWhereTheOrderOfValuesStays) {
  const auto transpose = [](const Shape& input, const std::vector<Index>& order) {
    OnnxModelWriter writer(input);
    set_integers(writer.node("Transpose", {"x"}, "y"), "perm", order);
    return writer;
  };
  EXPECT_EQ(outline(import(transpose({-1, 5}, {0, 1}))), "x 5");
  EXPECT_EQ(outline(import(transpose({-1, 4, 4, 1}, {0, 3, 1, 2}))), "x 4x4x1 | y reshape 1x4x4");
  EXPECT_TRUE(mentions(error_of(transpose({-1, 4, 4, 3}, {0, 3, 1, 2})), "Transpose that reorders the values"));
  EXPECT_TRUE(mentions(error_of(transpose({-1, 5}, {1, 0})), "Transpose of the batch dimension"));
}

}  // namespace
}  // namespace gpfq::formats
