// SPDX-License-Identifier: Apache-2.0
// Rows of weights and codes that several small tiles have in common, read and written once for all of them.
#pragma once

#include <span>
#include <vector>

#include "gpfq/quant/tile.hpp"
#include "job/layer_path.hpp"

namespace gpfq::job {

/// Weights and codes of a layer with several problems, whose tiles are a few inputs wide (channelwise) or a few neurons
/// high (depthwise). Whole rows are read ahead, codes are collected while tiles adjoin, as they do in the order of
/// their numbers.
class TileRows {
 public:
  /// @param task, report  outlive the object
  TileRows(const LayerTask& task, RankReport& report);

  /// Neurons × inputs of the tile's problem.
  void read(const TileBox& box, std::span<float> weights);
  /// Takes a finished tile's codes; writes and reports those before it unless they adjoin.
  void finish(const TileBox& box, const quant::Tile& tile, const std::vector<double>& gains);
  /// Writes and reports what is left.
  void flush();

 private:
  [[nodiscard]] bool adjoins(const TileBox& box) const;

  const LayerTask& task_;
  RankReport& report_;
  Index row_limit_;
  Range read_rows_;                  ///< neurons whose weights are here
  std::vector<float> weights_;       ///< whole rows
  TileBox pending_;                  ///< of the codes that are collected; no neurons: none
  std::vector<std::uint8_t> codes_;  ///< rows as long as the layer's
  Index saturated_ = 0;
  Index zeros_ = 0;
  std::vector<double> gains_;
};

}  // namespace gpfq::job
