// SPDX-License-Identifier: Apache-2.0
// Each rank runs its samples in waves; counts are summed.
#include "job/evaluation.hpp"

#include <algorithm>
#include <array>

#include "gpfq/base/error.hpp"

namespace gpfq::job {
namespace {

/// Classes ahead of the label's; as many as there are when its score is not a number.
Index rank_of_label(const float* scores, Index classes, Index label) {
  const float own = scores[label];
  if (own != own) return classes;
  Index ahead = 0;
  for (Index c = 0; c < classes; ++c) ahead += scores[c] > own || (scores[c] == own && c < label) ? 1 : 0;
  return ahead;
}

}  // namespace

Accuracy evaluate(const mpi::Communicator& comm, const net::Graph& graph, const JobPlan& plan, const Config& config,
                  const net::Parameters& parameters, const EvaluationData& data) {
  net::PropagationOptions options;
  options.sample_chunk = plan.sample_chunk;
  options.neuron_tile = plan.neuron_tile;
  options.threads = config.threads;
  const Index classes = element_count(graph.node(graph.output).shape);
  const Range mine = ShardPlan(data.samples.count(), plan.sample_unit, comm.size()).items_of(comm.rank());
  const Index wave = samples_per_wave(plan, graph, 0, graph.size(), config.memory_per_rank);
  std::array<std::int64_t, 2> correct{};
  comm.agree([&] {
    for (Index begin = mine.begin; begin < mine.end; begin += wave) {
      const Index count = std::min(wave, mine.end - begin);
      options.first_sample = begin;
      net::LiveBatches live;
      live[0] = data.samples.read(begin, count);
      net::run_nodes(graph, 0, graph.size(), live, parameters, options);
      const float* scores = live.at(graph.output).values.data();
      for (Index i = 0; i < count; ++i) {
        const Index label = data.labels[static_cast<std::size_t>(begin + i)];
        if (label < 0 || label >= classes)
          throw_input("evaluation: label {} of sample {} is not one of the network's {} classes", label, begin + i,
                      classes);
        const Index ahead = rank_of_label(scores + i * classes, classes, label);
        correct[0] += ahead == 0 ? 1 : 0;
        correct[1] += ahead < 5 ? 1 : 0;
      }
    }
  });
  comm.sum(correct);
  return {correct[0], correct[1], data.samples.count()};
}

}  // namespace gpfq::job
