// SPDX-License-Identifier: Apache-2.0
// The blocked path against the same recursion as rank-one updates, column by column, and against
// the machine's own matrix product, all in one run on one core. Prints one JSON line.
#include <Eigen/Core>

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "gpfq/base/system.hpp"
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

std::vector<std::uint8_t> blocked_path(const MatrixXf& X, const MatrixXf& Xq, const MatrixXf& W,
                                       const gpfq::quant::Alphabet& alphabet, const Options& options) {
  gpfq::quant::PathShape shape;
  shape.samples = X.rows();
  shape.inputs = X.cols();
  shape.block_width = options.block;
  shape.shared = options.shared;
  std::vector<std::unique_ptr<gpfq::quant::TilePath>> tiles;
  for (Index first = 0; first < W.cols(); first += options.tile) {
    const Index count = std::min(options.tile, W.cols() - first);
    tiles.push_back(std::make_unique<gpfq::quant::TilePath>(
        shape, options.tile, std::vector<gpfq::quant::Alphabet>(static_cast<std::size_t>(count), alphabet)));
    std::copy_n(W.data() + first * W.rows(), count * W.rows(), tiles.back()->weights().data());
  }
  gpfq::quant::InputBlock block(shape);
  for (Index first = 0; first < X.cols(); first += options.block) {
    const Index count = std::min(options.block, X.cols() - first);
    block.begin(count);
    for (Index t = 0; t < count; ++t) {
      std::copy_n(Xq.col(first + t).data(), X.rows(), block.quantized() + t * shape.stride());
      if (!options.shared) std::copy_n(X.col(first + t).data(), X.rows(), block.analog() + t * shape.stride());
    }
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
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  if (openblas_set_num_threads != nullptr) openblas_set_num_threads(1);
  const MatrixXf Xq = make_inputs(options.samples, options.inputs, 0.0F);
  const MatrixXf X = options.shared ? Xq : make_inputs(options.samples, options.inputs, 0.1F);
  const MatrixXf W = MatrixXf::Random(options.inputs, options.neurons);
  const auto alphabet = gpfq::quant::Alphabet::from_radius(options.levels, 1.0);

  std::vector<double> column_seconds;
  std::vector<double> blocked_seconds;
  std::vector<std::uint8_t> reference;
  std::vector<std::uint8_t> blocked;
  for (int i = 0; i < options.repeat; ++i) {
    const gpfq::Stopwatch columns;
    reference = column_path(X, Xq, W, alphabet);
    column_seconds.push_back(columns.seconds());
    const gpfq::Stopwatch blocks;
    blocked = blocked_path(X, Xq, W, alphabet, options);
    blocked_seconds.push_back(blocks.seconds());
  }
  Index different = 0;
  for (std::size_t i = 0; i < reference.size(); ++i) different += reference[i] != blocked[i] ? 1 : 0;
  const double share = static_cast<double>(different) / static_cast<double>(reference.size());
  if (share > 0.01) {
    fmt::print(stderr, "bench_path: {:.3f} of the codes differ between the two forms\n", share);
    return 1;
  }
  const double rate = product_rate(options.repeat);
  const double seconds = median(blocked_seconds);
  const double flops = (options.shared ? 4.0 : 6.0) * static_cast<double>(options.samples) *
                       static_cast<double>(options.inputs) * static_cast<double>(options.neurons);
  fmt::print("{{\"benchmark\": \"residual path\", \"samples\": {}, \"inputs\": {}, \"neurons\": {}, \"levels\": {}, \"shared\": {}, "
             "\"block\": {}, \"tile\": {}, \"ranks\": 1, \"threads\": 1, \"seconds\": {:.4f}, \"seconds_spread\": {:.4f}, "
             "\"column_seconds\": {:.4f}, \"times_faster_than_columns\": {:.2f}, \"gflops\": {:.2f}, \"sgemm_gflops\": {:.2f}, "
             "\"share_of_sgemm\": {:.3f}, \"codes_differing\": {:.6f}}}\n",
             options.samples, options.inputs, options.neurons, options.levels, options.shared, options.block, options.tile,
             seconds, *std::max_element(blocked_seconds.begin(), blocked_seconds.end()) -
                          *std::min_element(blocked_seconds.begin(), blocked_seconds.end()),
             median(column_seconds), median(column_seconds) / seconds, flops / seconds * 1e-9, rate * 1e-9,
             flops / seconds / rate, share);
  return 0;
}
