// SPDX-License-Identifier: Apache-2.0
// Keras models as Keras 2 and Keras 3 write them: layers one by one, activations in every spelling,
// and files that are incomplete, contradictory or no models.
#include <fstream>
#include <limits>

#include "keras_testing.hpp"

namespace gpfq::formats {
namespace {

using KerasImport = KerasTest;

TestLayer dense(const std::string& name, const std::string& more = {}) {
  return {"Dense",
          name,
          R"(, "units": 3, "use_bias": true)" + more,
          {{"kernel", {2, 3}, {1, 2, 3, 4, 5, 6}}, {"bias", {3}, {7, 8, 9}}}};
}

TEST_F(KerasImport, DenseInBothVersions) {
  for (const char* v : {"2.2.4-tf", "2.15.0", "3.14.0"}) {
    version = v;
    const net::Model model = import({dense("dense", R"(, "activation": "relu")")});
    EXPECT_EQ(outline(model),
              is_keras3() ? "in 2 | dense dense 3 | dense.relu relu 3" : "input 2 | dense dense 3 | dense.relu relu 3");
    EXPECT_EQ(values(model, "dense.weight"), (Floats{1, 4, 2, 5, 3, 6}));  // [outputs, inputs]
    EXPECT_EQ(values(model, "dense.bias"), (Floats{7, 8, 9}));
    Floats row(2);
    model.tensors.at("dense.weight").read_rows(1, 1, row.data());
    EXPECT_EQ(row, (Floats{2, 5}));
  }
}

TEST_F(KerasImport, DenseWithoutBiasAndSplitNames) {
  names_attribute = "weight_names0";  // how a long list is written
  TestLayer layer = dense("block/dense", R"(, "activation": "linear")");
  layer.config = R"(, "units": 3, "use_bias": false)";
  layer.weights.pop_back();
  const net::Model model = import({layer});
  EXPECT_EQ(outline(model), "input 2 | block.dense dense 3");
  EXPECT_FALSE(model.graph.node(1).has_parameter("bias"));
  EXPECT_EQ(model.graph.node(1).source_name, "block/dense");
}

TEST_F(KerasImport, LargeKernelsAreReadInStrips) {
  const Index inputs = 3000;
  const Index outputs = 200;  // 600000 values: more than one strip
  Floats kernel(static_cast<std::size_t>(inputs * outputs));
  for (std::size_t i = 0; i < kernel.size(); ++i) kernel[i] = static_cast<float>(i);
  const TestLayer layer{"Dense", "d", R"(, "units": 200, "use_bias": false)", {{"kernel", {inputs, outputs}, kernel}}};
  const net::Model model = import({layer}, "[null, 3000]");
  const Floats weight = values(model, "d.weight");
  for (const Index r : {0, 7, 199}) {
    for (const Index k : {0, 1310, 1311, 2999}) {
      EXPECT_EQ(weight[static_cast<std::size_t>(r * inputs + k)], static_cast<float>(k * outputs + r));
    }
  }
  Floats rows(static_cast<std::size_t>(2 * inputs));
  model.tensors.at("d.weight").read_rows(5, 2, rows.data());
  EXPECT_EQ(rows[static_cast<std::size_t>(inputs + 2)], 2 * 200 + 6);
}

TEST_F(KerasImport, ActivationsBySpelling) {
  struct Case {
    const char* spelling;
    net::Op op;
    std::map<std::string, double> attributes = {};
  };
  const std::vector<Case> cases = {{"relu", net::Op::relu},
                                   {"sigmoid", net::Op::sigmoid},
                                   {"tanh", net::Op::tanh},
                                   {"softmax", net::Op::softmax},
                                   {"elu", net::Op::elu, {{"alpha", 1.0}}},
                                   {"selu", net::Op::selu, {{"alpha", 1.6732632}, {"gamma", 1.0507010}}},
                                   {"softplus", net::Op::softplus},
                                   {"softsign", net::Op::softsign},
                                   {"swish", net::Op::swish},
                                   {"silu", net::Op::swish},
                                   {"gelu", net::Op::gelu},
                                   {"leaky_relu", net::Op::leaky_relu, {{"alpha", 0.2}}},
                                   {"relu6", net::Op::clip, {{"min", 0.0}, {"max", 6.0}}},
                                   {"hard_silu", net::Op::hard_swish},
                                   {"hard_sigmoid", net::Op::hard_sigmoid, {{"alpha", 0.2}, {"beta", 0.5}}}};
  for (const Case& expected : cases) {
    SCOPED_TRACE(expected.spelling);
    const auto as_text = fmt::format(R"(, "activation": "{}")", expected.spelling);
    const auto as_function = fmt::format(
        R"(, "activation": {{"module": "builtins", "class_name": "function", "config": "{}"}})", expected.spelling);
    for (const std::string& config : {as_text, as_function}) {
      const net::Model fused = import({dense("d", config)});
      ASSERT_EQ(fused.graph.size(), 3);
      EXPECT_EQ(fused.graph.node(2).name, fmt::format("d.{}", expected.spelling));
      const net::Model model = import({{"Activation", "act", config}});
      ASSERT_EQ(model.graph.size(), 2);
      const net::Node& node = model.graph.node(1);
      EXPECT_EQ(node.name, "act");
      EXPECT_EQ(node.op, expected.op);
      for (const auto& [key, value] : expected.attributes) EXPECT_NEAR(node.attribute(key, -9), value, 1e-6);
    }
  }
  version = "3.0.0";
  const net::Model keras3 = import({{"Activation", "act", R"(, "activation": "hard_sigmoid")"}});
  EXPECT_NEAR(keras3.graph.node(1).attribute("alpha", 0), 1.0 / 6.0, 1e-12);
}

TEST_F(KerasImport, ActivationAsALayer) {
  const net::Model model = import(
      {dense("d", R"(, "activation": {"class_name": "LeakyReLU", "config": {"name": "leaky", "alpha": 0.125}})")});
  EXPECT_EQ(outline(model), "input 2 | d dense 3 | d.leakyrelu leaky_relu 3");
  EXPECT_EQ(model.graph.node(2).attribute("alpha", 0), 0.125);
}

TEST_F(KerasImport, ActivationsThatCannotBeRead) {
  EXPECT_TRUE(mentions(error_of({dense("d", R"(, "activation": "mish")")}), "Dense with activation 'mish' ('d')"));
  EXPECT_TRUE(mentions(error_of({dense("d", R"(, "activation": {"class_name": "Custom", "config": {}})")}),
                       "Dense with activation 'Custom' ('d')"));
  EXPECT_TRUE(mentions(error_of({dense("d", R"(, "activation": 7)")}), "layer 'd' (Dense): 'activation' is 7"));
  EXPECT_TRUE(mentions(error_of({{"Activation", "a", ""}}), "layer 'a' (Activation): 'activation' is missing"));
}

TEST_F(KerasImport, ActivationLayers) {
  const auto node = [&](const std::string& class_name, const std::string& config) {
    return import({{class_name, "a", config}}).graph.node(1);
  };
  EXPECT_EQ(node("ReLU", R"(, "max_value": null, "negative_slope": 0.0, "threshold": 0.0)").op, net::Op::relu);
  EXPECT_EQ(node("ReLU", R"(, "max_value": 6.0)").attribute("max", 0), 6.0);
  EXPECT_EQ(node("ReLU", R"(, "negative_slope": 0.5)").attribute("alpha", 0), 0.5);
  EXPECT_TRUE(mentions(error_of({{"ReLU", "a", R"(, "threshold": 1.0)"}}), "ReLU with a threshold"));
  EXPECT_TRUE(mentions(error_of({{"ReLU", "a", R"(, "max_value": -1.0)"}}), "'max_value' is -1.0"));
  const net::Model both = import({{"ReLU", "a", R"(, "max_value": 6.0, "negative_slope": 0.5)"}});
  EXPECT_EQ(outline(both), "input 2 | a leaky_relu 2 | a#2 clip 2");
  EXPECT_EQ(both.graph.node(2).attribute("max", 0), 6.0);
  EXPECT_FALSE(both.graph.node(2).attributes.contains("min"));
  EXPECT_EQ(node("LeakyReLU", "").attribute("alpha", 0), 0.3);
  EXPECT_EQ(node("LeakyReLU", R"(, "alpha": 0.25)").attribute("alpha", 0), 0.25);
  EXPECT_EQ(node("LeakyReLU", R"(, "negative_slope": 0.25)").attribute("alpha", 0), 0.25);
  EXPECT_EQ(node("ELU", R"(, "alpha": 2.0)").attribute("alpha", 0), 2.0);
  EXPECT_EQ(node("Softmax", R"(, "axis": -1)").op, net::Op::softmax);
  EXPECT_EQ(node("Softmax", R"(, "axis": [1])").op, net::Op::softmax);
  EXPECT_TRUE(mentions(error_of({{"Softmax", "a", R"(, "axis": 1)"}}, "[null, 2, 3]"), "Softmax over another axis"));
}

TestLayer normalization(const std::string& config) {
  return {
      "BatchNormalization",
      "bn",
      config,
      {{"gamma", {2}, {1, 2}}, {"beta", {2}, {3, 4}}, {"moving_mean", {2}, {5, 6}}, {"moving_variance", {2}, {7, 8}}}};
}

TEST_F(KerasImport, BatchNormalization) {
  const net::Model model = import({normalization(R"(, "axis": [1], "epsilon": 0.25, "center": true, "scale": true)")});
  EXPECT_EQ(outline(model), "input 2 | bn batch_norm 2");
  EXPECT_EQ(model.graph.node(1).attribute("epsilon", 0), 0.25);
  EXPECT_EQ(values(model, "bn.scale"), (Floats{1, 2}));
  EXPECT_EQ(values(model, "bn.shift"), (Floats{3, 4}));
  EXPECT_EQ(values(model, "bn.mean"), (Floats{5, 6}));
  EXPECT_EQ(values(model, "bn.variance"), (Floats{7, 8}));

  TestLayer plain = normalization(R"(, "axis": -1, "center": false, "scale": false)");
  plain.weights.erase(plain.weights.begin(), plain.weights.begin() + 2);
  const net::Model without = import({plain});
  EXPECT_EQ(values(without, "bn.scale"), (Floats{1, 1}));
  EXPECT_EQ(values(without, "bn.shift"), (Floats{0, 0}));
  EXPECT_EQ(without.graph.node(1).attribute("epsilon", 0), 1e-3);

  EXPECT_TRUE(
      mentions(error_of({normalization(R"(, "axis": -1)")}, "[null, 2, 2]"), "BatchNormalization on samples of 2x2"));
  TestLayer negative = normalization("");
  negative.weights[3].values = {1, -1};
  EXPECT_TRUE(mentions(error_of({negative}), "a moving variance lies below"));
}

TEST_F(KerasImport, ShapesAndWhatDoesNothing) {
  EXPECT_EQ(outline(import({{"Flatten", "flatten"}}, "[null, 2, 3, 1]")), "input 2x3x1 | flatten reshape 6");
  EXPECT_EQ(outline(import({{"Flatten", "flatten"}}, "[32, 6]")), "input 6");
  const auto reshape = [](const std::string& target) {
    return TestLayer{"Reshape", "r", fmt::format(R"(, "target_shape": {})", target)};
  };
  EXPECT_EQ(outline(import({reshape("[3, 2]")}, "[null, 6]")), "input 6 | r reshape 3x2");
  EXPECT_EQ(outline(import({reshape("[-1]")}, "[null, 2, 3]")), "input 2x3 | r reshape 6");
  for (const char* target : {"[4]", "[-1, 4]", "[-1, -1]", "[0]", "[]", "\"x\"", "[1e300]", "[-7]"}) {
    EXPECT_TRUE(mentions(error_of({reshape(target)}, "[null, 6]"), "'target_shape' is")) << target;
  }
  EXPECT_EQ(outline(import({{"Dropout", "a"}, {"GaussianNoise", "b"}, {"SpatialDropout1D", "c"}, {"ReLU", "d"}})),
            "input 2 | d relu 2");
}

TEST_F(KerasImport, AllUnsupportedLayersAreNamedAtOnce) {
  const std::string message =
      error_of({{"LSTM", "l1"}, {"UpSampling2D", "u"}, {"LSTM", "l2"}, dense("d")}, "[null, 4, 4, 1]");
  EXPECT_TRUE(mentions(message, "unsupported layers: LSTM ('l1', 'l2'); UpSampling2D ('u')"));
  EXPECT_TRUE(mentions(message, model_path().string()));
  EXPECT_TRUE(mentions(error_of({dense("d")}, "[null, 4, 2]"), "Dense on samples of 4x2 (flatten them first) ('d')"));
}

TEST_F(KerasImport, WeightsMustFit) {
  EXPECT_TRUE(mentions(error_of({dense("d")}, "[null, 5]"), "its kernel is 2 x 3; expected 5 inputs x 3 units"));
  TestLayer bias = dense("d");
  bias.weights[1] = {"bias", {2}, {1, 2}};
  EXPECT_TRUE(mentions(error_of({bias}), "has 2 values; expected 3"));
  TestLayer flat = dense("d");
  flat.weights[0] = {"kernel", {6}, {1, 2, 3, 4, 5, 6}};
  EXPECT_TRUE(mentions(error_of({flat}), "expected floating-point values in 2 dimensions"));
  TestLayer renamed = dense("d");
  renamed.weights[0].role = "depthwise";
  EXPECT_TRUE(mentions(error_of({renamed}), "layer 'd' has no weight 'kernel'; it lists [d/depthwise:0, d/bias:0]"));
  TestLayer hollow = dense("d", "");  // an extent that nothing is stored for
  hollow.config = R"(, "units": 1073741824)";
  hollow.weights[0] = {"kernel", {2, Index{1} << 30}, {}};
  EXPECT_TRUE(mentions(error_of({hollow}), "claims 2147483648 values but the file holds 0 bytes of it"));

  write({dense("d")});
  {
    const hdf5::Handle file(H5Fopen(model_path().c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
    H5Ldelete(file.id(), "/model_weights/d", H5P_DEFAULT);
  }
  EXPECT_TRUE(mentions(input_error([&] { (void)import_keras(model_path()); }), "there is no group '/model_weights/d'"));
}

TEST_F(KerasImport, ValuesMustBeFinite) {
  TestLayer layer = dense("d");
  layer.weights[0].values[4] = std::numeric_limits<float>::quiet_NaN();
  const net::Model model = import({layer});
  EXPECT_TRUE(mentions(input_error([&] { (void)values(model, "d.weight"); }),
                       "tensor '/model_weights/d/d/kernel:0' holds nan at index [1, 1]"));
  TestLayer bias = dense("d");
  bias.weights[1].values[2] = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(mentions(error_of({bias}), "holds inf at index [2]"));
}

TEST_F(KerasImport, DescriptionsThatAreWrong) {
  EXPECT_TRUE(mentions(error_of_config("{\"class_name\": "), "'model_config' is no JSON"));
  EXPECT_TRUE(mentions(error_of_config(std::string(100000, '[')), "nested deeper than"));
  EXPECT_TRUE(mentions(error_of_config("[1, 2]"), "the model has no 'class_name'"));
  EXPECT_TRUE(mentions(error_of_config(R"({"class_name": 7})"), "'class_name' of the model is 7; expected text"));
  EXPECT_TRUE(mentions(error_of_config(R"({"class_name": "MyModel", "config": {}})"),
                       "the model is of class MyModel; expected Sequential or Functional"));
  const auto sequential = [&](const std::string& layers) {
    return error_of_config(fmt::format(R"({{"class_name": "Sequential", "config": {{"layers": {}}}}})", layers));
  };
  EXPECT_TRUE(mentions(sequential("7"), "has no list of layers"));
  EXPECT_TRUE(mentions(sequential("[]"), "the model has no layers"));
  EXPECT_TRUE(mentions(sequential("[7]"), "layer 0 has no 'class_name'"));
  EXPECT_TRUE(mentions(sequential(R"([{"class_name": "ReLU"}])"), "layer 0 has no 'config'"));
  EXPECT_TRUE(mentions(sequential(R"([{"class_name": "ReLU", "config": {}}])"), "layer 0 has no 'name'"));
  EXPECT_TRUE(
      mentions(sequential(R"([{"class_name": "ReLU", "config": {"name": "r"}}])"), "nothing of its input's shape"));
}

TEST_F(KerasImport, ShapesAndNumbersOfTheWrongKind) {
  for (const char* shape : {"7", "[null]", "[null, null]", "[null, 0]", "[null, -3]", "[null, 2.5]", "[null, \"2\"]",
                            "[null, 18446744073709551615]", "[null, 1099511627776, 1099511627776]"}) {
    EXPECT_FALSE(error_of({{"ReLU", "r"}}, shape).empty()) << shape;
  }
  for (const char* units : {"\"3\"", "null", "3.5", "1e40", "-3", "18446744073709551615"}) {
    TestLayer layer = dense("d");
    layer.config = fmt::format(R"(, "units": {})", units);
    EXPECT_TRUE(mentions(error_of({layer}), "layer 'd'")) << units;
  }
  EXPECT_TRUE(mentions(error_of({dense("d", R"(, "use_bias": 1)")}), "'use_bias'"));
  EXPECT_TRUE(
      mentions(error_of({{"LeakyReLU", "r", R"(, "alpha": "x")"}}), "'alpha' is \"x\"; expected a finite number"));
}

TEST_F(KerasImport, InputShapeFromWhereverItStands) {
  const std::string layer = R"({"class_name": "Dense", "config": {"name": "d", "units": 3}%})";
  const auto with = [&](const std::string& more, const std::string& model) {
    std::string text = layer;
    text.replace(text.find('%'), 1, more);
    write_file(fmt::format(R"({{"class_name": "Sequential", "config": {{"layers": [{}]{}}}}})", text, model),
               {dense("d")});
    return outline(import_keras(model_path()));
  };
  EXPECT_EQ(with("", ""), "input 2 | d dense 3");  // from the kernel
  EXPECT_EQ(with(R"(, "build_config": {"input_shape": [null, 2]})", ""), "input 2 | d dense 3");
  EXPECT_EQ(with("", R"(, "build_input_shape": [null, 2])"), "input 2 | d dense 3");
  std::string text = layer;
  text.replace(text.find('%'), 1, "");
  write_file(fmt::format(R"({{"class_name": "Sequential", "config": [{}]}})", text), {dense("d")});
  EXPECT_EQ(outline(import_keras(model_path())), "input 2 | d dense 3");  // Keras before 2.2.3
}

TEST_F(KerasImport, FilesThatAreNoModels) {
  const auto error_at = [&](const std::string& name) { return input_error([&] { (void)import_keras(path(name)); }); };
  { (void)create("plain.h5"); }
  EXPECT_TRUE(mentions(error_at("plain.h5"), "no attribute 'model_config'"));
  {
    const hdf5::Handle file = create("weights.h5");
    write_names(file.id(), "layer_names", {"dense"});
  }
  EXPECT_TRUE(mentions(error_at("weights.h5"), "holds weights only"));
  EXPECT_TRUE(mentions(error_at("none.h5"), "does not exist"));
  std::ofstream(path("text.h5")) << "text";
  EXPECT_TRUE(mentions(error_at("text.h5"), "not an HDF5 file"));

  write({dense("d")});
  EXPECT_TRUE(is_keras_file(model_path()));
  for (const char* name : {"plain.h5", "weights.h5", "none.h5", "text.h5"}) EXPECT_FALSE(is_keras_file(path(name)));
  version = "x";
  EXPECT_TRUE(mentions(error_of({dense("d")}), "'keras_version' is 'x'"));
}

TEST_F(KerasImport, EmptyListsAreRefused) {
  const TestLayer norm{"BatchNormalization", "n", R"(, "axis": [])",
                       {{"gamma", {2}, {1, 1}}, {"beta", {2}, {0, 0}}, {"moving_mean", {2}, {0, 0}},
                        {"moving_variance", {2}, {1, 1}}}};
  EXPECT_TRUE(mentions(error_of({norm}), "layer 'n' (BatchNormalization): 'axis' is []; expected an axis"));
  const std::string several = R"(, "scale": [1, 2], "axis": [])";
  EXPECT_TRUE(mentions(error_of({{"Rescaling", "r", several}}), "layer 'r' (Rescaling): 'axis' is []"));
  EXPECT_TRUE(mentions(error_of({{"Rescaling", "r", R"(, "scale": [])"}}), "layer 'r' (Rescaling): 'scale' is []"));
  EXPECT_TRUE(mentions(error_of({{"Softmax", "s", R"(, "axis": [])"}}), "Softmax over another axis"));
  EXPECT_TRUE(mentions(error_of({{"Permute", "p", R"(, "dims": [])"}}), "layer 'p' (Permute): 'dims' is []"));
  EXPECT_TRUE(mentions(error_of({{"Reshape", "r", R"(, "target_shape": [])"}}), "'target_shape' is []"));
  EXPECT_TRUE(mentions(error_of({{"Dense", "d", R"(, "units": [])"}}), "'units' is []"));
  const auto on_maps = [&](const char* type, const char* key, const std::string& config) {
    const std::string maps = "[null, 4, 4, 2]";
    EXPECT_TRUE(mentions(error_of({{type, "l", config, {{"kernel", {1, 1, 2, 2}, {1, 0, 0, 1}}}}}, maps),
                         fmt::format("layer 'l' ({}): '{}' is []", type, key)));
  };
  const std::string conv = R"(, "filters": 2, "kernel_size": 1, "use_bias": false)";
  on_maps("Conv2D", "kernel_size", R"(, "filters": 2, "kernel_size": [])");
  on_maps("Conv2D", "strides", conv + R"(, "strides": [])");
  on_maps("Conv2D", "dilation_rate", conv + R"(, "dilation_rate": [])");
  on_maps("Conv2D", "padding", conv + R"(, "padding": [])");
  on_maps("Conv2D", "groups", conv + R"(, "groups": [])");
  on_maps("MaxPooling2D", "pool_size", R"(, "pool_size": [])");
  on_maps("AveragePooling2D", "strides", R"(, "pool_size": 2, "strides": [])");
  on_maps("ZeroPadding2D", "padding", R"(, "padding": [])");
}

}  // namespace
}  // namespace gpfq::formats
