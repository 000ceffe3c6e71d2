// SPDX-License-Identifier: Apache-2.0
// Two slots in turn. A slot is filled again only after all ranks have come to ask for the block that follows it.
#include "job/block_stream.hpp"

#include <utility>

#include "gpfq/base/error.hpp"
#include "gpfq/base/system.hpp"

namespace gpfq::job {
namespace {

/// Joins what the ranks of a node took of the same rows, then what other nodes have of other rows.
class StreamReducer : public quant::RowReducer {
 public:
  explicit StreamReducer(const StreamRanks& ranks) : node_(ranks.node), row_(ranks.row) {}
  void sum(std::span<std::int64_t> values) override {
    node_.sum(values);
    row_.sum(values);
  }
  void max(std::span<double> values) override {
    node_.max(values);
    row_.max(values);
  }

 private:
  RankReducer node_;
  RankReducer row_;
};

}  // namespace

StreamRanks::StreamRanks(const mpi::Communicator& comm, const RankGrid& grid, int ranks_per_node)
    : row(comm.split(comm.rank() / grid.samples, comm.rank())),
      column(comm.split(comm.rank() % grid.samples, comm.rank())),
      node(column.split_node(ranks_per_node)),
      leaders(column.split(node.is_root() ? 0 : 1, column.rank())),
      nodes(leaders.size()),
      node_index(leaders.rank()) {
  node.broadcast(nodes);
  node.broadcast(node_index);
  columns_on_node = comm.split_node().sum(node.is_root() ? Index{1} : Index{0});
}

BlockStream::BlockStream(const mpi::Communicator& comm, const StreamRanks& ranks, const LayerRows& rows,
                         const quant::PathShape& shape, std::string layer, const StreamOptions& options)
    : comm_(comm),
      ranks_(ranks),
      rows_(rows),
      shape_(shape),
      layer_(std::move(layer)),
      options_(options),
      window_(ranks.node, quant::InputBlock::value_count(shape) * (options.read_ahead ? 2 : 1), options.share) {
  options_.exchange = options.exchange && ranks.nodes > 1;
  const auto values = static_cast<std::size_t>(quant::InputBlock::value_count(shape));
  slots_.reserve(2);
  for (std::size_t i = 0; i < (options.read_ahead ? 2U : 1U); ++i)
    slots_.emplace_back(shape, window_.values().subspan(i * values, values));
  if (shape.shared || !options.sweeps) return;
  quant::PathShape alone = shape;
  alone.shared = true;
  alone.sums_columns = false;
  quantized_slots_.reserve(2);
  for (std::size_t i = 0; i < slots_.size(); ++i)
    quantized_slots_.emplace_back(
        alone, window_.values().subspan(i * values, static_cast<std::size_t>(quant::InputBlock::value_count(alone))));
}

Range BlockStream::inputs_of(Index index) const {
  const Index first = index * shape_.block_width;
  return {first, std::min(shape_.inputs, first + shape_.block_width)};
}

/// Inputs of a block that a node reads.
Range BlockStream::share_of_node(Index count, int node) const {
  return options_.exchange ? ShardPlan(count, 1, ranks_.nodes).pieces_of(node) : Range{0, count};
}

void BlockStream::start_reading(Index index, std::launch when) {
  const Range inputs = inputs_of(index);
  quant::InputBlock& block = slot(index);
  block.begin(inputs.size());
  Range share = share_of_node(inputs.size(), ranks_.node_index);
  if (window_.is_shared()) {
    const Range part = ShardPlan(share.size(), 1, ranks_.node.size()).pieces_of(ranks_.node.rank());
    share = {share.begin + part.begin, share.begin + part.end};
  }
  reading_ = std::async(when, [this, &block, inputs, share] { rows_.fill(inputs.begin, share, block); });
}

/// Every node's leader gets the other nodes' shares; its node then sees them too, or is sent a copy.
void BlockStream::exchange_shares(quant::InputBlock& block) {
  const Index size = block.count() * shape_.stride();
  const auto exchange = [&](const mpi::Communicator& ranks, const std::vector<Range>& shares) {
    ranks.gather_shares({block.quantized(), static_cast<std::size_t>(size)}, shares);
    if (!block.shape().shared) ranks.gather_shares({block.analog(), static_cast<std::size_t>(size)}, shares);
  };
  if (ranks_.node.is_root()) {
    std::vector<Range> shares;
    for (int node = 0; node < ranks_.nodes; ++node) {
      const Range inputs = share_of_node(block.count(), node);
      shares.push_back({inputs.begin * shape_.stride(), inputs.end * shape_.stride()});
    }
    exchange(ranks_.leaders, shares);
  }
  if (!window_.is_shared()) {
    std::vector<Range> shares(static_cast<std::size_t>(ranks_.node.size()), Range{size, size});
    shares.front() = {0, size};
    exchange(ranks_.node, shares);
  }
  window_.synchronize();
}

void BlockStream::check_usable(const quant::InputBlock& block, Index first) const {
  if (block.is_usable()) return;  // the same on all ranks
  comm_.agree([&] {
    if (const auto found = block.find_unusable())
      throw_input("layer '{}': input {} is not usable at sample {}: expected finite activations below 1e15", layer_,
                  rows_.input_at(first + found->second), rows_.sample_of(found->first));
  });
}

const quant::InputBlock& BlockStream::block(Index index, RankReport& report) {
  const Stopwatch reading;
  const bool ahead = options_.read_ahead && mpi::Environment::allows_threads();
  if (!reading_.valid()) {
    if (window_.is_shared()) ranks_.node.barrier();  // nobody works on what is overwritten now
    start_reading(index, std::launch::deferred);
  }
  comm_.agree([&] { reading_.get(); });
  window_.synchronize();
  if (options_.exchange) exchange_shares(slot(index));
  if (ahead && index + 1 < block_count()) start_reading(index + 1, std::launch::async);
  report.seconds["read"] += reading.seconds();

  const Stopwatch forming;
  quant::InputBlock& block = slot(index);
  StreamReducer reducer(ranks_);
  const Range chunks = ShardPlan(shape_.chunk_count(), 1, ranks_.node.size()).pieces_of(ranks_.node.rank());
  block.measure(chunks, reducer);
  check_usable(block, inputs_of(index).begin);
  block.form_products(chunks, options_.threads, reducer);
  report.seconds["products"] += forming.seconds();
  return block;
}

}  // namespace gpfq::job
