// SPDX-License-Identifier: Apache-2.0
// How far a tile's outputs are from the float network's, from the inputs' products alone.
#pragma once

#include "gpfq/quant/gram_path.hpp"
#include "gpfq/quant/tile.hpp"

namespace gpfq::quant {

/// Squared norms of a tile's outputs over all samples; NaN where single precision does not tell them.
struct OutputNorms {
  double difference = 0;  ///< ‖XW − XqQ‖²_F
  double reference = 0;   ///< ‖XW‖²_F
};

/// Of a finished tile, R = W − Q: tr(RᵀGR) and tr(WᵀGW) where X = Xq, else, of products that compare networks, what
///   ‖(X−Xq)W + XqR‖² = tr(WᵀLW) + 2 tr(RᵀKW) + tr(RᵀGR)   and   ‖XW‖² = tr(WᵀLW) + 2 tr(WᵀKW) + tr(WᵀGW)
/// are. Not told is a norm of less than 2⁻¹² of what it would be at most if the inputs were orthogonal, the squared sum of
/// √(Σ_t G_tt ‖row t of R‖²) and √(Σ_t L_tt ‖row t of W‖²), for rounding has taken 4e-7 of that: those which are told are
/// within 0.2 %, the most of them within 1e-5. Nor one of less than 2⁻¹⁵ of its terms, nor one of 2²⁵² or more, for outputs
/// may not be finite then.   Cost: 2·N²·n flops, 5·N²·n where X ≠ Xq.
[[nodiscard]] OutputNorms output_norms(const GramProducts& products, const Tile& tile);

/// Bytes that output_norms() needs beside the tile, at most.
[[nodiscard]] Index output_norms_bytes(Index inputs, Index panel_width, Index tile_width);

}  // namespace gpfq::quant
