// SPDX-License-Identifier: Apache-2.0
// One read and one write of the file per group of rows, where one per tile would be thousands of small ones.
#include "job/tile_rows.hpp"

#include <algorithm>
#include <utility>

#include "gpfq/base/error.hpp"

namespace gpfq::job {

TileRows::TileRows(const LayerTask& task, RankReport& report)
    : task_(task), report_(report), row_limit_(rows_together(task.layer)) {}

void TileRows::read(const TileBox& box, std::span<float> weights) {
  const LayerPlan& layer = task_.layer;
  const Index last = box.first_neuron + box.neurons;
  if (box.first_neuron < read_rows_.begin || last > read_rows_.end) {
    read_rows_ = {box.first_neuron, std::min(layer.neurons, box.first_neuron + row_limit_)};
    weights_.resize(static_cast<std::size_t>(read_rows_.size() * layer.inputs));
    task_.weights.read_rows(layer.tensor, read_rows_.begin, read_rows_.size(), weights_.data());
  }
  for (Index neuron = 0; neuron < box.neurons; ++neuron)
    std::copy_n(weights_.data() + (box.first_neuron - read_rows_.begin + neuron) * layer.inputs + box.first_input,
                box.inputs, weights.data() + neuron * box.inputs);
}

bool TileRows::adjoins(const TileBox& box) const {
  const bool is_beside = box.first_neuron == pending_.first_neuron && box.neurons == pending_.neurons &&
                         box.first_input == pending_.first_input + pending_.inputs;
  const bool is_below = box.inputs == task_.layer.inputs && pending_.inputs == task_.layer.inputs &&
                        box.first_neuron == pending_.first_neuron + pending_.neurons &&
                        pending_.neurons + box.neurons <= row_limit_;
  return is_beside || is_below;
}

void TileRows::finish(const TileBox& box, const quant::Tile& tile, const std::vector<double>& gains) {
  if (!adjoins(box)) {
    flush();
    pending_ = box;
    pending_.inputs = 0;
    pending_.neurons = 0;
  }
  const Index inputs = task_.layer.inputs;
  const Index first_row = box.first_neuron - pending_.first_neuron;
  pending_.neurons = first_row + box.neurons;
  pending_.inputs = box.first_input + box.inputs - pending_.first_input;
  codes_.resize(static_cast<std::size_t>(row_limit_ * inputs));
  for (Index neuron = 0; neuron < box.neurons; ++neuron)
    std::copy_n(tile.codes().data() + neuron * box.inputs, box.inputs,
                codes_.data() + (first_row + neuron) * inputs + box.first_input);
  saturated_ += tile.saturated();
  zeros_ += tile.zeros();
  gains_.resize(std::max(gains_.size(), gains.size()), 0.0);
  for (std::size_t i = 0; i < gains.size(); ++i) gains_[i] += gains[i];
}

void TileRows::flush() {
  if (pending_.neurons == 0) return;
  const Index inputs = task_.layer.inputs;
  for (Index neuron = 0; neuron < pending_.neurons; ++neuron) {  // packed, to the left and up
    const auto from = codes_.begin() + neuron * inputs + pending_.first_input;
    std::copy(from, from + pending_.inputs, codes_.begin() + neuron * pending_.inputs);
  }
  finish_tile(task_, pending_, std::span(codes_).first(static_cast<std::size_t>(pending_.neurons * pending_.inputs)),
              saturated_, zeros_, report_)
      .gains = std::exchange(gains_, {});
  pending_ = {};
  saturated_ = 0;
  zeros_ = 0;
}

}  // namespace gpfq::job
