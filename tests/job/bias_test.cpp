// SPDX-License-Identifier: Apache-2.0
// A tile's biases while the wave is in memory: the same by whole tile and by a few rows, and no more rows than fit what is
// set aside for the outputs that come next.
#include "job/bias.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "gpfq/store/model_file.hpp"
#include "support/mpi_main.hpp"
#include "support/networks.hpp"
#include "support/temp_folder.hpp"

namespace gpfq::job {
namespace {

using test::world;

constexpr Index inputs = 9;
constexpr Index neurons = 23;
constexpr int levels = 4;

/// A model's parameters, and the most rows of weights that were asked for together.
class Watched : public net::Parameters {
 public:
  explicit Watched(const net::Parameters& all) : all_(all) {}
  void read_rows(const std::string& tensor, Index first, Index count, float* out) const override {
    if (tensor == "fc1.weight") most_rows_ = std::max(most_rows_, count);
    all_.read_rows(tensor, first, count, out);
  }
  [[nodiscard]] Index most_rows() const { return most_rows_; }

 private:
  const net::Parameters& all_;
  mutable Index most_rows_ = 0;
};

TEST(TileBias, IsMadeInTheMemoryOfOutputs) {
  const test::SharedFolder folder(world());
  const net::Model model = test::random_mlp({inputs, neurons, 5}, 3);
  world().agree([&] {
    if (world().is_root()) store::write_model(folder / "model.h5", model);
  });
  const store::ModelFile source(folder / "model.h5");
  LayerPlan layer;
  layer.node = 1;
  layer.name = "fc1";
  layer.tensor = "fc1.weight";
  layer.inputs = layer.path.inputs = inputs;
  layer.neurons = layer.problem_neurons = neurons;
  layer.path.samples = 10;
  layer.path.shared = false;
  store::QuantizedFile result(world(), folder / "q.h5", source,
                              {{"fc1", "fc1", "fc1.weight", levels, {neurons, inputs}, bias_of(source.graph(), layer)}});
  const TileBox box{0, 4, 16, 0, inputs};
  quant::Tile tile(inputs, 4, 16, std::vector<quant::Alphabet>(16, quant::Alphabet(levels, 0.125F)));
  test::Random random(5);
  std::vector<std::vector<double>> sums(1);
  for (Index i = 0; i < 2 * inputs; ++i) sums[0].push_back(static_cast<double>(random.integer(-8, 8)));

  const auto biases = [&](Index rows) {
    layer.piece_bytes = rows * 2 * inputs * static_cast<Index>(sizeof(float));
    const Watched weights(source);
    const std::vector<float> made = correct_tile_bias(source.graph(), layer, weights, result, box, tile, sums);
    EXPECT_EQ(weights.most_rows(), std::clamp<Index>(rows, 1, 16));
    return made;
  };
  const std::vector<float> whole = biases(100);
  EXPECT_EQ(whole.size(), 16U);
  for (const Index rows : {0, 1, 3, 8, 15, 16}) EXPECT_EQ(biases(rows), whole) << rows;
  // Neuron 4: its bias and the mean of X w − Xq q, with all codes 0, which is −3·step.
  std::vector<float> w(inputs);
  float bias = 0;
  source.read_rows("fc1.weight", 4, 1, w.data());
  source.read_rows(bias_of(source.graph(), layer), 4, 1, &bias);
  double mean = 0;
  for (std::size_t t = 0; t < w.size(); ++t) mean += sums[0][inputs + t] * static_cast<double>(w[t]) + sums[0][t] * 3 * 0.125;
  EXPECT_NEAR(whole.front(), static_cast<double>(bias) + mean / 10, 1e-5);
  world().barrier();
}

}  // namespace
}  // namespace gpfq::job
