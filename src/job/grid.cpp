// SPDX-License-Identifier: Apache-2.0
// The arithmetic of rank grids and the sums along their rows.
#include "job/grid.hpp"

#include "gpfq/base/error.hpp"

namespace gpfq::job {

RankGrid choose_grid(const LayerPlan& layer, const Config& config, int ranks) {
  RankGrid grid = config.grid;
  if (grid.neurons > 0) {
    if (static_cast<Index>(grid.neurons) * grid.samples != ranks)
      throw_input("config: 'quantization.grid' is {}x{}, which is {} ranks; there are {}", grid.neurons, grid.samples,
                  static_cast<Index>(grid.neurons) * grid.samples, ranks);
  }
  if (layer.form != Form::residual) return {ranks, 1};
  if (grid.neurons > 0) return grid;
  grid.neurons = 1;
  for (int divisor = 1; divisor <= ranks; ++divisor)
    if (ranks % divisor == 0 && divisor <= layer.tile_count()) grid.neurons = divisor;
  grid.samples = ranks / grid.neurons;
  return grid;
}

void RankReducer::sum(std::span<std::int64_t> values) {
  if (comm_.size() > 1) comm_.sum(values);
}

void RankReducer::max(std::span<double> values) {
  if (comm_.size() > 1) comm_.max(values);
}

}  // namespace gpfq::job
