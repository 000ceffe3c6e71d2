// SPDX-License-Identifier: Apache-2.0
// BatchNormalization folded into the linear layer before it, so that what is quantized is what the
// deployed network computes with.
#pragma once

#include "gpfq/net/tensor_source.hpp"

namespace gpfq::net {

/// Folds every batch_norm that directly follows a dense or conv node whose output nothing else reads:
///   W'_j = g_j W_j,  b'_j = g_j (b_j − mean_j) + shift_j,  g_j = scale_j / sqrt(variance_j + epsilon).
/// The bias is made where there was none. Weights are scaled as they are read.
/// @returns how many were folded; `model` is changed only where something was.
/// @throws Error (input) where another tensor has the name of a bias that is made.
int fold_batch_norms(Model& model);

}  // namespace gpfq::net
