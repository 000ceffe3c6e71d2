// SPDX-License-Identifier: Apache-2.0
// How far a tile's outputs are from the float network's, from the inputs' products alone.
#pragma once

#include "gpfq/quant/gram_path.hpp"
#include "gpfq/quant/tile.hpp"

namespace gpfq::quant {

/// Squared norms of a tile's outputs over all samples.
struct OutputNorms {
  double difference = 0;  ///< ‖XW − XQ‖²_F
  double reference = 0;   ///< ‖XW‖²_F
};

/// Of a finished tile where X = Xq: tr((W−Q)ᵀG(W−Q)) and tr(WᵀGW) from the lower triangle of G. What single precision
/// leaves of a norm far below those of its terms is noise; a negative sum counts as 0. Not finite, or 0, where products
/// of single precision overflow or vanish, which the outputs themselves need not do.   Cost: 2·N²·n flops.
[[nodiscard]] OutputNorms output_norms(const GramProducts& products, const Tile& tile);

/// Bytes that output_norms() needs beside the tile, at most.
[[nodiscard]] Index output_norms_bytes(Index inputs, Index panel_width, Index tile_width);

}  // namespace gpfq::quant
