// SPDX-License-Identifier: Apache-2.0
// Matrices in .safetensors and .npy, and configs with the files that they name.
#include "seeds.hpp"
#include "support/data_files.hpp"
#include "support/networks.hpp"
#include "support/tensor_files.hpp"
#include "gpfq/store/model_file.hpp"

namespace gpfq::fuzz {

std::vector<std::string> safetensors_seeds(const std::filesystem::path& folder) {
  const std::vector<float> values{1, 2, 3, 4, 5, 6};
  const std::filesystem::path file = folder / "seed.safetensors";
  std::vector<std::string> seeds;
  for (const char* type : {"f2", "f4", "f8", "bf16"}) {
    test::write_safetensors(file, {{"a", type, {2, 3}, values}, {"b", "f4", {3, 2}, values}});
    seeds.push_back(test::read_text(file));
  }
  return seeds;
}

std::vector<std::string> npy_seeds(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "seed.npy";
  std::vector<std::string> seeds;
  for (const char* type : {"<f2", "<f4", "<f8", "|V2"}) {
    const std::string number = std::string(type) == "|V2" ? "bf16" : type + 1;
    test::write_npy(file, test::npy_header(type, {2, 3}), test::packed(number, {1, 2, 3, 4, 5, 6}));
    seeds.push_back(test::read_text(file));
  }
  return seeds;
}

std::vector<std::string> config_seeds(const std::filesystem::path& folder) {
  store::write_model(folder / "m.h5", test::random_mlp({6, 5, 4, 3}, 1));
  test::write_dataset(folder / "d.h5", "x", {4, 6}, test::Random(1).normals(24, 1));
  test::write_dataset(folder / "d.h5", "y", {4}, std::vector<std::int32_t>{0, 1, 2, 1});
  test::write_npy(folder / "w.npy", test::npy_header("<f4", {2, 6}), test::packed("f4", std::vector<float>(12, 1)));
  const char* network = R"({ "model": "m.h5",
  "calibration": { "file": "d.h5", "inputs": "x", "samples": 3, "shuffle_seed": 7 },
  "evaluation": { "file": "d.h5", "inputs": "x", "labels": "y" },
  "preprocess": { "scale": 0.0039, "mean": [0.0], "std": [1.0], "layout": "flat", "channel_order": "keep" },
  "quantization": { "method": "gpfq", "levels": 3, "radius": { "rule": "median", "scale": 3, "per": "layer" },
    "block": 32, "form": "auto", "grid": "1x1", "patch_fraction": 0.5, "fold_batchnorm": true,
    "layers": [ { "match": "fc[12]", "levels": 15, "radius": { "rule": "value", "value": 0.5 } }, { "match": ".*3", "skip": true } ] },
  "stream": { "ranks_per_node": 2, "exchange": false },
  "memory_per_rank": "4GiB", "threads": 2, "output": "run", "scratch": "scratch" }
)";
  const char* layers = R"({ "layers": [
    { "name": "up", "weight": { "file": "w.npy", "layout": "out_in" }, "inputs": { "file": "d.h5", "tensor": "x" }, "samples": 4 },
    { "name": "down", "weight": { "file": "w.npy" }, "inputs": { "file": "d.h5", "tensor": "x" },
      "quantized_inputs": { "file": "d.h5", "tensor": "x" } } ],
  "quantization": { "bits": 4, "conv": "filters" }, "memory_per_rank": 1073741824, "output": "run" } // a comment
)";
  return {network, layers};
}

}  // namespace gpfq::fuzz
