// SPDX-License-Identifier: Apache-2.0
// Functional Keras models as Keras 2 and 3 describe them: branches, merges, layers applied twice,
// and connections that cannot be followed.
#include "keras_testing.hpp"

namespace gpfq::formats {
namespace {

using KerasFunctional = KerasTest;

TestLayer shared_dense(const std::string& name, const std::vector<std::vector<std::string>>& calls) {
  return {"Dense", name, R"(, "units": 2, "use_bias": false)", {{"kernel", {2, 2}, {1, 2, 3, 4}}}, calls};
}

TestLayer identity_conv(const std::string& name, const std::string& from) {
  return {"Conv2D",
          name,
          R"(, "filters": 2, "kernel_size": 1, "use_bias": false)",
          {{"kernel", {1, 1, 2, 2}, {1, 0, 0, 1}}},
          {{from}}};
}

TestLayer plain(const std::string& class_name, const std::string& name, const std::vector<std::string>& from,
                const std::string& config = {}) {
  return {class_name, name, config, {}, {from}};
}

TEST_F(KerasFunctional, BranchesAndMergesInBothVersions) {
  for (const char* v : {"2.3.1", "2.15.0", "3.3.0"}) {
    version = v;
    const net::Model model =
        import_functional({shared_dense("a", {{"in"}}), plain("ReLU", "r", {"a"}), plain("Multiply", "m", {"a", "r"}),
                           plain("Add", "s", {"m", "in", "r"}), plain("Concatenate", "c", {"s", "a"})},
                          "c");
    EXPECT_EQ(outline(model), "in 2 | a dense 2 | r relu 2 | m mul 2 | s.partial1 add 2 | s add 2 | c concat 4");
    // a = (1·1 − 3, 2·1 − 4) = (−2, −2); r = 0; m = 0; s = in.
    EXPECT_EQ(run(model, {1, -1}), (Floats{1, -1, -2, -2}));
  }
}

TEST_F(KerasFunctional, TheFilesOrderIsKeptWhereItIsOne) {
  // Listed before what it reads, and one that the output does not need.
  const net::Model model = import_functional({plain("Add", "s", {"b", "a"}),
                                              plain("ReLU", "b", {"in"}),
                                              plain("ReLU", "a", {"in"}),
                                              {"LSTM", "unused", "", {}, {{"a"}}}},
                                             "s");
  EXPECT_EQ(outline(model), "in 2 | b relu 2 | a relu 2 | s add 2");
}

TEST_F(KerasFunctional, ALayerAppliedTwice) {
  for (const char* v : {"2.15.0", "3.3.0"}) {
    version = v;
    const net::Model model = import_functional({shared_dense("d", {{"in"}, {"d:0"}})}, "d");
    EXPECT_EQ(outline(model), "in 2 | d dense 2");  // the output is the first call
    const net::Model twice = import_functional({shared_dense("d", {{"in"}, {"d:0"}}), plain("ReLU", "r", {"d:1"})}, "r");
    EXPECT_EQ(outline(twice), "in 2 | d dense 2 | d#2 dense 2 | r relu 2");
    EXPECT_EQ(values(twice, "d#2.weight"), values(twice, "d.weight"));
    EXPECT_EQ(run(twice, {1, 0}), (Floats{7, 10}));  // (1, 2), then (1 + 6, 2 + 8)
  }
}

TEST_F(KerasFunctional, MergedMapsStayTurned) {
  const net::Model model = import_functional(
      {identity_conv("c", "in"), plain("ReLU", "r", {"c"}), plain("Add", "s", {"r", "c"}),
       plain("Concatenate", "j", {"s", "in"}, R"(, "axis": -1)"), plain("GlobalMaxPooling2D", "g", {"j"})},
      "g", "[null, 1, 3, 2]");
  EXPECT_EQ(outline(model),
            "in 1x3x2 | c.transpose transpose 2x1x3 | c conv 2x1x3 | r relu 2x1x3 | s add 2x1x3 | "
            "j concat 4x1x3 | g max_pool 4x1x1 | g.reshape reshape 4");
  EXPECT_EQ(run(model, {1, -1, 2, -2, 3, -3}), (Floats{6, -1, 3, -1}));
}

TEST_F(KerasFunctional, ConcatenationOnEveryAxis) {
  const auto joined = [&](const std::string& axis) {
    return import_functional({identity_conv("c", "in"), plain("ReLU", "r", {"c"}),
                              plain("Concatenate", "j", {"r", "in"}, fmt::format(R"(, "axis": {})", axis))},
                             "j", "[null, 1, 2, 2]");
  };
  const Floats sample{1, 2, 3, 4};
  EXPECT_EQ(run(joined("1"), sample), (Floats{1, 2, 3, 4, 1, 2, 3, 4}));
  EXPECT_EQ(run(joined("2"), sample), (Floats{1, 2, 3, 4, 1, 2, 3, 4}));
  EXPECT_EQ(run(joined("3"), sample), (Floats{1, 2, 1, 2, 3, 4, 3, 4}));
  EXPECT_EQ(run(joined("-1"), sample), (Floats{1, 2, 1, 2, 3, 4, 3, 4}));
  for (const char* wrong : {"0", "4", "-4"}) {
    EXPECT_TRUE(mentions(input_error([&] { (void)joined(wrong); }), "layer 'j' (Concatenate): 'axis' is")) << wrong;
  }
}

TEST_F(KerasFunctional, SqueezeAndExcitation) {
  const net::Model model =
      import_functional({identity_conv("c", "in"), plain("GlobalAveragePooling2D", "g", {"c"}),
                         plain("Reshape", "e", {"g"}, R"(, "target_shape": [1, 1, 2])"), identity_conv("gate", "e"),
                         plain("Multiply", "m", {"c", "gate"}), plain("Flatten", "f", {"m"})},
                        "f", "[null, 1, 2, 2]");
  EXPECT_EQ(run(model, {1, 10, 3, 30}), (Floats{2, 200, 6, 600}));  // means 2 and 20
  EXPECT_EQ(node_named(model, "gate").shape, (Shape{2, 1, 1}));
}

TEST_F(KerasFunctional, OperatorsOnAValueAndANumber) {
  version = "3.3.0";
  const auto result = [&](const std::string& type, const std::vector<std::string>& operands) {
    const net::Model model = import_functional({plain(type, "op", operands)}, "op");
    EXPECT_EQ(outline(model), "in 2 | op batch_norm 2");
    return run(model, {4, -6});
  };
  EXPECT_EQ(result("Add", {"in", "#3.0"}), (Floats{7, -3}));
  EXPECT_EQ(result("Add", {"#3", "in"}), (Floats{7, -3}));
  EXPECT_EQ(result("Subtract", {"in", "#3.0"}), (Floats{1, -9}));
  EXPECT_EQ(result("Subtract", {"#3.0", "in"}), (Floats{-1, 9}));
  EXPECT_EQ(result("Multiply", {"in", "#0.5"}), (Floats{2, -3}));
  EXPECT_EQ(result("Multiply", {"#0.5", "in"}), (Floats{2, -3}));
  EXPECT_EQ(result("Divide", {"in", "#2"}), (Floats{2, -3}));
  EXPECT_EQ(result("TrueDivide", {"in", "#2"}), (Floats{2, -3}));
  // MobileNetV3's hard swish as its authors write it: x · relu6(x + 3) / 6.
  const net::Model gate = import_functional(
      {identity_conv("c", "in"), plain("Add", "add", {"c", "#3.0"}), plain("ReLU", "r", {"add"}, R"(, "max_value": 6)"),
       plain("Multiply", "sixth", {"r", "#0.16666666666666666"}), plain("Multiply", "m", {"c", "sixth"})},
      "m", "[null, 1, 1, 2]");
  const Floats gated = run(gate, {-1, 4});
  EXPECT_NEAR(gated[0], -1.0 / 3, 1e-6);
  EXPECT_NEAR(gated[1], 4, 1e-6);
  // Of two tensors.
  EXPECT_EQ(run(import_functional({plain("ReLU", "r", {"in"}), plain("Subtract", "s", {"r", "in"})}, "s"), {4, -6}),
            (Floats{0, 6}));
}

TEST_F(KerasFunctional, OperatorsThatAreUnsupportedAreNamedAtOnce) {
  version = "3.3.0";
  const std::string message = functional_error(
      {plain("Divide", "a", {"#1", "in"}), plain("Add", "b", {"a", R"(#{"class_name": "__numpy__", "config": {}})"}),
       plain("Add", "c", {"in", R"(#{"class_name": "__numpy__", "config": {}})"}), plain("Power", "d", {"c", "#2"}),
       plain("ReLU", "e", {"d"}), plain("Add", "f", {"a", "b"}), plain("Add", "g", {"f", "e"}),
       plain("Subtract", "h", {"in", "in", "in"}), plain("Add", "i", {"g", "h"})},
      "i");
  EXPECT_TRUE(mentions(message, "Divide of a number by computed values ('a')"));
  EXPECT_TRUE(mentions(message, "Add with a constant that is no number ('c')"));
  EXPECT_TRUE(mentions(message, "Power ('d')"));
  EXPECT_TRUE(mentions(message, "Subtract of more than two values ('h')"));
  EXPECT_FALSE(mentions(message, "'b'"));
  EXPECT_TRUE(mentions(functional_error({plain("Divide", "d", {"in", "#0"})}, "d"), "layer 'd' (Divide) computes with 0"));
  EXPECT_TRUE(mentions(functional_error({plain("Add", "d", {"in", "#1e300"})}, "d"), "layer 'd' (Add) computes with 1e+300"));
}

TEST_F(KerasFunctional, WhatIsUnsupportedIsNamedAtOnce) {
  const std::string message =
      functional_error({plain("LSTM", "l", {"in"}), plain("Sequential", "nested", {"in"}),
                        plain("Add", "s", {"l", "nested"}), plain("Lambda", "x", {"s"}), plain("Flatten", "f", {"x"})},
                       "f");
  EXPECT_TRUE(mentions(message, "unsupported layers: LSTM ('l'); Sequential ('nested'); Lambda ('x')"));
  EXPECT_TRUE(
      mentions(functional_error(
                   {plain("Reshape", "r", {"in"}, R"(, "target_shape": [1, 2])"), plain("Add", "s", {"in", "r"})}, "s"),
               "Add of samples with different numbers of dimensions ('s')"));
}

TEST_F(KerasFunctional, ConnectionsThatCannotBeFollowed) {
  for (const char* v : {"2.15.0", "3.3.0"}) {
    version = v;
    const auto error = [&](const std::vector<TestLayer>& layers, const std::string& output) {
      return functional_error(layers, output);
    };
    EXPECT_TRUE(
        mentions(error({plain("ReLU", "r", {"ghost"})}, "r"), "refers to layer 'ghost', which it does not list"));
    EXPECT_TRUE(mentions(error({plain("ReLU", "r", {"in:1"})}, "r"), "refers to call 1 of layer 'in', which has 1"));
    EXPECT_TRUE(mentions(error({plain("ReLU", "r", {"in:-1"})}, "r"), "refers to call -1 of layer 'in'"));
    EXPECT_TRUE(mentions(error({plain("ReLU", "r", {"in"})}, "q"), "refers to layer 'q'"));
    EXPECT_TRUE(
        mentions(error({plain("ReLU", "a", {"b"}), plain("ReLU", "b", {"a"})}, "b"), "layer 'a' depends on itself"));
    EXPECT_TRUE(
        mentions(error({plain("ReLU", "a", {"in"}), plain("ReLU", "a", {"in"})}, "a"), "two layers are named 'a'"));
    EXPECT_TRUE(
        mentions(error({plain("ReLU", "r", {"in", "in"})}, "r"), "layer 'r' (ReLU) reads 2 values; expected one"));
    EXPECT_TRUE(
        mentions(error({plain("Add", "s", {"in"})}, "s"), "layer 's' (Add) reads 1 values; expected two or more"));
    EXPECT_TRUE(mentions(error({plain("ReLU", "r", {})}, "r"), "layer 'r' (ReLU) reads 0 values"));
    EXPECT_TRUE(mentions(error({{"ReLU", "r"}}, "r"), "refers to call 0 of layer 'r', which has 0"));
  }
}

TEST_F(KerasFunctional, InputsAndOutputsMustBeOne) {
  const auto model = [&](const std::string& inputs, const std::string& outputs, const std::string& nodes) {
    return error_of_config(fmt::format(
        R"({{"class_name": "Functional", "config": {{"layers": [)"
        R"({{"class_name": "InputLayer", "name": "in", "config": {{"batch_shape": [null, 2], "name": "in"}}}}, )"
        R"({{"class_name": "InputLayer", "name": "in2", "config": {{"batch_shape": [null, 2], "name": "in2"}}}}, )"
        R"({{"class_name": "ReLU", "name": "r", "config": {{"name": "r"}}, "inbound_nodes": {}}}], )"
        R"("input_layers": {}, "output_layers": {}}}}})",
        nodes, inputs, outputs));
  };
  const std::string good = R"([[["in", 0, 0, {}]]])";
  EXPECT_TRUE(mentions(model(R"([["in", 0, 0], ["in2", 0, 0]])", R"(["r", 0, 0])", good), "the model has 2 inputs"));
  EXPECT_TRUE(mentions(model(R"(["in", 0, 0])", R"([["r", 0, 0], ["in", 0, 0]])", good), "the model has 2 outputs"));
  EXPECT_TRUE(mentions(model("[]", R"(["r", 0, 0])", good), "the model has 0 inputs"));
  EXPECT_TRUE(mentions(model("null", R"(["r", 0, 0])", good), "no 'input_layers'"));
  EXPECT_TRUE(mentions(model(R"({"a": ["in", 0, 0]})", R"(["r", 0, 0])", good), "the model has 1 inputs"));
  // A value of another input.
  EXPECT_TRUE(mentions(model(R"(["in", 0, 0])", R"(["r", 0, 0])", R"([[["in2", 0, 0, {}]]])"),
                       "layer 'in2' (InputLayer) reads 0 values"));
  for (const char* wrong : {"7", R"(["in"])", R"([[["in", 0]]])", R"([[[0, "in", 0]]])", R"([[["in", 0, 1]]])", "[7]",
                            "[[7]]", R"([{"args": [{"class_name": "__keras_tensor__", "config": {}}]}])",
                            R"([{"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": 7}}]}])"}) {
    EXPECT_TRUE(mentions(model(R"(["in", 0, 0])", R"(["r", 0, 0])", wrong), "'inbound_nodes' of layer 'r'")) << wrong;
  }
}

TEST_F(KerasFunctional, LongChainsAreFollowedWithoutRecursion) {
  std::vector<TestLayer> layers;
  const int count = 20000;
  for (int i = count; i > 0; --i) {
    layers.push_back(plain("Dropout", fmt::format("d{}", i), {i == 1 ? "in" : fmt::format("d{}", i - 1)}));
  }
  std::string list;
  write_functional({}, "in");  // without weight groups; the layers have none
  for (const TestLayer& layer : layers) {
    list += fmt::format(R"(, {{"class_name": "Dropout", "config": {{"name": "{}"}}, "inbound_nodes": [{}]}})",
                        layer.name, call(layer.calls.front()));
  }
  write_file(fmt::format(R"({{"class_name": "Functional", "config": {{"layers": [{{"class_name": "InputLayer", )"
                         R"("config": {{"name": "in", "batch_shape": [null, 2]}}}}{}], "input_layers": ["in", 0, 0], )"
                         R"("output_layers": ["d{}", 0, 0]}}}})",
                         list, count),
             {});
  EXPECT_EQ(outline(import_keras(model_path())), "in 2");
}

}  // namespace
}  // namespace gpfq::formats
