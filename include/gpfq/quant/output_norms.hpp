// SPDX-License-Identifier: Apache-2.0
// How far a tile's outputs are from the float network's, from the inputs' products alone.
#pragma once

#include "gpfq/quant/gram_path.hpp"
#include "gpfq/quant/tile.hpp"

namespace gpfq::quant {

/// Squared norms of a tile's outputs over all samples; NaN where single precision does not tell them.
struct OutputNorms {
  double difference = 0;  ///< ‖XW − XQ‖²_F
  double reference = 0;   ///< ‖XW‖²_F
};

/// Of a finished tile where X = Xq: tr((W−Q)ᵀG(W−Q)) and tr(WᵀGW) from the lower triangle of G. A norm of less than
/// 2⁻¹² of what it would be if the inputs were orthogonal, Σ_t G_tt ‖row t of V‖², is not told: rounding has taken 4e-7 of
/// that, so that those which are told are within 0.2 %, the most of them within 1e-5. Nor is one of 2²⁵² or more, for
/// outputs may not be finite then.   Cost: 2·N²·n flops.
[[nodiscard]] OutputNorms output_norms(const GramProducts& products, const Tile& tile);

/// Bytes that output_norms() needs beside the tile, at most.
[[nodiscard]] Index output_norms_bytes(Index inputs, Index panel_width, Index tile_width);

}  // namespace gpfq::quant
