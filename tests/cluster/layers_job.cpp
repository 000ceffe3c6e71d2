// SPDX-License-Identifier: Apache-2.0
// Writes a job of a few seconds for the tests on clusters: layers without a network, the same inputs for all.
#include <fmt/core.h>

#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <vector>

#include "gpfq/base/random.hpp"
#include "support/tensor_files.hpp"

namespace {

using gpfq::Index;

constexpr Index input_count = 1024;
constexpr Index neuron_count = 1024;

/// Uniform in [-1, 1); what is below `least` becomes zero, as behind a rectifier.
std::vector<float> draw(std::uint64_t seed, Index count, float least) {
  std::vector<float> values;
  for (Index i = 0; i < count; ++i) {
    const double bits = static_cast<double>(gpfq::random_bits(seed, static_cast<std::uint64_t>(i)) >> 40U);
    const auto value = static_cast<float>(bits / (1 << 23) - 1.0);
    values.push_back(value < least ? 0.0F : value);
  }
  return values;
}

void write_matrix(const std::filesystem::path& file, const std::vector<float>& values, Index columns) {
  const Index rows = static_cast<Index>(values.size()) / columns;
  gpfq::test::write_npy(file, gpfq::test::npy_header("<f4", {rows, columns}), gpfq::test::packed("f4", values));
}

void write_job(const std::filesystem::path& folder, int layer_count, Index sample_count) {
  std::filesystem::create_directories(folder);
  write_matrix(folder / "inputs.npy", draw(1, sample_count * input_count, 0.0F), input_count);
  write_matrix(folder / "quantized_inputs.npy", draw(1, sample_count * input_count, 0.05F), input_count);
  std::ofstream config(folder / "job.json");
  config << "{ \"layers\": [";
  for (int layer = 0; layer < layer_count; ++layer) {
    const std::string name = fmt::format("layer{}", layer);
    write_matrix(folder / (name + ".npy"), draw(static_cast<std::uint64_t>(layer) + 2, neuron_count * input_count, -1.0F),
                 input_count);
    config << fmt::format("{}\n  {{ \"name\": \"{}\", \"weight\": {{ \"file\": \"{}.npy\" }}, \"inputs\": {{ \"file\": "
                          "\"inputs.npy\" }}, \"quantized_inputs\": {{ \"file\": \"quantized_inputs.npy\" }} }}",
                          layer == 0 ? "" : ",", name, name);
  }
  config << " ],\n  \"quantization\": { \"levels\": 3, \"form\": \"residual\" }, \"output\": \"run\" }\n";
  if (!config.flush()) throw std::runtime_error("the config cannot be written");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    fmt::print(stderr, "usage: {} FOLDER LAYERS SAMPLES\n", argv[0]);
    return 2;
  }
  try {
    write_job(argv[1], std::atoi(argv[2]), std::atoll(argv[3]));
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
