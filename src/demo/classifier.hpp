// SPDX-License-Identifier: Apache-2.0
// The sample's network, trained while the user waits: no gradients, one Cholesky factorization
// for each of two layers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gpfq/base/types.hpp"
#include "gpfq/demo/digits.hpp"

namespace gpfq::demo {

/// y = W x + b.
struct TrainedLayer {
  std::string name;
  Index neurons = 0;
  Index inputs = 0;
  std::vector<float> weight;  ///< neurons × inputs, row-major
  std::vector<float> bias;    ///< neurons
};

/// Trains pixels/255 → hidden1 (1024) → ReLU → hidden2 (512) → ReLU → output (10 scores).
///
///   hidden1: each neuron sees one patch and compares two training images of different digits there.
///   hidden2: ridge regression to targets that tell five digits from the other five, mixed with further patches.
///   output:  ridge regression to +1 for the digit shown and −1 for the others.
///
/// Neurons of both hidden layers have mean 0 and deviation 1 on the training images before ReLU.
/// The draws are the same everywhere; the last digits of the weights are the BLAS's.
/// @throws Error (fault) when digits holds fewer than 1000 images.
/// Cost: about 1.7·10^10 multiply-adds for 6000 images; memory about 100 MiB.
[[nodiscard]] std::vector<TrainedLayer> train_classifier(const Digits& digits, std::uint64_t seed);

}  // namespace gpfq::demo
