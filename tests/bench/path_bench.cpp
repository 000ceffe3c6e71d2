// SPDX-License-Identifier: Apache-2.0
// A whole layer from memory, in either form, against the same recursion as rank-one updates, column by
// column, and against the machine's own matrix product, all in one run on one core. Prints one JSON line.
#include <Eigen/Core>

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "gpfq/base/system.hpp"
#include "gpfq/quant/block_kernel.hpp"
#include "gpfq/quant/gram_path.hpp"
#include "gpfq/quant/tile_path.hpp"

extern "C" void openblas_set_num_threads(int) __attribute__((weak));

namespace {

using gpfq::Index;
using Eigen::MatrixXf;

struct Options {
  Index samples = 25000;
  Index inputs = 784;
  Index neurons = 500;
  Index tile = 128;
  Index block = 64;
  int levels = 3;
  int repeat = 3;
  bool shared = true;
  bool keep = false;     ///< outputs, in residual form
  bool gram = false;     ///< form
  bool columns = true;   ///< compare with the column-wise form

  [[nodiscard]] double networks() const { return shared ? 1 : 2; }
  /// What the path is credited with.
  [[nodiscard]] double flops() const {
    const double m = static_cast<double>(samples);
    const double N = static_cast<double>(inputs);
    const double n = static_cast<double>(neurons);
    return gram ? networks() * (m * N * N + N * N * n) : (shared && !keep ? 4.0 : 6.0) * m * N * n;
  }
};

/// Inputs like a trained network's: non-negative, most of them zero at any one sample.
MatrixXf make_inputs(Index samples, Index inputs, float noise) {
  std::srand(1);
  MatrixXf X = MatrixXf::Random(samples, inputs).cwiseMax(0.0F);
  if (noise > 0) X = (X + noise * MatrixXf::Random(samples, inputs)).cwiseMax(0.0F);
  return X;
}

/// Column by column: for every input two rank-one updates and a product with a vector, over all neurons.
std::vector<std::uint8_t> column_path(const MatrixXf& X, const MatrixXf& Xq, const MatrixXf& W,
                                      const gpfq::quant::Alphabet& alphabet) {
  MatrixXf U = MatrixXf::Zero(X.rows(), W.cols());
  Eigen::RowVectorXf q(W.cols());
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(W.size()));
  for (Index t = 0; t < W.rows(); ++t) {
    U.noalias() += X.col(t) * W.row(t);
    const Eigen::RowVectorXf argument = (Xq.col(t).transpose() * U) / Xq.col(t).squaredNorm();
    for (Index j = 0; j < W.cols(); ++j) {
      const int code = alphabet.nearest(argument[j]);
      codes[static_cast<std::size_t>(j * W.rows() + t)] = static_cast<std::uint8_t>(code);
      q[j] = alphabet.value(code);
    }
    U.noalias() -= Xq.col(t) * q;
  }
  return codes;
}

std::vector<std::uint8_t> gram_path(MatrixXf& X, const MatrixXf& Xq, const MatrixXf& W,
                                    const gpfq::quant::Alphabet& alphabet, const Options& options) {
  constexpr Index chunk = 2048;
  gpfq::quant::GramProducts products({X.cols(), options.block, options.shared});
  const std::vector<double> bounds(static_cast<std::size_t>(X.cols()), 2.0);
  products.start(bounds, bounds, X.rows());
  for (Index i = 0; i < X.rows(); i += chunk)
    products.add(Xq.data() + i, X.data() + i, std::min(chunk, X.rows() - i), X.rows(), 1);
  gpfq::quant::RowReducer alone;
  products.finish(alone);
  std::vector<std::uint8_t> codes;
  for (Index first = 0; first < W.cols(); first += options.tile) {
    const Index count = std::min(options.tile, W.cols() - first);
    gpfq::quant::Tile tile(X.cols(), options.block, options.tile,
                           std::vector<gpfq::quant::Alphabet>(static_cast<std::size_t>(count), alphabet));
    std::copy_n(W.data() + first * W.rows(), count * W.rows(), tile.weights().data());
    gpfq::quant::quantize_by_gram(products, tile);
    codes.insert(codes.end(), tile.codes().begin(), tile.codes().end());
  }
  return codes;
}

/// Seconds of the block kernel alone, on as many blocks as the layer has.
double kernel_seconds(const Options& options) {
  const Index b = options.block;
  const Index n = options.tile;
  const MatrixXf G = MatrixXf::Random(b, b);
  const MatrixXf W = MatrixXf::Random(n, b);
  const Eigen::ArrayXf ones = Eigen::ArrayXf::Ones(std::max(n, b));
  MatrixXf P(n, b);
  MatrixXf Q(n, b);
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(n * b));
  std::vector<std::int32_t> saturated(static_cast<std::size_t>(n));
  gpfq::quant::BlockOperands block;
  block.width = b;
  block.neurons = n;
  block.G = G.data();
  block.C = G.data();
  block.inverse_norm = ones.data();
  block.W = W.data();
  block.P = P.data();
  block.step = ones.data();
  block.inverse_spacing = ones.data();
  block.levels = options.levels;
  block.Q = Q.data();
  block.codes = codes.data();
  block.saturated = saturated.data();
  const gpfq::Stopwatch watch;
  const Index blocks = gpfq::ceil_div(options.inputs, b) * gpfq::ceil_div(options.neurons, n);
  for (Index i = 0; i < blocks; ++i) {
    P = W;
    gpfq::quant::quantize_block(block);
  }
  return watch.seconds();
}

/// The layer's inputs as the stream's window holds them: block after block, Xq's columns, then X's.
class BlocksInMemory {
 public:
  BlocksInMemory(const MatrixXf& X, const MatrixXf& Xq, const Options& options) : options_(options) {
    shape_.samples = X.rows();
    shape_.inputs = X.cols();
    shape_.block_width = options.block;
    shape_.shared = options.shared;
    shape_.keeps_outputs = options.keep;
    values_ = gpfq::AlignedBuffer<float>(shape_.stride() * X.cols() * shape_.networks());
    for (Index first = 0; first < X.cols(); first += options.block) {
      gpfq::quant::InputBlock block = at(first);
      for (Index t = 0; t < block.count(); ++t) {
        std::copy_n(Xq.col(first + t).data(), X.rows(), block.quantized() + t * shape_.stride());
        if (!options.shared) std::copy_n(X.col(first + t).data(), X.rows(), block.analog() + t * shape_.stride());
      }
    }
  }

  [[nodiscard]] const gpfq::quant::PathShape& shape() const { return shape_; }
  [[nodiscard]] gpfq::quant::InputBlock at(Index first) {
    const Index count = std::min(options_.block, shape_.inputs - first);
    const Index column = shape_.stride() * shape_.networks();
    gpfq::quant::InputBlock block(shape_, values_.span().subspan(static_cast<std::size_t>(first * column),
                                                                 static_cast<std::size_t>(count * column)));
    block.begin(count);
    return block;
  }

 private:
  Options options_;
  gpfq::quant::PathShape shape_;
  gpfq::AlignedBuffer<float> values_;
};

std::vector<std::uint8_t> blocked_path(BlocksInMemory& inputs, const MatrixXf& W, const gpfq::quant::Alphabet& alphabet,
                                       const Options& options) {
  std::vector<std::unique_ptr<gpfq::quant::TilePath>> tiles;
  for (Index first = 0; first < W.cols(); first += options.tile) {
    const Index count = std::min(options.tile, W.cols() - first);
    tiles.push_back(std::make_unique<gpfq::quant::TilePath>(
        inputs.shape(), options.tile, std::vector<gpfq::quant::Alphabet>(static_cast<std::size_t>(count), alphabet)));
    std::copy_n(W.data() + first * W.rows(), count * W.rows(), tiles.back()->weights().data());
  }
  for (Index first = 0; first < W.rows(); first += options.block) {
    gpfq::quant::InputBlock block = inputs.at(first);
    block.form_products(1);
    for (auto& tile : tiles) tile->advance(block);
  }
  std::vector<std::uint8_t> codes;
  for (const auto& tile : tiles) codes.insert(codes.end(), tile->codes().begin(), tile->codes().end());
  return codes;
}

/// Best rate of a 2048³ single-precision product, flops per second.
double product_rate(int repeat) {
  const MatrixXf A = MatrixXf::Random(2048, 2048);
  const MatrixXf B = MatrixXf::Random(2048, 2048);
  MatrixXf C(2048, 2048);
  double best = 0;
  for (int i = 0; i < repeat; ++i) {
    const gpfq::Stopwatch watch;
    C.noalias() = A * B;
    best = std::max(best, 2.0 * std::pow(2048.0, 3) / watch.seconds());
  }
  return best;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const Index value = std::atoll(argv[i + 1]);
    if (name == "--samples") options.samples = value;
    if (name == "--inputs") options.inputs = value;
    if (name == "--neurons") options.neurons = value;
    if (name == "--tile") options.tile = value;
    if (name == "--block") options.block = value;
    if (name == "--levels") options.levels = static_cast<int>(value);
    if (name == "--repeat") options.repeat = static_cast<int>(value);
    if (name == "--shared") options.shared = value != 0;
    if (name == "--keep") options.keep = value != 0;
    if (name == "--gram") options.gram = value != 0;
    if (name == "--columns") options.columns = value != 0;
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  if (openblas_set_num_threads != nullptr) openblas_set_num_threads(1);
  const MatrixXf Xq = make_inputs(options.samples, options.inputs, 0.0F);
  MatrixXf X = options.shared ? Xq : make_inputs(options.samples, options.inputs, 0.1F);
  const MatrixXf W = MatrixXf::Random(options.inputs, options.neurons);
  const auto alphabet = gpfq::quant::Alphabet::from_radius(options.levels, 1.0);

  BlocksInMemory inputs(X, Xq, options);
  std::vector<double> column_seconds;
  std::vector<double> blocked_seconds;
  std::vector<std::uint8_t> reference;
  std::vector<std::uint8_t> blocked;
  double rate = product_rate(options.repeat);
  for (int i = 0; i < options.repeat; ++i) {
    rate = std::max(rate, product_rate(1));
    if (options.columns) {
      const gpfq::Stopwatch columns;
      reference = column_path(X, Xq, W, alphabet);
      column_seconds.push_back(columns.seconds());
    }
    const gpfq::Stopwatch blocks;
    blocked = options.gram ? gram_path(X, Xq, W, alphabet, options) : blocked_path(inputs, W, alphabet, options);
    blocked_seconds.push_back(blocks.seconds());
  }
  rate = std::max(rate, product_rate(options.repeat));
  Index different = 0;
  for (std::size_t i = 0; i < reference.size(); ++i) different += reference[i] != blocked[i] ? 1 : 0;
  const double share = static_cast<double>(different) / static_cast<double>(std::max<std::size_t>(1, reference.size()));
  if (share > 0.01) {
    fmt::print(stderr, "bench_path: {:.3f} of the codes differ between the two forms\n", share);
    return 1;
  }
  const double seconds = median(blocked_seconds);
  const double spread = *std::max_element(blocked_seconds.begin(), blocked_seconds.end()) -
                        *std::min_element(blocked_seconds.begin(), blocked_seconds.end());
  fmt::print("{{\"benchmark\": \"{} path\", \"samples\": {}, \"inputs\": {}, \"neurons\": {}, \"levels\": {}, \"shared\": {}, "
             "\"keeps_outputs\": {}, \"block\": {}, \"tile\": {}, \"ranks\": 1, \"threads\": 1, \"seconds\": {:.4f}, "
             "\"seconds_spread\": {:.4f}, \"seconds_least\": {:.4f}, \"kernel_seconds\": {:.4f}, \"gflops\": {:.2f}, \"sgemm_gflops\": {:.2f}, "
             "\"share_of_sgemm\": {:.3f}",
             options.gram ? "gram" : "residual", options.samples, options.inputs, options.neurons, options.levels,
             options.shared, options.keep, options.block, options.tile, seconds, spread,
             *std::min_element(blocked_seconds.begin(), blocked_seconds.end()), kernel_seconds(options),
             options.flops() / seconds * 1e-9, rate * 1e-9, options.flops() / seconds / rate);
  if (options.columns)
    fmt::print(", \"column_seconds\": {:.4f}, \"times_faster_than_columns\": {:.2f}, \"codes_differing\": {:.6f}",
               median(column_seconds), median(column_seconds) / seconds, share);
  fmt::print("}}\n");
  return 0;
}
