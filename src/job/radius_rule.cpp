// SPDX-License-Identifier: Apache-2.0
// Radius rules over sharded weights. A layer's median is exact: counts over ranks, no sampling.
#include "job/radius_rule.hpp"

#include <algorithm>
#include <cmath>
#include <functional>

#include "gpfq/base/parallel.hpp"
#include "gpfq/base/shard_plan.hpp"
#include "gpfq/quant/radius.hpp"
#include "job/units.hpp"

namespace gpfq::job {
namespace {

constexpr int most_counters = 8;
constexpr Index weights_per_counter = Index{1} << 17;

/// Calls visit(first neuron, rows, values) over this rank's rows, a slab at a time.
void for_each_slab(const LayerPlan& layer, const net::Parameters& weights, Range neurons,
                   const std::function<void(Index, Index, std::span<const float>)>& visit) {
  const Index rows = std::max<Index>(1, slab_floats / layer.inputs);
  std::vector<float> slab(static_cast<std::size_t>(std::min(rows, neurons.size()) * layer.inputs));
  for (Index first = neurons.begin; first < neurons.end; first += rows) {
    const Index count = std::min(rows, neurons.end - first);
    weights.read_rows(layer.tensor, first, count, slab.data());
    visit(first, count, std::span<const float>(slab).first(static_cast<std::size_t>(count * layer.inputs)));
  }
}

double layer_median(const mpi::Communicator& comm, const LayerPlan& layer, const net::Parameters& weights,
                    Range neurons, int threads, bool& fell_back) {
  const int counters = counters_of(neurons.size() * layer.inputs, threads);
  for (const bool skip_zeros : {false, true}) {
    quant::MagnitudeSelection selection(skip_zeros);
    for (int pass = 0; pass < quant::MagnitudeSelection::pass_count(); ++pass) {
      std::vector<quant::MagnitudeSelection> others;
      comm.agree([&] {
        others.assign(static_cast<std::size_t>(counters - 1), selection);
        for_each_slab(layer, weights, neurons, [&](Index, Index, std::span<const float> slab) {
          const ShardPlan shares(static_cast<Index>(slab.size()), 1, counters);
          parallel_for(counters, counters, [&](Index i) {
            const Range share = shares.items_of(static_cast<int>(i));
            (i == 0 ? selection : others[static_cast<std::size_t>(i - 1)])
                .add(slab.subspan(static_cast<std::size_t>(share.begin), static_cast<std::size_t>(share.size())));
          });
        });
      });
      for (quant::MagnitudeSelection& other : others)
        std::ranges::transform(selection.counts(), other.counts(), selection.counts().begin(), std::plus<>{});
      comm.sum(selection.counts());
      selection.finish_pass();
    }
    fell_back = skip_zeros;
    if (selection.median() > 0) return selection.median();
  }
  return 0;
}

double layer_max(const mpi::Communicator& comm, const LayerPlan& layer, const net::Parameters& weights, Range neurons) {
  double largest = 0;
  comm.agree([&] {
    for_each_slab(layer, weights, neurons, [&](Index, Index, std::span<const float> slab) {
      largest = std::max(largest, quant::max_magnitude(slab));
    });
  });
  return comm.max(largest);
}

}  // namespace

int counters_of(Index weights, int threads) {
  return static_cast<int>(std::clamp<Index>(std::min<Index>(threads, weights / weights_per_counter), 1, most_counters));
}

Range radius_share(const LayerPlan& layer, const mpi::Communicator& comm) {
  return ShardPlan(layer.neurons, 1, comm.size()).items_of(comm.rank());
}

namespace {

bool takes_max(const LayerSettings& settings) {
  return settings.radius.kind == RadiusKind::max || settings.radius.kind == RadiusKind::search;
}

/// Radius of each neuron of this rank's share, then of all neurons on every rank.
std::vector<double> neuron_radii(const mpi::Communicator& comm, const LayerPlan& layer, const LayerSettings& settings,
                                 const net::Parameters& weights, bool& fell_back) {
  const Range mine = radius_share(layer, comm);
  std::vector<double> share;
  comm.agree([&] {
    for_each_slab(layer, weights, mine, [&](Index, Index count, std::span<const float> slab) {
      for (Index row = 0; row < count; ++row) {
        const auto one = slab.subspan(static_cast<std::size_t>(row * layer.inputs), static_cast<std::size_t>(layer.inputs));
        bool fell = false;
        share.push_back(takes_max(settings) ? quant::max_magnitude(one)
                                                                : quant::median_magnitude(one, fell));
        fell_back = fell_back || fell;
      }
    });
  });
  std::vector<double> all;
  for (const std::vector<double>& part : comm.gather(share)) all.insert(all.end(), part.begin(), part.end());
  comm.broadcast(all);
  return all;
}

}  // namespace

quant::Alphabet LayerAlphabets::candidate(Index neuron, std::size_t which) const {
  const auto at = static_cast<std::size_t>(neuron);
  if (which == 0) return alphabets[at];
  return quant::Alphabet::from_radius(levels, static_cast<double>(radius[at]) * candidates[which], threshold_steps);
}

void LayerAlphabets::choose(const std::vector<int>& which) {
  for (std::size_t j = 0; j < alphabets.size(); ++j) {
    const auto chosen = static_cast<std::size_t>(which[j]);
    alphabets[j] = candidate(static_cast<Index>(j), chosen);
    radius[j] = static_cast<float>(static_cast<double>(radius[j]) * candidates[chosen]);
  }
  candidates = {1.0};
}

LayerAlphabets find_alphabets(const mpi::Communicator& comm, const LayerPlan& layer, const LayerSettings& settings,
                              const net::Parameters& weights, int threads) {
  LayerAlphabets result;
  std::vector<double> radius(static_cast<std::size_t>(layer.neurons), settings.radius.value);
  if (settings.radius.kind != RadiusKind::value && settings.radius.per_neuron) {
    radius = neuron_radii(comm, layer, settings, weights, result.fell_back);
    for (double& r : radius) r *= settings.scale();
  } else if (settings.radius.kind != RadiusKind::value) {
    const Range mine = radius_share(layer, comm);
    const double magnitude = takes_max(settings)
                                 ? layer_max(comm, layer, weights, mine)
                                 : layer_median(comm, layer, weights, mine, threads, result.fell_back);
    std::fill(radius.begin(), radius.end(), settings.scale() * magnitude);
  }
  const int count = settings.candidates();
  result.levels = settings.levels;
  result.threshold_steps = settings.shifts_levels() ? settings.threshold : 0;
  for (int i = 0; i < count; ++i)
    result.candidates.push_back(count == 1 ? 1.0 : std::pow(settings.radius.span, -static_cast<double>(i) / (count - 1)));
  comm.agree([&] {
    for (const double r : radius) {
      result.alphabets.push_back(quant::Alphabet::from_radius(settings.levels, r, result.threshold_steps));
      result.radius.push_back(static_cast<float>(r));
    }
  });
  return result;
}

}  // namespace gpfq::job
