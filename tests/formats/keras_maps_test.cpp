// SPDX-License-Identifier: Apache-2.0
// Keras layers over feature maps: kernels and paddings by hand, both orders of the channels, and
// transposes only where an order matters.
#include <cmath>
#include <limits>
#include <numeric>

#include "keras_testing.hpp"

namespace gpfq::formats {
namespace {

using KerasMaps = KerasTest;
using Numbers = std::vector<double>;

Floats counted(std::size_t count, float first = 1) {
  Floats values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}

Floats counted(const Shape& shape) { return counted(static_cast<std::size_t>(element_count(shape))); }

/// A Conv2D whose kernel [kh, kw, inputs, filters] counts up from 1, without a bias.
TestLayer conv(const std::string& name, const Shape& kernel, const std::string& more = {}) {
  return {"Conv2D",
          name,
          fmt::format(R"(, "filters": {}, "kernel_size": [{}, {}], "use_bias": false{})", kernel[3], kernel[0],
                      kernel[1], more),
          {{"kernel", kernel, counted(kernel)}}};
}

TestLayer pool(const std::string& class_name, const std::string& more) {
  return {class_name, "pool", R"(, "pool_size": [2, 2])" + more};
}

TEST_F(KerasMaps, ConvolutionInBothVersions) {
  for (const char* v : {"2.15.0", "3.3.0"}) {
    version = v;
    TestLayer layer = conv("c", {2, 3, 4, 5}, R"(, "activation": "relu", "strides": [2, 1])");
    layer.config.replace(layer.config.find("false"), 5, "true");
    layer.weights.push_back({"bias", {5}, counted(5)});
    const net::Model model = import({layer}, "[null, 6, 7, 4]");
    const std::string input = is_keras3() ? "in" : "input";
    EXPECT_EQ(outline(model), input +
                                  " 6x7x4 | c.transpose transpose 4x6x7 | c conv 5x3x5 | c.relu relu 5x3x5 | "
                                  "output transpose 3x5x5");
    EXPECT_EQ(model.graph.node(1).attributes.at("perm"), (Numbers{2, 0, 1}));
    EXPECT_EQ(model.graph.node(4).attributes.at("perm"), (Numbers{1, 2, 0}));
    EXPECT_EQ(model.graph.node(2).attributes.at("strides"), (Numbers{2, 1}));
    EXPECT_EQ(model.graph.tensor_shape("c.weight"), (Shape{5, 4, 2, 3}));
    const Floats weight = values(model, "c.weight");
    for (Index o = 0; o < 5; ++o) {
      for (Index i = 0; i < 4; ++i) {
        for (Index h = 0; h < 2; ++h) {
          for (Index w = 0; w < 3; ++w) {
            EXPECT_EQ(weight[static_cast<std::size_t>(((o * 4 + i) * 2 + h) * 3 + w)],
                      static_cast<float>(((h * 3 + w) * 4 + i) * 5 + o + 1));
          }
        }
      }
    }
    Floats filters(2 * 4 * 2 * 3);
    model.tensors.at("c.weight").read_rows(2, 2, filters.data());
    EXPECT_EQ(filters, Floats(weight.begin() + 48, weight.begin() + 96));
    EXPECT_EQ(values(model, "c.bias"), counted(5));
  }
}

TEST_F(KerasMaps, ConvolutionOnValues) {
  // Two channels, a 1x2 kernel that takes a(left) + 10 b(left) + 100 a(right) + 1000 b(right).
  TestLayer layer = conv("c", {1, 2, 2, 1});
  layer.weights[0].values = {1, 10, 100, 1000};
  EXPECT_EQ(run(import({layer}, "[null, 1, 3, 2]"), {1, 2, 3, 4, 5, 6}), (Floats{4321, 6543}));
  // The same with channels first.
  layer.config += R"(, "data_format": "channels_first")";
  const net::Model first = import({layer}, "[null, 2, 1, 3]");
  EXPECT_EQ(outline(first), "input 2x1x3 | c conv 1x1x2");
  EXPECT_EQ(run(first, {1, 3, 5, 2, 4, 6}), (Floats{4321, 6543}));
}

TEST_F(KerasMaps, SamePaddingIsTensorFlows) {
  const auto pads = [&](const std::string& more, const Shape& kernel) {
    const net::Model model = import({conv("c", kernel, R"(, "padding": "same")" + more)}, "[null, 8, 9, 1]");
    return node_named(model, "c").attributes.at("pads");
  };
  // Height 8: 4 outputs reach over 3·2 + 3 = 9; the odd value goes below. Width 9: 5 outputs, 11.
  EXPECT_EQ(pads(R"(, "strides": [2, 2])", {3, 3, 1, 1}), (Numbers{0, 1, 1, 1}));
  EXPECT_EQ(pads("", {2, 4, 1, 1}), (Numbers{0, 1, 1, 2}));
  EXPECT_EQ(pads(R"(, "dilation_rate": 2)", {3, 3, 1, 1}), (Numbers{2, 2, 2, 2}));
  EXPECT_EQ(pads(R"(, "strides": 3)", {1, 1, 1, 1}), (Numbers{0, 0, 0, 0}));
}

TEST_F(KerasMaps, GroupedConvolution) {
  const net::Model model = import({conv("c", {1, 1, 2, 6}, R"(, "groups": 2)")}, "[null, 3, 3, 4]");
  EXPECT_EQ(node_named(model, "c").attribute("groups", 0), 2.0);
  EXPECT_EQ(model.graph.tensor_shape("c.weight"), (Shape{6, 2, 1, 1}));
  EXPECT_TRUE(mentions(error_of({conv("c", {1, 1, 2, 6}, R"(, "groups": 3)")}, "[null, 3, 3, 4]"),
                       "layer 'c' (Conv2D): 'groups' is 3; expected a divisor of 4 channels"));
}

TEST_F(KerasMaps, DepthwiseConvolution) {
  // Kernel [1, 2, 2 channels, 2]: filter c · 2 + m reads channel c. Keras 2 and 3 name the weight differently.
  for (const auto& [v, role] : {std::pair{"2.15.0", "depthwise_kernel"}, {"3.3.0", "kernel"}}) {
    version = v;
    const TestLayer layer{"DepthwiseConv2D",
                          "d",
                          R"(, "kernel_size": [1, 2], "depth_multiplier": 2, "use_bias": true)",
                          {{role, {1, 2, 2, 2}, counted(8)}, {"bias", {4}, {0, 0, 0, 100}}}};
    const net::Model model = import({layer}, "[null, 1, 2, 2]");
    EXPECT_EQ(node_named(model, "d").attribute("groups", 0), 2.0);
    EXPECT_EQ(model.graph.tensor_shape("d.weight"), (Shape{4, 1, 1, 2}));
    EXPECT_EQ(values(model, "d.weight"), (Floats{1, 5, 2, 6, 3, 7, 4, 8}));
    Floats rows(4);
    model.tensors.at("d.weight").read_rows(1, 2, rows.data());  // from the middle of a channel to the next
    EXPECT_EQ(rows, (Floats{2, 6, 3, 7}));
    // Channel 0 is (1, 3), channel 1 is (2, 4).
    EXPECT_EQ(run(model, {1, 2, 3, 4}), (Floats{16, 20, 34, 140}));
  }
}

TEST_F(KerasMaps, SeparableConvolutionIsTwo) {
  TestLayer layer{"SeparableConv2D",
                  "s",
                  R"(, "kernel_size": 1, "filters": 1, "depth_multiplier": 1, "activation": "relu", "strides": [1, 2])",
                  {{"depthwise_kernel", {1, 1, 2, 1}, {10, 100}},
                   {"pointwise_kernel", {1, 1, 2, 1}, {1, 2}},
                   {"bias", {1}, {-50}}}};
  const net::Model model = import({layer}, "[null, 1, 2, 2]");
  EXPECT_EQ(outline(model),
            "input 1x2x2 | s.transpose transpose 2x1x2 | s.depthwise conv 2x1x1 | s.pointwise conv 1x1x1 "
            "| s.relu relu 1x1x1");
  EXPECT_FALSE(node_named(model, "s.depthwise").has_parameter("bias"));
  EXPECT_EQ(run(model, {1, 2, 3, 4}), (Floats{360}));  // 1·10·1 + 2·100·2 − 50
  layer.weights[1].shape = {1, 1, 1, 2};
  EXPECT_TRUE(mentions(error_of({layer}, "[null, 1, 2, 2]"), "its kernel is 2x1x1x1"));
}

TEST_F(KerasMaps, KernelsMustFit) {
  EXPECT_TRUE(mentions(error_of({conv("c", {2, 2, 3, 4})}, "[null, 5, 5, 2]"),
                       "layer 'c' (Conv2D): its kernel is 4x3x2x2 (filters, inputs, height, width); expected 4x2x2x2"));
  TestLayer flat = conv("c", {2, 2, 1, 1});
  flat.weights[0].shape = {2, 2};
  EXPECT_TRUE(mentions(error_of({flat}, "[null, 5, 5, 1]"), "expected floating-point values in 4 dimensions"));
  EXPECT_TRUE(mentions(error_of({conv("c", {2, 2, 1, 1})}, "[null, 5, 5]"), "Conv2D on samples of 5x5 ('c')"));
  EXPECT_FALSE(error_of({conv("c", {2, 2, 1, 1})}, "[null, 5, 1, 1]").empty());  // reaches too far
  for (const char* wrong : {R"(, "strides": [0, 1])", R"(, "strides": [1, 2, 3])", R"(, "strides": "two")",
                            R"(, "dilation_rate": -1)", R"(, "padding": "causal")", R"(, "padding": 1)",
                            R"(, "data_format": "NCHW")", R"(, "strides": [1073741825, 1])"}) {
    EXPECT_TRUE(mentions(error_of({conv("c", {2, 2, 1, 1}, wrong)}, "[null, 5, 5, 1]"), "layer 'c' (Conv2D): '"))
        << wrong;
  }
  const TestLayer depthwise{"DepthwiseConv2D",
                            "d",
                            R"(, "kernel_size": 1, "use_bias": false, "depth_multiplier": 1099511627776)",
                            {{"depthwise_kernel", {1, 1, 1, 2}, {1, 2}}}};
  EXPECT_TRUE(mentions(error_of({depthwise}, "[null, 5, 5, 1]"), "'depth_multiplier' is 1099511627776"));
}

TEST_F(KerasMaps, ValuesOfKernelsMustBeFinite) {
  TestLayer layer = conv("c", {1, 2, 1, 2});
  layer.weights[0].values[3] = std::numeric_limits<float>::infinity();
  const net::Model model = import({layer}, "[null, 2, 2, 1]");
  EXPECT_TRUE(mentions(input_error([&] { (void)values(model, "c.weight"); }), "holds inf at index [0, 1, 0, 1]"));
}

TEST_F(KerasMaps, Pools) {
  const Floats map = counted(9);  // 3x3, one channel: transposes are reshapes
  EXPECT_EQ(run(import({pool("MaxPooling2D", "")}, "[null, 3, 3, 1]"), map), (Floats{5}));  // strides: the pool's
  EXPECT_EQ(run(import({pool("MaxPooling2D", R"(, "strides": 1)")}, "[null, 3, 3, 1]"), map), (Floats{5, 6, 8, 9}));
  EXPECT_EQ(run(import({pool("MaxPooling2D", R"(, "padding": "same", "strides": null)")}, "[null, 3, 3, 1]"), map),
            (Floats{5, 6, 8, 9}));
  // The padding is no part of an average.
  EXPECT_EQ(run(import({pool("AveragePooling2D", R"(, "padding": "same")")}, "[null, 3, 3, 1]"), map),
            (Floats{3, 4.5, 7.5, 9}));
  EXPECT_TRUE(mentions(error_of({{"MaxPooling2D", "pool"}}, "[null, 3, 3, 1]"), "'pool_size' is missing"));
}

TEST_F(KerasMaps, GlobalPools) {
  const auto global = [&](const std::string& class_name, const std::string& more) {
    return import({{class_name, "g", more}}, "[null, 2, 2, 2]");
  };
  const Floats maps = counted(8);  // channel 0: 1, 3, 5, 7
  EXPECT_EQ(run(global("GlobalAveragePooling2D", ""), maps), (Floats{4, 5}));
  EXPECT_EQ(run(global("GlobalMaxPooling2D", ""), maps), (Floats{7, 8}));
  EXPECT_EQ(outline(global("GlobalAveragePooling2D", R"(, "keepdims": true)")),
            "input 2x2x2 | g.transpose transpose 2x2x2 | g reduce_mean 2x1x1 | output reshape 1x1x2");
  EXPECT_EQ(run(global("GlobalMaxPooling2D", R"(, "keepdims": true)"), maps), (Floats{7, 8}));
  const net::Model first = global("GlobalAveragePooling2D", R"(, "data_format": "channels_first")");
  EXPECT_EQ(outline(first), "input 2x2x2 | g reduce_mean 2");
  EXPECT_EQ(run(first, maps), (Floats{2.5, 6.5}));
}

TEST_F(KerasMaps, ZeroPadding) {
  const auto pads = [&](const std::string& padding) {
    return node_named(import({{"ZeroPadding2D", "z", padding}}, "[null, 2, 2, 1]"), "z").attributes.at("pads");
  };
  EXPECT_EQ(pads(R"(, "padding": [[1, 2], [3, 4]])"), (Numbers{0, 1, 3, 0, 2, 4}));
  EXPECT_EQ(pads(R"(, "padding": [1, 2])"), (Numbers{0, 1, 2, 0, 1, 2}));
  EXPECT_EQ(pads(R"(, "padding": 3)"), (Numbers{0, 3, 3, 0, 3, 3}));
  for (const char* wrong : {R"([[1, 2]])", R"([[1], [2]])", R"([[1, 2], 3])", R"([[1, -2], [3, 4]])",
                            R"([[1, 2.5], [3, 4]])", R"([[1, 1e300], [3, 4]])", "-1", "[]"}) {
    const std::string padding = fmt::format(R"(, "padding": {})", wrong);
    EXPECT_TRUE(mentions(error_of({{"ZeroPadding2D", "z", padding}}, "[null, 2, 2, 1]"), "'padding' is")) << wrong;
  }
}

TEST_F(KerasMaps, FlattenKeepsKerasOrder) {
  const TestLayer identity{"Conv2D",
                           "c",
                           R"(, "filters": 2, "kernel_size": 1, "use_bias": false)",
                           {{"kernel", {1, 1, 2, 2}, {1, 0, 0, 1}}}};
  const net::Model last = import({identity, {"Flatten", "f"}}, "[null, 1, 3, 2]");
  EXPECT_EQ(outline(last),
            "input 1x3x2 | c.transpose transpose 2x1x3 | c conv 2x1x3 | f.transpose transpose 1x3x2 | "
            "f reshape 6");
  EXPECT_EQ(run(last, counted(6)), counted(6));
  // Keras flattens channels_first maps as if they were channels_last.
  const net::Model first = import({{"Flatten", "f", R"(, "data_format": "channels_first")"}}, "[null, 2, 1, 3]");
  EXPECT_EQ(run(first, counted(6)), (Floats{1, 4, 2, 5, 3, 6}));
  EXPECT_EQ(run(import({identity, {"Reshape", "r", R"(, "target_shape": [-1])"}}, "[null, 1, 3, 2]"), counted(6)),
            counted(6));
  EXPECT_EQ(run(import({{"Permute", "p", R"(, "dims": [2, 1])"}}, "[null, 2, 3]"), counted(6)),
            (Floats{1, 4, 2, 5, 3, 6}));
  EXPECT_TRUE(mentions(error_of({{"Permute", "p", R"(, "dims": [1, 3])"}}, "[null, 2, 3]"), "'dims' is"));
  EXPECT_TRUE(mentions(error_of({{"Permute", "p", R"(, "dims": [0, 1])"}}, "[null, 2, 3]"), "'dims' is"));
}

TEST_F(KerasMaps, MapsStayTurnedBetweenConvolutions) {
  TestLayer bn{"BatchNormalization", "bn", R"(, "axis": [3])"};
  for (const char* role : {"gamma", "beta", "moving_mean", "moving_variance"})
    bn.weights.push_back({role, {2}, {1, 2}});
  const net::Model model = import({conv("a", {1, 1, 3, 2}),
                                   bn,
                                   {"ReLU", "r"},
                                   {"Dropout", "x"},
                                   conv("b", {1, 1, 2, 2}),
                                   pool("MaxPooling2D", ""),
                                   {"GlobalAveragePooling2D", "g"}},
                                  "[null, 4, 4, 3]");
  EXPECT_EQ(outline(model),
            "input 4x4x3 | a.transpose transpose 3x4x4 | a conv 2x4x4 | bn batch_norm 2x4x4 | "
            "r relu 2x4x4 | b conv 2x4x4 | pool max_pool 2x2x2 | g reduce_mean 2");
}

TEST_F(KerasMaps, NormalizationOnEitherAxis) {
  TestLayer bn{"BatchNormalization", "bn", R"(, "axis": -1)"};
  for (const char* role : {"gamma", "beta", "moving_mean", "moving_variance"})
    bn.weights.push_back({role, {2}, {1, 2}});
  EXPECT_EQ(outline(import({bn}, "[null, 1, 3, 2]")),
            "input 1x3x2 | bn.transpose transpose 2x1x3 | bn batch_norm 2x1x3 | output transpose 1x3x2");
  bn.config = R"(, "axis": 1)";
  EXPECT_EQ(outline(import({bn}, "[null, 2, 1, 3]")), "input 2x1x3 | bn batch_norm 2x1x3");
  bn.config = R"(, "axis": [1, 2])";
  EXPECT_TRUE(mentions(error_of({bn}, "[null, 2, 1, 3]"), "BatchNormalization on samples of 2x1x3"));
}

TEST_F(KerasMaps, SoftmaxOverChannels) {
  const net::Model model = import({conv("c", {1, 1, 1, 2}, R"(, "activation": "softmax")")}, "[null, 1, 2, 1]");
  const Floats result = run(model, {0, 1});  // channels 0, 0, then 1, 2
  EXPECT_NEAR(result[0], 0.5, 1e-6);
  EXPECT_NEAR(result[1], 0.5, 1e-6);
  EXPECT_NEAR(result[3] / result[2], std::exp(1.0), 1e-5);
}

TEST_F(KerasMaps, Rescaling) {
  const net::Model number = import({{"Rescaling", "r", R"(, "scale": 0.5, "offset": -1.0)"}}, "[null, 1, 2, 2]");
  EXPECT_EQ(outline(number), "input 1x2x2 | r batch_norm 1x2x2");
  EXPECT_EQ(run(number, {2, 4, 6, 8}), (Floats{0, 1, 2, 3}));
  const net::Model list = import({{"Rescaling", "r", R"(, "scale": [1, 10], "offset": 0)"}}, "[null, 1, 2, 2]");
  EXPECT_EQ(run(list, {1, 2, 3, 4}), (Floats{1, 20, 3, 40}));
  for (const char* wrong :
       {R"(, "scale": [1, 2, 3])", R"(, "scale": "x")", R"(, "scale": [])", R"(, "offset": [1, null])"}) {
    EXPECT_FALSE(error_of({{"Rescaling", "r", wrong}}, "[null, 1, 2, 2]").empty()) << wrong;
  }
}

TEST_F(KerasMaps, TrainedNetworks) {
  const std::filesystem::path models = std::filesystem::path(GPFQ_SHARED_DATA) / "models";
  for (const char* name : {"mnist_cnn_keras3.h5", "cifar10_lenet_keras22.h5"}) {
    if (!std::filesystem::exists(models / name)) GTEST_SKIP() << models / name << " is missing";
    EXPECT_TRUE(is_keras_file(models / name));
  }
  const net::Model mnist = import_keras(models / "mnist_cnn_keras3.h5");
  EXPECT_EQ(
      outline(mnist),
      "input_layer 28x28x1 | conv2d.transpose reshape 1x28x28 | conv2d conv 32x26x26 | conv2d.relu relu 32x26x26 | "
      "max_pooling2d max_pool 32x13x13 | conv2d_1 conv 64x11x11 | conv2d_1.relu relu 64x11x11 | "
      "max_pooling2d_1 max_pool 64x5x5 | flatten.transpose transpose 5x5x64 | flatten reshape 1600 | "
      "dense dense 128 | dense.relu relu 128 | dense_1 dense 10 | dense_1.softmax softmax 10");
  EXPECT_EQ(mnist.graph.tensor_shape("conv2d_1.weight"), (Shape{64, 32, 3, 3}));
  EXPECT_EQ(values(mnist, "conv2d_1.weight").size(), 64U * 32 * 9);
  const net::Model lenet = import_keras(models / "cifar10_lenet_keras22.h5");
  EXPECT_TRUE(mentions(outline(lenet), "input 32x32x3 | conv2d.transpose transpose 3x32x32 | conv2d conv 16x30x30"));
  EXPECT_TRUE(mentions(outline(lenet), "flatten reshape 1152 | dense dense 120"));
}

}  // namespace
}  // namespace gpfq::formats
