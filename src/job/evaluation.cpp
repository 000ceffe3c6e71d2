// SPDX-License-Identifier: Apache-2.0
// Waves of samples, dealt to the ranks; counts are summed.
#include "job/evaluation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <optional>

#include "gpfq/base/error.hpp"

namespace gpfq::job {
namespace {

/// Classes ahead of the label's; none where a score is not a number.
std::optional<Index> rank_of_label(const float* scores, Index classes, Index label) {
  const float own = scores[label];
  Index ahead = 0;
  for (Index c = 0; c < classes; ++c) {
    if (std::isnan(scores[c])) return std::nullopt;
    ahead += scores[c] > own || (scores[c] == own && c < label) ? 1 : 0;
  }
  return ahead;
}

/// One network's evaluation on one rank.
class Evaluation {
 public:
  Evaluation(const mpi::Communicator& comm, const net::Graph& graph, const EvaluationData& data, const EvaluationKeeper* keeper)
      : comm_(comm), data_(data), keeper_(keeper), classes_(element_count(graph.node(graph.output).shape)) {
    if (keeper == nullptr) return;
    kept_ = keeper->checkpointer.state().evaluations[keeper->network];
    if (!comm.is_root()) return;
    counts_ = kept_.counts;
    first_unusable_ = kept_.first_unusable;
  }

  /// Of all units of samples, those that no earlier run has counted.
  [[nodiscard]] std::vector<Index> units_left(Index unit) const {
    return missing_from(kept_.done, ceil_div(data_.samples.count(), unit));
  }

  void count(const float* scores, Range samples) {
    for (Index sample = samples.begin; sample < samples.end; ++sample, scores += classes_) {
      const Index label = data_.labels[static_cast<std::size_t>(sample)];
      if (label < 0 || label >= classes_)
        throw_input("evaluation: label {} of sample {} is not one of the network's {} classes", label, sample, classes_);
      const std::optional<Index> ahead = rank_of_label(scores, classes_, label);
      counts_[0] += ahead && *ahead == 0 ? 1 : 0;
      counts_[1] += ahead && *ahead < 5 ? 1 : 0;
      counts_[2] += ahead ? 0 : 1;
      if (!ahead && (first_unusable_ < 0 || sample < first_unusable_)) first_unusable_ = sample;
    }
  }
  void finish_units(Range units) { added_[units.begin] = units.end; }

  /// A checkpoint, or a stop, where one is due. Collective.
  void pause_if_due() {
    if (keeper_ == nullptr || !keeper_->checkpointer.is_due()) return;
    save();
    keeper_->checkpointer.save();
    keeper_->checkpointer.stop_if_asked();
  }

  /// What all ranks have counted, in the state of the next checkpoint too. Collective.
  EvaluationRecord save() {
    EvaluationRecord all;
    all.counts = counts_;
    comm_.sum(all.counts);
    constexpr Index none = std::numeric_limits<Index>::max();
    const Index first = -comm_.max(-(first_unusable_ < 0 ? none : first_unusable_));
    all.first_unusable = first == none ? -1 : first;
    all.done = kept_.done;
    add_runs(comm_.gather(added_), all.done);
    if (keeper_ != nullptr && comm_.is_root()) keeper_->checkpointer.state().evaluations[keeper_->network] = all;
    return all;
  }

 private:
  const mpi::Communicator& comm_;
    const EvaluationData& data_;
  const EvaluationKeeper* keeper_;
  Index classes_;
  EvaluationRecord kept_;                 ///< of an earlier run
  std::array<std::int64_t, 3> counts_{};  ///< of this rank; root's with the earlier run's
  Index first_unusable_ = -1;
  std::map<Index, Index> added_;          ///< units that this rank has counted
};

}  // namespace

Accuracy evaluate(const mpi::Communicator& comm, const net::Graph& graph, const JobPlan& plan, const Config& config,
                  const net::Parameters& parameters, const EvaluationData& data, WorkDealer& dealer,
                  const EvaluationKeeper* keeper) {
  net::PropagationOptions options;
  options.sample_chunk = plan.sample_chunk;
  options.neuron_tile = plan.neuron_tile;
  options.threads = config.threads;
  Evaluation evaluation(comm, graph, data, keeper);
  const Index unit = plan.sample_unit;
  const std::vector<Index> left = evaluation.units_left(unit);
  const Index wave = samples_per_wave(plan, graph, 0, graph.size(), config.memory_per_rank);
  const auto run_wave = [&](Range units) {
    const Range samples{units.begin * unit, std::min(data.samples.count(), units.end * unit)};
    options.first_sample = samples.begin;
    net::LiveBatches live;
    live[0] = data.samples.read(samples.begin, samples.size());
    net::run_nodes(graph, 0, graph.size(), live, parameters, options);
    evaluation.count(live.at(graph.output).values.data(), samples);
    evaluation.finish_units(units);
  };
  dealer.deal(left, wave / unit, run_wave, [&] { evaluation.pause_if_due(); });
  const EvaluationRecord all = evaluation.save();
  return {all.counts[0], all.counts[1], data.samples.count(), all.counts[2], all.first_unusable};
}

std::string unusable_text(const net::Graph& graph, const Accuracy& accuracy) {
  if (accuracy.unusable == 0) return "";
  return fmt::format("{} of {} evaluation samples have an output of '{}' that is not a number and count as wrong, the first is sample {}",
                     accuracy.unusable, accuracy.samples, graph.node(graph.output).name, accuracy.first_unusable);
}

}  // namespace gpfq::job
