// SPDX-License-Identifier: Apache-2.0
// Making of test layers, and the loop over blocks and tiles that a job does with files between.
#include "path_data.hpp"

#include <algorithm>
#include <memory>
#include <numeric>

#include "gpfq/base/error.hpp"
#include "gpfq/quant/radius.hpp"

namespace gpfq::quant {
namespace {

constexpr Index dead_inputs[] = {7, 20};

bool is_power_of_two(Index value) { return value > 0 && (value & (value - 1)) == 0; }

}  // namespace

PathData exact_data(Index samples, Index nonzero, Index inputs, Index neurons, int levels, bool shared, bool same_step,
                    std::uint32_t seed) {
  require(is_power_of_two(nonzero) && nonzero <= samples, "exact_data: nonzero is a power of two within the samples");
  require(nonzero * inputs * 4 * 512 < Index{1} << 24, "exact_data: sums leave 24 bits");
  std::mt19937 generator(seed);
  const auto sign = [&] { return generator() % 2 == 0 ? 1.0F : -1.0F; };
  PathData data;
  data.shared = shared;
  data.Xq = Eigen::MatrixXf::Zero(samples, inputs);
  std::vector<Index> rows(static_cast<std::size_t>(samples));
  std::iota(rows.begin(), rows.end(), Index{0});
  for (Index t = 0; t < inputs; ++t) {
    std::shuffle(rows.begin(), rows.end(), generator);
    for (Index i = 0; i < nonzero; ++i) data.Xq(rows[static_cast<std::size_t>(i)], t) = sign();
  }
  data.X = data.Xq;
  for (const Index dead : dead_inputs)
    if (dead < inputs) data.Xq.col(dead).setZero();
  if (shared) data.X = data.Xq;
  for (Index t = 1; !shared && t < inputs; ++t)
    for (Index i = 0; i < samples; ++i)
      if (generator() % 8 == 0) data.X(i, t) = data.X(i, t) == 0 ? 0 : sign();
  data.W = Eigen::MatrixXf::NullaryExpr(
      inputs, neurons, [&] { return static_cast<float>(static_cast<int>(generator() % 513) - 256) / 256.0F; });
  float step = 1.0F;  // the largest power of two with radius (M − 1)·step <= 1
  while (static_cast<float>(levels - 1) * step > 1.0F) step /= 2;
  for (Index j = 0; j < neurons; ++j)
    data.alphabets.emplace_back(levels, same_step ? step : std::ldexp(step, 1 - static_cast<int>(j % 3)));
  for (Index j = 0; j < neurons; ++j) {  // X₁ = Xq₁: the first argument is the first weight, made a tie
    const Alphabet& alphabet = data.alphabets[static_cast<std::size_t>(j)];
    const int code = static_cast<int>(j) % (levels - 1);
    data.W(0, j) = (alphabet.value(code) + alphabet.value(code + 1)) / 2;
  }
  return data;
}

PathData random_data(Index samples, Index inputs, Index neurons, int levels, bool shared, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  PathData data;
  data.shared = shared;
  data.X = Eigen::MatrixXf::NullaryExpr(samples, inputs, [&] { return std::max(0.0F, normal(generator)); });
  data.Xq = data.X;
  if (!shared) data.Xq += 0.1F * Eigen::MatrixXf::NullaryExpr(samples, inputs, [&] { return normal(generator); });
  data.W = Eigen::MatrixXf::NullaryExpr(inputs, neurons, [&] { return normal(generator); });
  for (Index j = 0; j < neurons; ++j) {
    bool fell_back = false;
    const std::span<const float> weights(data.W.col(j).data(), static_cast<std::size_t>(inputs));
    data.alphabets.push_back(Alphabet::from_radius(levels, 2 * median_magnitude(weights, fell_back)));
  }
  return data;
}

PathShape path_shape(const PathData& data, const Cut& cut) {
  PathShape shape;
  shape.samples = data.samples();
  shape.inputs = data.inputs();
  shape.block_width = cut.block_width;
  shape.sample_chunk = cut.sample_chunk;
  shape.shared = data.shared;
  shape.keeps_outputs = cut.keeps_outputs;
  return shape;
}

void fill_block(const PathData& data, Index first, Index count, InputBlock& block) {
  block.begin(count);
  const Index stride = block.shape().stride();
  for (Index t = 0; t < count; ++t) {
    std::copy_n(data.Xq.col(first + t).data(), data.samples(), block.quantized() + t * stride);
    if (!data.shared) std::copy_n(data.X.col(first + t).data(), data.samples(), block.analog() + t * stride);
  }
}

using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

PathResult run_blocked(const PathData& data, const Cut& cut) {
  const PathShape shape = path_shape(data, cut);
  std::vector<std::unique_ptr<TilePath>> tiles;
  for (Index first = 0; first < data.neurons(); first += cut.tile_width) {
    const Index count = std::min(cut.tile_width, data.neurons() - first);
    const auto begin = data.alphabets.begin() + first;
    tiles.push_back(std::make_unique<TilePath>(shape, cut.tile_width, std::vector<Alphabet>(begin, begin + count)));
    for (Index j = 0; j < count; ++j)
      std::copy_n(data.W.col(first + j).data(), data.inputs(), tiles.back()->weights().data() + j * data.inputs());
  }
  InputBlock block(shape);
  for (Index first = 0; first < data.inputs(); first += cut.block_width) {
    fill_block(data, first, std::min(cut.block_width, data.inputs() - first), block);
    block.form_products(cut.threads);
    for (const auto& tile : tiles) tile->advance(block);
  }
  PathResult result;
  result.codes.resize(data.inputs(), data.neurons());
  result.residual.resize(data.samples(), data.neurons());
  if (cut.keeps_outputs) result.analog = result.quantized = Eigen::MatrixXf(data.samples(), data.neurons());
  Index neuron = 0;
  for (const auto& tile : tiles) {
    for (Index chunk = 0; cut.keeps_outputs && chunk < shape.chunk_count(); ++chunk) {
      RowMajor analog(tile->rows_of(chunk), tile->neurons());
      RowMajor quantized = analog;
      tile->outputs(chunk, analog.data(), quantized.data());
      result.analog.block(chunk * cut.sample_chunk, neuron, analog.rows(), analog.cols()) = analog;
      result.quantized.block(chunk * cut.sample_chunk, neuron, analog.rows(), analog.cols()) = quantized;
    }
    require(tile->finished(), "run_blocked: the blocks cover all inputs");
    for (Index j = 0; j < tile->neurons(); ++j, ++neuron) {
      for (Index t = 0; t < data.inputs(); ++t)
        result.codes(t, neuron) = tile->codes()[static_cast<std::size_t>(j * data.inputs() + t)];
      std::copy_n(tile->residual(j).data(), data.samples(), result.residual.col(neuron).data());
    }
    const TileStatistics statistics = tile->statistics();
    result.statistics.saturated += statistics.saturated;
    result.statistics.zeros += statistics.zeros;
    result.statistics.residual_squared_norm += statistics.residual_squared_norm;
  }
  return result;
}

std::vector<ReferencePath> run_reference(const PathData& data) {
  std::vector<ReferencePath> paths;
  const Eigen::MatrixXd X = data.X.cast<double>();
  const Eigen::MatrixXd Xq = data.Xq.cast<double>();
  for (Index j = 0; j < data.neurons(); ++j)
    paths.push_back(reference_path(X, Xq, data.W.col(j).cast<double>(), data.alphabets[static_cast<std::size_t>(j)]));
  return paths;
}

Eigen::VectorXd values_of(const Alphabet& alphabet, const Eigen::VectorXi& codes) {
  Eigen::VectorXd values(codes.size());
  for (Index t = 0; t < codes.size(); ++t) values[t] = alphabet.value(codes[t]);
  return values;
}

}  // namespace gpfq::quant
