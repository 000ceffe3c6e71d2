// SPDX-License-Identifier: Apache-2.0
// Propagation by waves of sample chunks: read, run both networks, write.
#include "job/propagation.hpp"

#include <algorithm>
#include <cmath>

#include "gpfq/base/digest.hpp"
#include "gpfq/base/durable.hpp"
#include "gpfq/base/magnitude.hpp"
#include "gpfq/base/parallel.hpp"

namespace gpfq::job {
namespace {

using store::Network;

void check_finite(const net::Graph& graph, int node, Range samples, const net::Batch& batch) {
  const Index size = batch.sample_size();
  for (Index i = 0; i < batch.values.size(); ++i)
    if (!std::isfinite(batch.values[i]))
      throw_input("activations of '{}' become {} at sample {}, value {}: expected finite numbers",
                  graph.node(node).name, batch.values[i], samples.begin + i / size, i % size);
}

/// Raises the largest magnitude of each channel by those of a batch.
void raise_bounds(const net::Batch& batch, std::vector<double>& bounds) {
  const Index channels = static_cast<Index>(bounds.size());
  const Index channel_size = batch.sample_size() / channels;
  const float* value = batch.values.data();
  for (Index sample = 0; sample < batch.samples; ++sample)
    for (double& bound : bounds) {
      bound = std::max(bound, static_cast<double>(largest_magnitude(value, channel_size)));
      value += channel_size;
    }
}

std::string digest_of(const float* values, Index count) {
  return sha256(values, count * static_cast<Index>(sizeof(float)));
}

net::Batch copy_of(const net::Batch& batch) {
  net::Batch copy(batch.samples, batch.shape, Content::anything);
  std::copy_n(batch.values.data(), batch.values.size(), copy.values.data());
  return copy;
}

}  // namespace

Propagation::Propagation(const mpi::Communicator& comm, const net::Graph& graph, const JobPlan& plan,
                         const Config& config, const net::Parameters& analog, const net::Parameters& quantized,
                         store::ActivationStore& store, Checkpointer& checkpointer, WorkDealer& dealer)
    : comm_(comm),
      graph_(graph),
      plan_(plan),
      config_(config),
      analog_(analog),
      quantized_(quantized),
      store_(store),
      checkpointer_(checkpointer),
      dealer_(dealer) {
  options_.sample_chunk = plan.sample_chunk;
  options_.neuron_tile = plan.neuron_tile;
  options_.threads = config.threads;
  std::vector<bool> is_quantized(graph.nodes.size(), false);
  for (const LayerPlan* layer : plan.quantized_layers()) is_quantized[static_cast<std::size_t>(layer->node)] = true;
  differs_ = differing_nodes(graph, is_quantized);
  for (const LayerPlan& layer : plan.layers)  // nothing before it says so where there is no network
    if (!layer.path.shared) differs_[static_cast<std::size_t>(graph.node(layer.node).inputs.front())] = true;
}

void Propagation::restore() {
  for (const TensorRecord& record : checkpointer_.state().tensors) {
    if (!record.is_whole) continue;
    const auto network = static_cast<Network>(record.network);
    const net::Node& node = graph_.node(record.node);
    store_.reopen(record.node, network, node.name, node.shape, plan_.samples, record.frame);
    const std::string digest = stored_digest({record.node, network});
    comm_.agree([&] {
      if (comm_.is_root() && digest != record.digest)
        throw_input("stored activations of '{}' ({} network) are damaged: their SHA-256 is {:.12}, the checkpoint expects {:.12}",
                    node.name, network == Network::analog ? "analog" : "quantized", digest, record.digest);
    });
    bounds_[{record.node, network}] = record.bounds;
    digests_[{record.node, network}] = record.digest;
    whole_.insert({record.node, network});
  }
}

std::vector<std::filesystem::path> Propagation::record() const {
  std::vector<std::filesystem::path> files;
  std::vector<TensorRecord>& known = checkpointer_.state().tensors;
  std::vector<TensorRecord> records;
  for (const auto& [node, network] : whole_) {
    const auto found = std::find_if(known.begin(), known.end(), [&, at = node, which = network](const TensorRecord& record) {
      return record.is_whole && record.node == at && record.network == static_cast<int>(which);
    });
    const Index is_known = comm_.max(comm_.is_root() && found != known.end() ? Index{1} : Index{0});
    if (is_known != 0) {
      if (comm_.is_root()) records.push_back(*found);
      continue;
    }
    TensorRecord record;
    record.node = node;
    record.network = static_cast<int>(network);
    record.is_whole = true;
    comm_.agree([&, at = node, which = network] {
      if (!comm_.is_root()) return;
      record.frame = store_.frame(at, which);
      record.bounds = bounds_.at({at, which});
      record.digest = digests_.at({at, which});
    });
    records.push_back(std::move(record));
    files.push_back(store_.path(node, network));
  }
  known = std::move(records);
  return files;
}

void Propagation::start(const Samples& samples, int cut) {
  store_cut(0, cut, [&](Range range, net::LiveBatches& analog, net::LiveBatches&) {
    analog[0] = samples.read(range.begin, range.size());
    net::run_nodes(graph_, 0, cut, analog, analog_, options_);
  });
  checkpointer_.state().progress.propagation = {};  // on every rank: the first layer's samples are not these
}

/// Ranks take whole inputs, as they lie in the store, a few units at a time.
void Propagation::load_inputs(const LayerPlan& layer, const InputReader& read) {
  const int node = graph_.node(layer.node).inputs.front();
  const LoadShares shares = load_shares(layer, config_.memory_per_rank);
  std::vector<Tensor> tensors;
  for (const Network network : networks_of(node)) tensors.emplace_back(node, network);
  for (const auto& [at, network] : tensors) grow(at, network);
  const Units units = input_units(layer);
  const std::vector<Index> left = restore_units(tensors, units);
  AlignedBuffer<float> values;
  const auto load_run = [&](Range run) {
    const Range inputs = units.items_of(run);
    if (values.size() < inputs.size() * plan_.samples) values = AlignedBuffer<float>(inputs.size() * plan_.samples);
    for (const Tensor& tensor : tensors) {
      read(tensor.second, inputs, values.data());
      measure_inputs(inputs, shares.unit, values.data(), bounds_[tensor], unit_digests_[tensor]);
      store_.write_whole_inputs(node, tensor.second, inputs.begin, inputs.size(), values.data());
      start_sync(store_.path(node, tensor.second));
    }
  };
  dealer_.deal(left, shares.inputs / shares.unit, load_run, [&] { pause_if_due(tensors); });
  for (const auto& [at, network] : tensors) finish_tensor(at, network);
  checkpointer_.state().progress.propagation = {};
}

/// A checkpoint, or a stop, where one is due. Collective.
void Propagation::pause_if_due(const std::vector<Tensor>& tensors) {
  if (!checkpointer_.is_due()) return;
  save_units(tensors);
  checkpointer_.stop_if_asked();
}

/// Bounds of some inputs and digests of their units. @param values  inputs × samples
void Propagation::measure_inputs(Range inputs, Index unit, const float* values, std::vector<double>& bounds,
                                 std::map<Index, std::string>& digests) const {
  const Index samples = plan_.samples;
  const Index units = ceil_div(inputs.size(), unit);
  std::vector<std::string> of_units(static_cast<std::size_t>(units));
  parallel_for(units, config_.threads, [&](Index index) {
    const Range part{index * unit, std::min(inputs.size(), (index + 1) * unit)};
    for (Index t = part.begin; t < part.end; ++t)
      bounds[static_cast<std::size_t>(inputs.begin + t)] = static_cast<double>(largest_magnitude(values + t * samples, samples));
    of_units[static_cast<std::size_t>(index)] =
        sha256(values + part.begin * samples, part.size() * samples * static_cast<Index>(sizeof(float)));
  });
  for (Index index = 0; index < units; ++index)
    digests[inputs.begin / unit + index] = std::move(of_units[static_cast<std::size_t>(index)]);
}

LayerError Propagation::advance(const LayerPlan& layer, bool keep) {
  const int next_cut = layer.next_cut;
  const int input = graph_.node(layer.node).inputs.front();
  errors_.clear();
  const auto run = [&](Range samples, net::LiveBatches& analog, net::LiveBatches& quantized) {
    load(samples, layer.node, analog, quantized);
    net::Batch V = net::linear_output(graph_, layer.node, analog.at(input), analog_, options_);
    net::Batch Vq = net::linear_output(graph_, layer.node, quantized.at(input), quantized_, options_);
    measure(samples, V, Vq);
    if (!keep) {  // nobody else will look at them
      check_finite(graph_, layer.node, samples, V);
      check_finite(graph_, layer.node, samples, Vq);
      return;
    }
    net::add_bias(graph_, layer.node, V, analog_);
    net::add_bias(graph_, layer.node, Vq, quantized_);
    analog[layer.node] = std::move(V);
    quantized[layer.node] = std::move(Vq);
    net::run_nodes(graph_, layer.node + 1, next_cut, analog, analog_, options_);
    net::run_nodes(graph_, layer.node + 1, next_cut, quantized, quantized_, options_);
  };
  store_cut(layer.node, keep ? next_cut : -1, run);
  std::map<Index, std::array<double, 2>> all;
  for (const auto& of_rank : comm_.gather(errors_)) all.insert(of_rank.begin(), of_rank.end());
  LayerError error;
  for (const auto& [unit, parts] : all) {
    error.difference += parts[0];
    error.reference += parts[1];
  }
  return error;
}

void Propagation::load(Range samples, int cut, net::LiveBatches& analog, net::LiveBatches& quantized) const {
  for (const int node : net::live_at(graph_, cut)) {
    analog[node] = store_.read_samples(node, Network::analog, samples.begin, samples.size());
    quantized[node] = differs_[static_cast<std::size_t>(node)]
                          ? store_.read_samples(node, Network::quantized, samples.begin, samples.size())
                          : copy_of(analog[node]);
  }
}

/// One pair of sums per unit of samples, so that the total does not depend on who had which units.
void Propagation::measure(Range samples, const net::Batch& analog, const net::Batch& quantized) {
  const Index size = analog.sample_size();
  for (Index begin = 0; begin < analog.samples; begin += plan_.sample_unit) {
    const Index end = std::min(analog.samples, begin + plan_.sample_unit);
    double difference = 0;
    double reference = 0;
    for (Index i = begin * size; i < end * size; ++i) {
      const double v = analog.values[i];
      const double d = v - static_cast<double>(quantized.values[i]);
      difference += d * d;
      reference += v * v;
    }
    errors_[(samples.begin + begin) / plan_.sample_unit] = {difference, reference};
  }
}

void Propagation::write_batch(int node, Network network, Range samples, const net::Batch& batch) {
  std::map<Index, std::string>& digests = unit_digests_[{node, network}];
  check_finite(graph_, node, samples, batch);
  const Index size = batch.sample_size();
  raise_bounds(batch, bounds_[{node, network}]);
  const Index units = ceil_div(batch.samples, plan_.sample_unit);
  std::vector<std::string> of_units(static_cast<std::size_t>(units));
  parallel_for(units, config_.threads, [&](Index unit) {
    const Index begin = unit * plan_.sample_unit;
    const Index count = std::min(plan_.sample_unit, batch.samples - begin);
    of_units[static_cast<std::size_t>(unit)] = digest_of(batch.values.data() + begin * size, count * size);
  });
  for (Index unit = 0; unit < units; ++unit)
    digests[samples.begin / plan_.sample_unit + unit] = std::move(of_units[static_cast<std::size_t>(unit)]);
  store_.write(node, network, samples.begin, batch);
  start_sync(store_.path(node, network));
}

/// Runs `wave` over all samples, on whichever rank; at a cut >= 0 stores what is live there and drops what was live at
/// `first`.
void Propagation::store_cut(int first, int cut, const Wave& wave) {
  const std::vector<int> live = cut < 0 ? std::vector<int>() : net::live_at(graph_, cut);
  std::vector<Tensor> tensors;
  for (const int node : live) {
    if (node < first && first > 0) continue;  // stays as it is
    for (const Network network : networks_of(node)) tensors.emplace_back(node, network);
  }
  for (const auto& [node, network] : tensors) grow(node, network);
  const std::vector<Index> units = restore_units(tensors, sample_units());
  const int last = cut < 0 ? first + 1 : cut;
  const Index wave_samples = samples_per_wave(plan_, graph_, first, last, config_.memory_per_rank);
  const auto run_wave = [&](Range run) {
    const Range samples = sample_units().items_of(run);
    net::LiveBatches analog;
    net::LiveBatches quantized;
    options_.first_sample = samples.begin;
    wave(samples, analog, quantized);
    for (const auto& [node, network] : tensors)
      write_batch(node, network, samples, (network == Network::analog ? analog : quantized).at(node));
  };
  dealer_.deal(units, wave_samples / plan_.sample_unit, run_wave, [&] { pause_if_due(tensors); });
  for (const auto& [node, network] : tensors) finish_tensor(node, network);
  if (first > 0) drop_read(first, live);
}

Propagation::Units Propagation::input_units(const LayerPlan& layer) const {
  return {layer.inputs, load_shares(layer, config_.memory_per_rank).unit, "inputs",
          [this](const Tensor& tensor, Range inputs) {
            AlignedBuffer<float> values(inputs.size() * plan_.samples);
            store_.read_inputs(tensor.first, tensor.second, inputs.begin, inputs.size(), 0, plan_.samples,
                               values.data(), plan_.samples);
            return digest_of(values.data(), values.size());
          }};
}

Propagation::Units Propagation::sample_units() const {
  return {plan_.samples, plan_.sample_unit, "samples", [this](const Tensor& tensor, Range samples) {
            const net::Batch batch = store_.read_samples(tensor.first, tensor.second, samples.begin, samples.size());
            return digest_of(batch.values.data(), batch.values.size());
          }};
}

/// Digest of a stored tensor over the units in which it was written, by all ranks; on root.
std::string Propagation::stored_digest(const Tensor& tensor) const {
  const auto maker = std::ranges::find_if(plan_.layers, [&](const LayerPlan& layer) {
    return layer.path.keeps_outputs && layer.next_cut - 1 == tensor.first;
  });
  std::function<std::string(Index unit)> digest;
  Index count = 0;
  if (maker != plan_.layers.end()) {
    const Index chunks = maker->path.chunk_total();
    count = maker->tile_count() * chunks;
    digest = [&, layer = &*maker, chunks](Index unit) {
      return output_digest(store_, *layer, tensor.first, tensor.second, unit / chunks, unit % chunks);
    };
  } else {
    const Units units = config_.has_network() ? sample_units() : input_units(plan_.layers.front());
    count = ceil_div(units.items, units.size);
    digest = [&, units](Index unit) { return units.digest(tensor, units.items_of({unit, unit + 1})); };
  }
  std::vector<std::string> mine;
  comm_.agree([&] {
    const Range share = ShardPlan(count, 1, comm_.size()).pieces_of(comm_.rank());
    for (Index unit = share.begin; unit < share.end; ++unit) mine.push_back(digest(unit));
  });
  std::vector<std::string> all;
  for (const std::vector<std::string>& part : comm_.gather(mine)) all.insert(all.end(), part.begin(), part.end());
  return sha256_of_digests(all);
}

/// What an earlier run has done is compared with its digests, and root's from here on. @returns units left to do
std::vector<Index> Propagation::restore_units(const std::vector<Tensor>& tensors, const Units& units) {
  const PropagationRecord& record = checkpointer_.state().progress.propagation;
  std::vector<Index> done;
  std::vector<Index> left;
  for (Index unit = 0; unit < ceil_div(units.items, units.size); ++unit)
    (record.units.count(unit) != 0 ? done : left).push_back(unit);
  comm_.agree([&] {
    if (done.empty()) return;
    for (std::size_t i = 0; i < tensors.size(); ++i)
      if (i >= record.bounds.size() || record.bounds[i].size() != bounds_[tensors[i]].size())
        throw_input("the checkpoint's bounds of '{}' are not those of the tensor", graph_.node(tensors[i].first).name);
    for (const Index unit : share_of(done, comm_.rank(), comm_.size())) {
      const std::vector<std::string>& digests = record.units.at(unit).digests;
      const Range items = units.items_of({unit, unit + 1});
      for (std::size_t i = 0; i < tensors.size(); ++i)
        if (i >= digests.size() || units.digest(tensors[i], items) != digests[i])
          throw_input("stored activations of '{}' are damaged: {} {} to {} are not those of the checkpoint",
                      graph_.node(tensors[i].first).name, units.name, items.begin, items.end - 1);
    }
  });
  if (!comm_.is_root() || done.empty()) return left;
  for (const Index unit : done) {
    const UnitRecord& of = record.units.at(unit);
    errors_[unit] = {of.difference, of.reference};
    for (std::size_t i = 0; i < tensors.size(); ++i) unit_digests_[tensors[i]][unit] = of.digests[i];
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) bounds_[tensors[i]] = record.bounds[i];
  return left;
}

/// Puts on disk which samples are done. Collective.
void Propagation::save_units(const std::vector<Tensor>& tensors) {
  PropagationRecord record;
  for (const auto& of_rank : comm_.gather(errors_))
    for (const auto& [unit, parts] : of_rank) {
      record.units[unit].difference = parts[0];
      record.units[unit].reference = parts[1];
    }
  for (const Tensor& tensor : tensors) {
    store_.flush(tensor.first, tensor.second);
    comm_.max(record.bounds.emplace_back(bounds_.at(tensor)));
    for (const auto& of_rank : comm_.gather(unit_digests_[tensor]))
      for (const auto& [unit, digest] : of_rank) record.units[unit].digests.push_back(digest);
  }
  if (comm_.is_root()) checkpointer_.state().progress.propagation = std::move(record);
  checkpointer_.save();
}

/// A tensor that all ranks have written becomes readable; its bounds and its digest are known.
void Propagation::finish_tensor(int node, Network network) {
  store_.publish(node, network);
  comm_.max(bounds_[{node, network}]);
  std::map<Index, std::string> by_unit;
  for (const auto& part : comm_.gather(unit_digests_[{node, network}])) by_unit.insert(part.begin(), part.end());
  std::vector<std::string> all;
  for (const auto& [unit, digest] : by_unit) all.push_back(digest);
  digests_[{node, network}] = sha256_of_digests(all);
  whole_.insert({node, network});
}

/// Deletes what was live at `first` and is not among `live`.
void Propagation::drop_read(int first, const std::vector<int>& live) {
  for (const int node : net::live_at(graph_, first))
    if (std::find(live.begin(), live.end(), node) == live.end())
      for (const Network network : networks_of(node)) {
        whole_.erase({node, network});
        checkpointer_.remove_after_save(store_.release(node, network));
      }
}

std::vector<Network> Propagation::networks_of(int node) const {
  if (differs_[static_cast<std::size_t>(node)]) return {Network::analog, Network::quantized};
  return {Network::analog};
}

std::unique_ptr<OutputCollector> Propagation::collect(const LayerPlan& layer, bool keep) {
  if (keep)
    for (const Network network : networks_of(layer.next_cut - 1)) grow(layer.next_cut - 1, network);
  auto outputs = std::make_unique<OutputCollector>(graph_, layer, keep ? layer.next_cut : layer.node, analog_,
                                                   quantized_, store_);
  const LayerProgress& progress = checkpointer_.state().progress;
  comm_.agree([&] {
    const Range mine = ShardPlan(static_cast<Index>(progress.units.size()), 1, comm_.size()).pieces_of(comm_.rank());
    for (Index i = mine.begin; i < mine.end; ++i) outputs->verify(progress.units[static_cast<std::size_t>(i)]);
    if (comm_.is_root()) outputs->restore(progress.units, progress.bounds);
  });
  return outputs;
}

/// A tensor that is written part by part: a new one, or one that an earlier run began.
void Propagation::grow(int node, Network network) {
  checkpointer_.settle();  // what it has removed makes room
  std::vector<TensorRecord>& known = checkpointer_.state().tensors;
  const auto found = std::find_if(known.begin(), known.end(), [&](const TensorRecord& record) {
    return !record.is_whole && record.node == node && record.network == static_cast<int>(network);
  });
  if (comm_.max(found == known.end() ? Index{0} : Index{1}) != 0) {
    const net::Node& of = graph_.node(node);
    store_.reopen(node, network, of.name, of.shape, plan_.samples, found->frame);
    bounds_[{node, network}].assign(static_cast<std::size_t>(of.shape.empty() ? 1 : of.shape.front()), 0.0);
    return;
  }
  create(node, network);
  store_.flush(node, network);
  TensorRecord record;
  record.node = node;
  record.network = static_cast<int>(network);
  comm_.agree([&] {
    if (!comm_.is_root()) return;
    record.frame = store_.frame(node, network);
    known.push_back(record);
  });
}

LayerError Propagation::take(const LayerPlan& layer, const OutputCollector& outputs, bool keep) {
  std::vector<OutputUnit> units;
  for (const std::vector<OutputUnit>& part : comm_.gather(outputs.units())) units.insert(units.end(), part.begin(), part.end());
  std::sort(units.begin(), units.end(), [](const OutputUnit& a, const OutputUnit& b) {
    return std::pair{a.tile, a.chunk} < std::pair{b.tile, b.chunk};
  });
  LayerError error;
  for (const OutputUnit& unit : units) {
    error.difference += unit.difference;
    error.reference += unit.reference;
  }
  const int node = layer.next_cut - 1;
  if (keep) {
    for (const Network network : networks_of(node)) {
      const std::size_t which = network == Network::analog ? 0 : 1;
      store_.publish(node, network);
      std::vector<double>& bounds = bounds_[{node, network}];
      bounds = outputs.bounds()[which];
      comm_.max(bounds);
      std::vector<std::string> digests;
      for (const OutputUnit& unit : units) digests.push_back(unit.digests[which]);
      digests_[{node, network}] = sha256_of_digests(digests);
      whole_.insert({node, network});
    }
  }
  drop_read(layer.node, keep ? std::vector<int>{node} : std::vector<int>());
  return error;
}

void Propagation::create(int node, Network network) {
  const Shape& shape = graph_.node(node).shape;
  store_.create(node, network, graph_.node(node).name, shape, plan_.samples);
  bounds_[{node, network}].assign(static_cast<std::size_t>(shape.empty() ? 1 : shape.front()), 0.0);
}

const std::vector<double>& Propagation::bounds(int node, Network network) const {
  return bounds_.at({node, differs_[static_cast<std::size_t>(node)] ? network : Network::analog});
}

std::string Propagation::digest(int node, Network network) const {
  const bool differs = differs_[static_cast<std::size_t>(node)];
  const auto found = digests_.find({node, differs ? network : Network::analog});
  return found == digests_.end() ? std::string() : found->second;
}

}  // namespace gpfq::job
