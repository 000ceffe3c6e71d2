// SPDX-License-Identifier: Apache-2.0
// A norm is summed by one rank, chunk by chunk, so that it does not depend on how many there are.
#include "job/input_order.hpp"

#include <Eigen/Core>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "gpfq/base/shard_plan.hpp"

namespace gpfq::job {
namespace {

/// ‖Xq_t‖² of some inputs. One that is not a number counts as infinite: the path comes to it first, and names it.
std::vector<float> squared_norms(const LayerPlan& layer, const LayerRows& rows, Range inputs) {
  quant::PathShape shape = layer.path;
  shape.shared = true;  // Xq alone
  shape.first_chunk = 0;
  shape.local_chunks = -1;
  quant::InputBlock block(shape);
  std::vector<float> norms;
  for (Index first = inputs.begin; first < inputs.end; first += shape.block_width) {
    const Index count = std::min(shape.block_width, inputs.end - first);
    block.begin(count);
    rows.fill(first, {0, count}, block);
    for (Index t = 0; t < count; ++t) {
      double norm = 0;
      for (Index chunk = 0; chunk < shape.chunk_count(); ++chunk)
        norm += Eigen::Map<const Eigen::ArrayXf>(block.quantized() + t * shape.stride() + shape.offset(chunk),
                                                 shape.padded_rows(chunk))
                    .cast<double>()
                    .square()
                    .sum();
      norms.push_back(std::isnan(norm) ? HUGE_VALF : static_cast<float>(norm));
    }
  }
  return norms;
}

}  // namespace

std::vector<Index> order_by_norm(const mpi::Communicator& comm, const LayerPlan& layer, const LayerRows& rows) {
  std::vector<float> share;
  comm.agree([&] {
    share = squared_norms(layer, rows, ShardPlan(layer.path.inputs, 1, comm.size()).pieces_of(comm.rank()));
  });
  std::vector<float> norms;
  for (const std::vector<float>& part : comm.gather(share)) norms.insert(norms.end(), part.begin(), part.end());
  comm.broadcast(norms);
  std::vector<Index> order(norms.size());
  std::iota(order.begin(), order.end(), Index{0});
  std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) {
    return norms[static_cast<std::size_t>(a)] > norms[static_cast<std::size_t>(b)];
  });
  return order;
}

}  // namespace gpfq::job
