// SPDX-License-Identifier: Apache-2.0
// What whole products G and C allow beyond the path: error diffusion, the residual's projection and
// norm without the residual, and sweeps.
#pragma once

#include <span>
#include <vector>

#include "gpfq/base/aligned_buffer.hpp"
#include "gpfq/quant/gram_path.hpp"
#include "gpfq/quant/tile.hpp"

namespace gpfq::quant {

/// What error diffusion needs of a layer: the rows of U, H⁻¹ = UᵀU, H = G + λI, divided by its diagonal; and, where the
/// target is corrected, M = H⁻¹(C + λI), so that w* = M w is what the quantized inputs reach best, held to w by λ.
/// Sources: GPTQ, Frantar et al., ICLR 2023 (the diffusion); Qronos, Zhang et al., 2025 (correcting the target).
class DiffusionFactor {
 public:
  DiffusionFactor() = default;
  /// @param damping  λ in units of the mean of G's diagonal
  /// @param corrects_target  of no effect where X = Xq: M is the identity then
  /// @throws Error (input) when H is not positive definite.   Cost: about N³ flops (3N³ with the target), one thread.
  DiffusionFactor(const GramProducts& products, double damping, bool corrects_target);

  [[nodiscard]] bool corrects_target() const { return !target_.empty(); }
  /// Lower triangle of (U's rows)ᵀ in panels as those of GramProducts, diagonal 1.
  [[nodiscard]] const float* factor(Index panel) const { return factor_[static_cast<std::size_t>(panel)].data(); }
  /// M in whole panels, N×w.
  [[nodiscard]] const float* target(Index panel) const { return target_[static_cast<std::size_t>(panel)].data(); }

  /// All numbers one after the other, to be sent; and back.
  [[nodiscard]] std::vector<std::span<float>> parts();
  /// An object for the same products without numbers, to be filled through parts().
  [[nodiscard]] static DiffusionFactor empty(const GramProducts& products, bool corrects_target);

  /// Bytes that an object holds, and what making it takes beside that.
  [[nodiscard]] static Index bytes(Index inputs, Index panel_width, bool has_target);
  [[nodiscard]] static Index work_bytes(Index inputs, bool has_target);

 private:
  std::vector<AlignedBuffer<float>> factor_;
  std::vector<AlignedBuffer<float>> target_;
};

/// Rounds a tile's inputs in order and diffuses each one's error over the later ones:
///   e_t = v_t − nearest(v_t),   v_s −= e_t U_ts / U_tt  for s > t;   v = w, or w* where the target is corrected.
/// A dead direction takes the level nearest zero.   Cost: N²·n flops, 2N²n more for w*.
void diffuse_by_gram(const GramProducts& products, const DiffusionFactor& factor, Tile& tile);

/// XqᵀU = C W − G Q of a finished tile, from whole products.
class GramResidual {
 public:
  /// Cost: 4·N²·n flops.
  GramResidual(const GramProducts& products, const Tile& tile);
  /// ‖u‖² less ‖Xw‖², which is the same for every alphabet of the neuron.
  [[nodiscard]] double relative_norm(Index neuron) const { return relative_norm_[neuron]; }
  /// Visits all inputs again (refine_block).  @returns weights that changed.   Cost: at most 2·N²·n flops.
  Index sweep(Tile& tile);

  /// Bytes that an object holds, at most.
  [[nodiscard]] static Index bytes(Index inputs, Index panel_width, Index tile_width);

 private:
  const GramProducts& products_;
  AlignedBuffer<float> P_;  ///< N×n, the n neurons of an input contiguous
  AlignedBuffer<double> relative_norm_;
  AlignedBuffer<float> noise_;
};

}  // namespace gpfq::quant
