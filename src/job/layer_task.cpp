// SPDX-License-Identifier: Apache-2.0
// What the forms of the path share, and plain rounding.
#include <algorithm>
#include <cmath>
#include <utility>

#include "gpfq/base/digest.hpp"
#include "gpfq/base/error.hpp"
#include "gpfq/base/random.hpp"
#include "gpfq/base/system.hpp"
#include "job/layer_path.hpp"

namespace gpfq::job {

std::vector<quant::Alphabet> alphabets_of(const LayerTask& task, const TileBox& box, std::span<const int> which) {
  std::vector<quant::Alphabet> alphabets;
  for (Index j = 0; j < box.neurons; ++j)
    alphabets.push_back(task.alphabets.candidate(box.first_neuron + j,
                                                 static_cast<std::size_t>(which[static_cast<std::size_t>(j)])));
  return alphabets;
}

std::vector<quant::Alphabet> alphabets_of(const LayerTask& task, const TileBox& box, int candidate) {
  return alphabets_of(task, box, std::vector<int>(static_cast<std::size_t>(box.neurons), candidate));
}

quant::Visit visit_of(const LayerTask& task, const TileBox& box) {
  quant::Visit visit;
  visit.threshold = task.layer.threshold;
  if (task.layer.threshold > 0)
    visit.rounding = task.layer.shifts_levels ? quant::RoundingKind::hard : quant::RoundingKind::soft;
  if (task.layer.method == Method::spfq) visit.rounding = quant::RoundingKind::stochastic;
  visit.seed = random_bits(task.layer.rounding_seed, static_cast<std::uint64_t>(box.problem));
  visit.first_neuron = box.first_neuron;
  return visit;
}

CandidateScores::CandidateScores(Index parts, Index neurons, std::size_t candidates)
    : parts_(parts),
      neurons_(neurons),
      candidates_(candidates),
      scores_(static_cast<std::size_t>(parts * neurons) * candidates, -HUGE_VAL) {}

void CandidateScores::set(Index part, Index neuron, std::size_t candidate, double score) {
  scores_[static_cast<std::size_t>(part * neurons_ + neuron) * candidates_ + candidate] = score;
}

void CandidateScores::restore(std::vector<double> values) {
  require(values.size() == scores_.size(), "CandidateScores::restore: another layer's");
  scores_ = std::move(values);
}

std::vector<int> CandidateScores::choose(const mpi::Communicator& comm, bool for_layer) {
  join(comm);
  std::vector<double> sums(static_cast<std::size_t>(for_layer ? 1 : neurons_) * candidates_, 0.0);
  for (std::size_t i = 0; i < scores_.size(); ++i)
    sums[i % (for_layer ? candidates_ : static_cast<std::size_t>(neurons_) * candidates_)] += scores_[i];
  std::vector<int> chosen;
  for (Index j = 0; j < neurons_; ++j) {
    const auto first = sums.begin() + (for_layer ? 0 : j * static_cast<Index>(candidates_));
    chosen.push_back(static_cast<int>(std::min_element(first, first + static_cast<Index>(candidates_)) - first));
  }
  return chosen;
}

void read_tile_weights(const LayerTask& task, const TileBox& box, std::span<float> weights) {
  task.weights.read_rows(task.layer.tensor, box.first_neuron, box.neurons, weights.data());
}

TileReport& finish_tile(const LayerTask& task, const TileBox& box, std::span<const std::uint8_t> codes, Index saturated,
                        Index zeros, RankReport& report) {
  const LayerPlan& layer = task.layer;
  task.result.write_codes(layer.name, {box.first_neuron, box.neurons, box.first_input, box.inputs}, codes.data());
  TileReport& tile = report.tiles.emplace_back();
  tile.first_neuron = box.first_neuron;
  tile.neurons = box.neurons;
  tile.first_input = box.first_input;
  tile.inputs = box.inputs;
  tile.codes_sha256 = sha256(codes.data(), static_cast<Index>(codes.size()));
  tile.saturated = saturated;
  tile.zeros = zeros;
  return tile;
}

RankReport so_far(const LayerTask& task, const RankReport& report) {
  RankReport counted = report;
  counted.bytes_read += task.inputs.bytes_read() - task.read_before;
  counted.bytes_written += task.inputs.bytes_written() - task.written_before;
  counted.peak_memory = peak_memory_bytes();
  return counted;
}

void quantize_by_rounding(const LayerTask& task, RankReport& report) {
  const LayerPlan& layer = task.layer;
  const Stopwatch rounding;
  const Range tiles = ShardPlan(layer.tile_count(), 1, task.comm.size()).pieces_of(task.comm.rank());
  for (Index tile = tiles.begin; tile < tiles.end; ++tile) {
    const TileBox box = tile_box(layer, tile);
    const std::vector<quant::Alphabet> alphabets = alphabets_of(task, box);
    std::vector<float> values(static_cast<std::size_t>(box.neurons * layer.path.inputs));
    std::vector<std::uint8_t> codes(values.size());
    read_tile_weights(task, box, values);
    Index saturated = 0;
    Index zeros = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const quant::Alphabet& alphabet = alphabets[i / static_cast<std::size_t>(layer.path.inputs)];
      const int code = alphabet.nearest(values[i]);
      codes[i] = static_cast<std::uint8_t>(code);
      saturated += std::abs(values[i]) > static_cast<float>(alphabet.levels()) * alphabet.step() ? 1 : 0;
      zeros += 2 * code == alphabet.levels() - 1 ? 1 : 0;
    }
    finish_tile(task, box, codes, saturated, zeros, report);
  }
  report.seconds["path"] += rounding.seconds();
  report.proportional_memory = std::max(report.proportional_memory, proportional_memory_bytes());
}

}  // namespace gpfq::job
