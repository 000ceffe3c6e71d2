// SPDX-License-Identifier: Apache-2.0
// Propagation of a group of samples: each node in turn, in place of an input that it is the last to
// read where that is possible.
#include "gpfq/net/propagate.hpp"

#include <algorithm>
#include <span>

#include "gpfq/base/error.hpp"
#include "net/activation.hpp"
#include "net/arithmetic.hpp"
#include "net/channelwise.hpp"
#include "net/conv.hpp"
#include "net/dense.hpp"
#include "net/pooling.hpp"
#include "net/rearrange.hpp"
#include "net/sample_loop.hpp"

namespace gpfq::net {
namespace {

/// Last node that reads each node; the graph's output is read beyond the end.
std::vector<int> last_readers(const Graph& graph) {
  std::vector<int> last(graph.nodes.size(), -1);
  for (int index = 0; index < graph.size(); ++index)
    for (const int from : graph.node(index).inputs) last[static_cast<std::size_t>(from)] = index;
  if (graph.is_network()) last[static_cast<std::size_t>(graph.output)] = graph.size();
  return last;
}

/// Drops the batches that nothing at or after node `next` reads.
void drop_unread(LiveBatches& live, const std::vector<int>& last_reader, int next) {
  std::erase_if(live, [&](const auto& entry) { return last_reader[static_cast<std::size_t>(entry.first)] < next; });
}

/// One node's run: what it reads and what it may overwrite.
class NodeRun {
 public:
  NodeRun(const Graph& graph, int index, LiveBatches& live, const std::vector<int>& last_reader)
      : node_(graph.node(index)), index_(index), live_(live), last_reader_(last_reader) {}

  [[nodiscard]] const Batch& input(std::size_t i = 0) const { return live_.at(node_.inputs[i]); }

  /// The node's first input for work in place: moved where this node is its last reader, copied elsewhere.
  [[nodiscard]] Batch take_input() const {
    const int from = node_.inputs.front();
    if (is_last_reader(from)) return take(from);
    const Batch& source = live_.at(from);
    Batch copy(source.samples, source.shape);
    std::copy_n(source.values.data(), source.values.size(), copy.values.data());
    return copy;
  }

  /// The sum, difference or product of two inputs, in place of an operand of the output's shape that no later node
  /// reads.
  [[nodiscard]] Batch combine_inputs(int threads) const {
    const Shape shapes[2] = {input(0).shape, input(1).shape};
    int reused = -1;
    for (std::size_t i = 0; i < 2; ++i)
      if (is_last_reader(node_.inputs[i]) && shapes[i] == node_.shape) reused = node_.inputs[i];
    Batch output = reused >= 0 ? take(reused) : Batch(input(0).samples, node_.shape);
    const auto operand = [&](std::size_t i) {
      const int from = node_.inputs[i];
      return Operand{from == reused ? output.values.data() : live_.at(from).values.data(), &shapes[i]};
    };
    combine(node_.op, operand(0), operand(1), threads, output);
    return output;
  }

  /// compute(input, output) into a new batch.
  template <class Compute>
  [[nodiscard]] Batch compute(Compute compute_output) const {
    Batch output(input().samples, node_.shape);
    compute_output(input(), output);
    return output;
  }

  [[nodiscard]] Batch concatenate_inputs(int threads) const {
    std::vector<const Batch*> inputs;
    for (const int from : node_.inputs) inputs.push_back(&live_.at(from));
    return compute([&](const Batch&, Batch& output) { concatenate(node_, inputs, threads, output); });
  }

 private:
  [[nodiscard]] bool is_last_reader(int from) const { return last_reader_[static_cast<std::size_t>(from)] == index_; }

  [[nodiscard]] Batch take(int from) const {
    Batch moved = std::move(live_.at(from));
    live_.erase(from);
    return moved;
  }

  const Node& node_;
  int index_;
  LiveBatches& live_;
  const std::vector<int>& last_reader_;
};

/// Operators that change values where they are, or nothing but the shape.
void change_in_place(const Graph& graph, const Node& node, const Parameters& parameters, int threads, Batch& batch) {
  if (node.op == Op::reshape) return;
  if (node.op == Op::batch_norm) return batch_norm(graph, node, parameters, threads, batch);
  const Index size = batch.sample_size();
  for_samples(batch.samples, size, threads, [&](Index begin, Index end) {
    const std::span<float> values(batch.values.data() + begin * size, static_cast<std::size_t>((end - begin) * size));
    if (node.op == Op::softmax)
      apply_softmax(values, node.shape.back());
    else
      apply_elementwise(node, values);
  });
}

Batch run_node(const Graph& graph, int index, const NodeRun& run, const Parameters& parameters,
               const PropagationOptions& options) {
  const Node& node = graph.node(index);
  const int threads = options.threads;
  const auto with = [&](auto function) {
    return run.compute([&](const Batch& input, Batch& output) { function(node, input, threads, output); });
  };
  switch (node.op) {
    case Op::dense:
    case Op::conv: {
      Batch output = linear_output(graph, index, run.input(), parameters, options);
      add_bias(graph, index, output, parameters, threads);
      return output;
    }
    case Op::max_pool:
      return with(max_pool);
    case Op::average_pool:
      return with(average_pool);
    case Op::reduce_mean:
      return with(reduce_mean);
    case Op::pad:
      return with(pad);
    case Op::slice:
      return with(slice);
    case Op::transpose:
      return with(transpose);
    case Op::concat:
      return run.concatenate_inputs(threads);
    case Op::add:
    case Op::sub:
    case Op::mul:
      return run.combine_inputs(threads);
    default: {
      Batch batch = run.take_input();
      change_in_place(graph, node, parameters, threads, batch);
      batch.shape = node.shape;
      return batch;
    }
  }
}

}  // namespace

Batch::Batch(Index sample_count, Shape sample_shape, Content content)
    : samples(sample_count), shape(std::move(sample_shape)), values(sample_count * element_count(shape), content) {}

Batch linear_output(const Graph& graph, int index, const Batch& input, const Parameters& parameters,
                    const PropagationOptions& options) {
  const Node& node = graph.node(index);
  require(is_linear(node.op), "linear_output: not a linear node");
  return node.op == Op::conv ? conv_output(graph, node, input, parameters, options)
                             : dense_output(graph, node, input, parameters, options);
}

void run_nodes(const Graph& graph, int first, int last, LiveBatches& live, const Parameters& parameters,
               const PropagationOptions& options) {
  const std::vector<int> last_reader = last_readers(graph);
  for (int index = first; index < last; ++index) {
    drop_unread(live, last_reader, index);
    if (graph.node(index).op == Op::input) continue;
    live[index] = run_node(graph, index, NodeRun(graph, index, live, last_reader), parameters, options);
  }
  drop_unread(live, last_reader, last);
}

std::vector<int> live_at(const Graph& graph, int cut) {
  const std::vector<int> last_reader = last_readers(graph);
  std::vector<int> live;
  for (int index = 0; index < cut; ++index)
    if (last_reader[static_cast<std::size_t>(index)] >= cut) live.push_back(index);
  return live;
}

Index peak_floats_per_sample(const Graph& graph, int first, int last) {
  Index peak = 0;
  for (int index = first; index < last; ++index) {
    Index floats = element_count(graph.node(index).shape);
    for (const int live : live_at(graph, index)) floats += element_count(graph.node(live).shape);
    peak = std::max(peak, floats);
  }
  Index left = 0;
  for (const int live : live_at(graph, last)) left += element_count(graph.node(live).shape);
  return std::max(peak, left);
}

Index scratch_floats_per_thread(const Graph& graph, int first, int last) {
  Index most = 0;
  for (int index = first; index < last; ++index) {
    const Node& node = graph.node(index);
    if (node.op == Op::conv) most = std::max(most, conv_scratch_floats(graph, node));
    if (node.op == Op::reduce_mean) most = std::max(most, 2 * element_count(node.shape));  // sums are double
  }
  return most;
}

}  // namespace gpfq::net
