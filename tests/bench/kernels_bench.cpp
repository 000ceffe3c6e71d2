// SPDX-License-Identifier: Apache-2.0
// The kernels one by one (Google Benchmark), on one core. Each reports its flops per second and the
// share of what a 2048³ product reached at the start of the same run.
#include <Eigen/Core>
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "gpfq/base/system.hpp"
#include "gpfq/net/patches.hpp"
#include "gpfq/net/propagate.hpp"
#include "gpfq/quant/block_kernel.hpp"
#include "gpfq/quant/gram_path.hpp"
#include "gpfq/quant/tile_path.hpp"

extern "C" void openblas_set_num_threads(int) __attribute__((weak));

namespace {

using gpfq::Index;
using gpfq::quant::Alphabet;

/// Best rate of a 2048³ single-precision product, flops per second; measured once.
double product_rate() {
  static const double rate = [] {
    const Eigen::MatrixXf A = Eigen::MatrixXf::Random(2048, 2048);
    Eigen::MatrixXf C(2048, 2048);
    double best = 0;
    for (int i = 0; i < 5; ++i) {
      const gpfq::Stopwatch watch;
      C.noalias() = A * A;
      best = std::max(best, 2.0 * std::pow(2048.0, 3) / watch.seconds());
    }
    return best;
  }();
  return rate;
}

void report(benchmark::State& state, double flops) {
  const double total = flops * static_cast<double>(state.iterations());
  state.counters["flops"] = benchmark::Counter(total, benchmark::Counter::kIsRate);
  state.counters["share_of_sgemm"] = benchmark::Counter(total / product_rate(), benchmark::Counter::kIsRate);
}

void fill(float* values, Index count) { Eigen::Map<Eigen::ArrayXf>(values, count) = Eigen::ArrayXf::Random(count); }

gpfq::quant::PathShape path_shape(const benchmark::State& state, bool keeps_outputs) {
  gpfq::quant::PathShape shape;
  shape.samples = 4096;
  shape.inputs = Index{1} << 40;  // as many blocks as the benchmark asks for
  shape.block_width = state.range(0);
  shape.keeps_outputs = keeps_outputs;
  return shape;
}

/// The recursion inside a block of b inputs for 256 neurons: 4·b(b+1)/2·n flops.
void block_kernel(benchmark::State& state) {
  const Index b = state.range(0);
  const Index n = 256;
  const Eigen::MatrixXf G = Eigen::MatrixXf::Random(b, b);
  const Eigen::MatrixXf W = Eigen::MatrixXf::Random(n, b);
  Eigen::MatrixXf P(n, b);
  const Eigen::ArrayXf ones = Eigen::ArrayXf::Ones(std::max(n, b));
  Eigen::MatrixXf Q(n, b);
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(n * b));
  std::vector<std::int32_t> saturated(static_cast<std::size_t>(n));
  gpfq::quant::BlockOperands block;
  block.width = b;
  block.neurons = n;
  block.G = block.C = G.data();
  block.inverse_norm = block.step = block.inverse_spacing = ones.data();
  block.W = W.data();
  block.P = P.data();
  block.levels = 15;
  block.Q = Q.data();
  block.codes = codes.data();
  block.saturated = saturated.data();
  for (auto _ : state) {
    P.setZero();
    gpfq::quant::quantize_block(block);
  }
  report(state, 2.0 * static_cast<double>(b * (b + 1) * n));
}

/// G and C of a block of b inputs, 4096 samples, credited with 4·m·b² flops.
void block_products(benchmark::State& state) {
  gpfq::quant::InputBlock block(path_shape(state, false));
  block.begin(state.range(0));
  fill(block.quantized(), gpfq::quant::InputBlock::value_count(block.shape()));
  for (auto _ : state) block.form_products(1);
  report(state, 4.0 * 4096 * std::pow(static_cast<double>(state.range(0)), 2));
}

/// A block past a tile of 256 neurons: 6·m·b·n flops, X ≠ Xq. @param range(1)  outputs are kept
void residual_path(benchmark::State& state) {
  gpfq::quant::PathShape shape = path_shape(state, state.range(1) != 0);
  shape.inputs = 64 * shape.block_width;
  gpfq::quant::InputBlock block(shape);
  block.begin(shape.block_width);
  fill(block.quantized(), gpfq::quant::InputBlock::value_count(shape));
  block.form_products(1);
  const std::vector<Alphabet> alphabets(256, Alphabet::from_radius(15, 1.0));
  std::unique_ptr<gpfq::quant::TilePath> tile;
  for (auto _ : state) {
    if (!tile || tile->finished()) {
      state.PauseTiming();
      tile = std::make_unique<gpfq::quant::TilePath>(shape, 256, alphabets);
      fill(tile->weights().data(), static_cast<Index>(tile->weights().size()));
      tile->advance(block);
      state.ResumeTiming();
    }
    if (!tile->finished()) tile->advance(block);
  }
  report(state, 6.0 * 4096 * static_cast<double>(shape.block_width) * 256);
}

/// A chunk of 2048 rows into G and C of N inputs, lower triangles: 2·rows·N² flops.
void gram_products(benchmark::State& state) {
  const Index N = state.range(0);
  const Index rows = 2048;
  Eigen::MatrixXf X = Eigen::MatrixXf::Random(rows, N);
  const Eigen::MatrixXf Xq = Eigen::MatrixXf::Random(rows, N);
  const std::vector<double> bounds(static_cast<std::size_t>(N), 1.0);
  gpfq::quant::GramProducts products({N, 128});
  products.start(bounds, bounds, Index{1} << 30);
  for (auto _ : state) products.add(Xq.data(), X.data(), rows, rows, 1);
  report(state, 2.0 * static_cast<double>(rows * N * N));
}

/// Patches of a 3×3 convolution on 64 channels of 32×32; no flops, but floats written per second.
void patch_extraction(benchmark::State& state) {
  gpfq::net::Graph graph;
  gpfq::net::Node input;
  input.name = "x";
  input.shape = {64, 32, 32};
  gpfq::net::Node conv;
  conv.name = "conv";
  conv.op = gpfq::net::Op::conv;
  conv.inputs = {0};
  conv.attributes = {{"strides", {1, 1}}, {"pads", {1, 1, 1, 1}}, {"dilations", {1, 1}}, {"groups", {1}}};
  conv.parameters = {{"weight", "w"}};
  conv.shape = {16, 32, 32};
  graph.nodes = {input, conv};
  graph.tensors["w"] = {16, 64, 3, 3};
  const gpfq::net::ConvGeometry geometry = gpfq::net::conv_geometry(graph, graph.node(1));
  const Eigen::ArrayXf maps = Eigen::ArrayXf::Random(2 * 64 * 32 * 32);
  const Index inputs = state.range(0);
  Eigen::MatrixXf patches(2048, inputs);
  for (auto _ : state) {
    gpfq::net::extract_patches(geometry, 0, maps.data(), 2, {}, 0, inputs, patches.data(), 2048);
    benchmark::DoNotOptimize(patches.data());
  }
  state.counters["floats"] =
      benchmark::Counter(static_cast<double>(state.iterations() * 2048 * inputs), benchmark::Counter::kIsRate);
}

/// Random weights for propagation.
class RandomWeights : public gpfq::net::Parameters {
 public:
  explicit RandomWeights(Index size) : values_(Eigen::ArrayXf::Random(size)) {}
  void read_rows(const std::string& /*tensor*/, Index /*first*/, Index count, float* out) const override {
    std::copy_n(values_.data(), count * (values_.size() / rows), out);
  }
  Index rows = 1;

 private:
  Eigen::ArrayXf values_;
};

void run_layer(benchmark::State& state, const gpfq::net::Graph& graph, Index samples, Index inputs, Index neurons,
               Index positions) {
  RandomWeights weights(neurons * inputs);
  weights.rows = neurons;
  gpfq::net::Batch batch(samples, graph.node(0).shape);
  fill(batch.values.data(), batch.values.size());
  for (auto _ : state) benchmark::DoNotOptimize(gpfq::net::linear_output(graph, 1, batch, weights, {}));
  report(state, 2.0 * static_cast<double>(samples * inputs * neurons * positions));
}

/// A convolution's output (3×3, 64 to 64 channels, 32×32) for 8 samples.
void convolution(benchmark::State& state) {
  gpfq::net::Graph graph;
  gpfq::net::Node input;
  input.shape = {64, 32, 32};
  gpfq::net::Node conv;
  conv.op = gpfq::net::Op::conv;
  conv.inputs = {0};
  conv.attributes = {{"strides", {1, 1}}, {"pads", {1, 1, 1, 1}}, {"dilations", {1, 1}}, {"groups", {1}}};
  conv.parameters = {{"weight", "w"}};
  conv.shape = {64, 32, 32};
  graph.nodes = {input, conv};
  graph.tensors["w"] = {64, 64, 3, 3};
  run_layer(state, graph, 8, 64 * 9, 64, 32 * 32);
}

/// A dense layer's output, 1024 × 1024, for 256 samples.
void dense(benchmark::State& state) {
  gpfq::net::Graph graph;
  gpfq::net::Node input;
  input.shape = {1024};
  gpfq::net::Node layer;
  layer.op = gpfq::net::Op::dense;
  layer.inputs = {0};
  layer.parameters = {{"weight", "w"}};
  layer.shape = {1024};
  graph.nodes = {input, layer};
  graph.tensors["w"] = {1024, 1024};
  run_layer(state, graph, 256, 1024, 1024, 1);
}

BENCHMARK(block_kernel)->Arg(32)->Arg(64)->Arg(128)->Arg(256);
BENCHMARK(block_products)->Arg(32)->Arg(64)->Arg(128)->Arg(256);
BENCHMARK(residual_path)->ArgsProduct({{32, 64, 128}, {0, 1}});
BENCHMARK(gram_products)->Arg(256)->Arg(1024);
BENCHMARK(patch_extraction)->Arg(64)->Arg(576);
BENCHMARK(convolution);
BENCHMARK(dense);

}  // namespace

int main(int argc, char** argv) {
  if (openblas_set_num_threads != nullptr) openblas_set_num_threads(1);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  product_rate();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
