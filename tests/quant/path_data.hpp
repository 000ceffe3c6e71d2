// SPDX-License-Identifier: Apache-2.0
// Layers to quantize in tests: some whose every intermediate value float32 holds exactly, some
// random; and the blocked path run over them as a job runs it.
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <random>
#include <vector>

#include "gpfq/quant/alphabet.hpp"
#include "gpfq/quant/input_block.hpp"
#include "gpfq/quant/reference_path.hpp"
#include "gpfq/quant/tile_path.hpp"

namespace gpfq::quant {

/// A layer's data: X, Xq m×N, W N×n, one alphabet per neuron.
struct PathData {
  Eigen::MatrixXf X;
  Eigen::MatrixXf Xq;
  Eigen::MatrixXf W;
  std::vector<Alphabet> alphabets;
  bool shared = false;  ///< X = Xq

  [[nodiscard]] Index samples() const { return X.rows(); }
  [[nodiscard]] Index inputs() const { return X.cols(); }
  [[nodiscard]] Index neurons() const { return W.cols(); }
};

/// How the blocked path cuts a layer.
struct Cut {
  Index block_width = 64;
  Index sample_chunk = 2048;
  Index tile_width = 16;
  int threads = 1;
  bool keeps_outputs = false;
};

/// A layer on which the blocked path is exact: activations −1, 0, 1 with a power of two of them nonzero in each column
/// of Xq, weights multiples of 2⁻⁸ in [−1, 1], steps powers of two from 2⁻⁹ with radius at most 2.
///
/// Why exact: all sums of either form are sums of products x·x·w and x·x·q with x in {−1, 0, 1}: multiples of 2⁻⁹ below
/// k·N·(2 + 2) where k = `nonzero`; k·N·4·2⁹ < 2²⁴ keeps each partial sum in 24 bits, divisions are by powers of two.
/// The first weight of each neuron is a tie between two levels; columns 7 and 20 of Xq are dead. @param same_step  one
/// alphabet, else steps that differ by powers of two
[[nodiscard]] PathData exact_data(Index samples, Index nonzero, Index inputs, Index neurons, int levels, bool shared,
                                  bool same_step, std::uint32_t seed);

/// Rectified normal activations, Xq = X + noise of a tenth, normal weights; alphabets of radius 2·median|w|.
[[nodiscard]] PathData random_data(Index samples, Index inputs, Index neurons, int levels, bool shared,
                                   std::uint32_t seed);

/// What the blocked path made of a layer.
struct PathResult {
  Eigen::MatrixXi codes;     ///< N×n
  Eigen::MatrixXf residual;  ///< m×n
  Eigen::MatrixXf analog;    ///< m×n, where outputs are kept
  Eigen::MatrixXf quantized;
  TileStatistics statistics;
};

/// Shape of the path for these data.
[[nodiscard]] PathShape path_shape(const PathData& data, const Cut& cut);

/// Puts inputs first .. first+count−1 into a block, as a reader of the store does: only real rows are written.
void fill_block(const PathData& data, Index first, Index count, InputBlock& block);

/// The blocked path: one InputBlock over all blocks, tile after tile.
[[nodiscard]] PathResult run_blocked(const PathData& data, const Cut& cut);

/// The reference path of each neuron.
[[nodiscard]] std::vector<ReferencePath> run_reference(const PathData& data);

/// The values of a neuron's codes.
[[nodiscard]] Eigen::VectorXd values_of(const Alphabet& alphabet, const Eigen::VectorXi& codes);

}  // namespace gpfq::quant
