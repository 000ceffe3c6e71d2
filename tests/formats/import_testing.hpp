// SPDX-License-Identifier: Apache-2.0
// What the tests of all importers share: a folder of their own, expected errors, and a short text
// form of a graph to compare with.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "gpfq/base/error.hpp"
#include "gpfq/net/propagate.hpp"
#include "gpfq/net/tensor_source.hpp"

namespace gpfq::formats {

/// A fixture with an empty folder that goes away with the test.
class ImportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() /
              fmt::format("gpfq_{}_{}_{}", info->test_suite_name(), info->name(), getpid());
    std::filesystem::create_directories(folder_ / "model");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  /// A path in the model's own folder; folder_ itself lies outside of it.
  [[nodiscard]] std::filesystem::path path(const std::string& name) const { return folder_ / "model" / name; }

  std::filesystem::path folder_;
};

/// The message of the input error that `call` throws; a failure when it throws none or a fault.
template <class Call>
std::string input_error(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error was thrown";
  return {};
}

inline ::testing::AssertionResult mentions(const std::string& message, const std::string& part) {
  if (message.find(part) != std::string::npos) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "'" << message << "' does not mention '" << part << "'";
}

/// "x 2 | fc dense 3 | relu relu 3": name, operator and shape of each node after the input.
inline std::string outline(const net::Model& model) {
  std::string text;
  for (const net::Node& node : model.graph.nodes) {
    if (!text.empty()) text += " | ";
    text += node.op == net::Op::input
                ? fmt::format("{} {}", node.name, to_string(node.shape))
                : fmt::format("{} {} {}", node.name, net::op_name(node.op), to_string(node.shape));
  }
  return text;
}

inline std::vector<float> values(const net::Model& model, const std::string& tensor) {
  const auto found = model.tensors.find(tensor);
  if (found == model.tensors.end()) {
    ADD_FAILURE() << "no tensor " << tensor;
    return {};
  }
  EXPECT_EQ(found->second.shape, model.graph.tensor_shape(tensor));
  return net::read_all(found->second);
}

inline const net::Node& node_named(const net::Model& model, const std::string& name) {
  for (const net::Node& node : model.graph.nodes) {
    if (node.name == name) return node;
  }
  throw_fault("no node '{}'", name);
}

/// The model's output for one sample.
inline std::vector<float> run(const net::Model& model, const std::vector<float>& sample) {
  struct Values : net::Parameters {
    explicit Values(const net::Model& from) : tensors(from.tensors) {}
    void read_rows(const std::string& tensor, Index first, Index count, float* out) const override {
      tensors.at(tensor).read_rows(first, count, out);
    }
    const std::map<std::string, net::TensorSource>& tensors;
  };
  net::LiveBatches live;
  net::Batch& input = live.emplace(0, net::Batch(1, model.graph.node(0).shape)).first->second;
  if (static_cast<std::size_t>(input.sample_size()) != sample.size()) throw_fault("the sample has another size");
  std::copy(sample.begin(), sample.end(), input.values.data());
  net::run_nodes(model.graph, 1, model.graph.size(), live, Values(model), {});
  const net::Batch& output = live.at(model.graph.output);
  return {output.values.data(), output.values.data() + output.sample_size()};
}

}  // namespace gpfq::formats
