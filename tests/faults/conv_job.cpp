// SPDX-License-Identifier: Apache-2.0
// Writes a job of a second or two for the tests of faults: a small convolutional network with a grouped layer and a
// shortcut, images, and labels to evaluate by.
#include <fmt/core.h>

#include <cstdint>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "gpfq/net/graph.hpp"
#include "gpfq/store/model_file.hpp"
#include "support/data_files.hpp"
#include "support/networks.hpp"

namespace {

using gpfq::Index;
using gpfq::Shape;
namespace net = gpfq::net;

const Shape image{3, 8, 8};

/// Appends a node, with normal weights of about the inputs' scale where it has some.
void add_node(net::Model& model, gpfq::test::Random& random, const std::string& name, net::Op op, std::vector<int> inputs,
              std::map<std::string, std::vector<double>> attributes = {}, const Shape& weight = {}) {
  net::Node node;
  node.name = node.source_name = name;
  node.op = op;
  node.inputs = std::move(inputs);
  node.attributes = std::move(attributes);
  if (!weight.empty()) {
    const std::string tensor = name + ".weight";
    const Index count = gpfq::element_count(weight);
    node.parameters["weight"] = tensor;
    model.graph.tensors[tensor] = weight;
    model.tensors[tensor] = net::make_source(weight, random.normals(count, 3.0 / static_cast<double>(count / weight.front())));
  }
  if (op == net::Op::input) node.shape = image;
  if (op == net::Op::reshape) node.shape = {gpfq::element_count(model.graph.nodes.back().shape)};
  node.shape = net::infer_shape(model.graph, node);
  model.graph.nodes.push_back(node);
  model.graph.output = model.graph.size() - 1;
}

net::Model make_network() {
  std::map<std::string, std::vector<double>> plain = {
      {"strides", {1, 1}}, {"pads", {1, 1, 1, 1}}, {"dilations", {1, 1}}, {"groups", {1}}};
  auto grouped = plain;
  grouped["groups"] = {8};
  net::Model model;
  gpfq::test::Random random(1);
  add_node(model, random, "x", net::Op::input, {});
  add_node(model, random, "first", net::Op::conv, {0}, plain, {16, 3, 3, 3});
  add_node(model, random, "relu1", net::Op::relu, {1});
  add_node(model, random, "grouped", net::Op::conv, {2}, grouped, {16, 2, 3, 3});
  add_node(model, random, "sum", net::Op::add, {3, 2});
  add_node(model, random, "relu2", net::Op::relu, {4});
  add_node(model, random, "flat", net::Op::reshape, {5});
  add_node(model, random, "dense", net::Op::dense, {6}, {}, {10, gpfq::element_count(image) / image.front() * 16});
  return model;
}

void write_job(const std::filesystem::path& folder, Index samples) {
  std::filesystem::create_directories(folder);
  gpfq::store::write_model(folder / "model.h5", make_network());
  gpfq::test::Random random(2);
  gpfq::test::write_dataset(folder / "data.h5", "x", {samples, image[0], image[1], image[2]},
                            random.normals(samples * gpfq::element_count(image), 1.0));
  std::vector<std::int32_t> labels;
  for (Index i = 0; i < samples; ++i) labels.push_back(static_cast<std::int32_t>(random.integer(0, 9)));
  gpfq::test::write_dataset(folder / "data.h5", "y", {samples}, labels);
  gpfq::test::write_text(folder / "job.json", R"({
  "model": "model.h5",
  "calibration": { "file": "data.h5", "inputs": "x" },
  "evaluation": { "file": "data.h5", "inputs": "x", "labels": "y" },
  "preprocess": { "layout": "NCHW" },
  "quantization": { "levels": 4 },
  "output": "run"
}
)");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: {} FOLDER SAMPLES\n", argv[0]);
    return 2;
  }
  try {
    write_job(argv[1], std::strtol(argv[2], nullptr, 10));
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}
