// SPDX-License-Identifier: Apache-2.0
// Blocks of a layer's inputs on their way past the tiles: read by the ranks of a node together, each
// a share, into memory that they share, the next block while the last one is worked on.
#pragma once

#include <future>
#include <memory>
#include <string>
#include <vector>

#include "gpfq/mpi/shared_window.hpp"
#include "gpfq/quant/input_block.hpp"
#include "job/grid.hpp"
#include "job/layer_rows.hpp"
#include "job/messages.hpp"

namespace gpfq::job {

/// What of a stream depends on the machine and the job, and changes no number.
struct StreamOptions {
  bool exchange = true;     ///< nodes read a share each and exchange them; else each node reads everything
  bool share = true;        ///< one copy per node; else one per rank
  bool read_ahead = true;   ///< two blocks in memory instead of one
  bool sweeps = false;      ///< passes without X will come
  int threads = 1;
};

/// The ranks around this one, for one layer.
class StreamRanks {
 public:
  /// Collective over `comm`. @param ranks_per_node  ranks that share a copy of a block at most; 0: all of a node
  StreamRanks(const mpi::Communicator& comm, const RankGrid& grid, int ranks_per_node);

  mpi::Communicator row;      ///< with the same tiles and other rows of the layer
  mpi::Communicator column;   ///< with the same rows and other tiles
  mpi::Communicator node;     ///< those of the column that share this one's memory
  mpi::Communicator leaders;  ///< the first ranks of the column's nodes; on other ranks of no use
  int nodes = 1;              ///< of the column
  int node_index = 0;
  Index columns_on_node = 1;
};

class BlockStream {
 public:
  /// Collective over the ranks. @param shape  with the column's rows
  BlockStream(const mpi::Communicator& comm, const StreamRanks& ranks, const LayerRows& rows,
              const quant::PathShape& shape, std::string layer, const StreamOptions& options);

  [[nodiscard]] Index block_count() const { return ceil_div(shape_.inputs, shape_.block_width); }
  /// Before the first block of a pass. @param only_quantized  the blocks of this pass hold Xq alone, as if X = Xq
  void begin_pass(bool only_quantized) { only_quantized_ = only_quantized && !shape_.shared; }

  /// Block `index`, with bounds, G and C; valid until the next call. Blocks of a pass are asked for in order up to the
  /// last one, from any one on. Collective.
  /// @throws Error (input) naming layer and row when an activation is not finite or too large.
  const quant::InputBlock& block(Index index, RankReport& report);
  /// Returns when nothing is being read: HDF5 takes one thread at a time.
  void settle() const {
    if (reading_.valid()) reading_.wait();
  }

 private:
  [[nodiscard]] quant::InputBlock& slot(Index index) {
    std::vector<quant::InputBlock>& slots = only_quantized_ ? quantized_slots_ : slots_;
    return slots[static_cast<std::size_t>(index) % slots.size()];
  }
  [[nodiscard]] Range inputs_of(Index index) const;
  [[nodiscard]] Range share_of_node(Index count, int node) const;
  void start_reading(Index index, std::launch when);
  void exchange_shares(quant::InputBlock& block);
  void check_usable(const quant::InputBlock& block, Index first) const;

  const mpi::Communicator& comm_;  ///< all ranks stay in step, so that a failure is everybody's
  const StreamRanks& ranks_;
  const LayerRows& rows_;
  quant::PathShape shape_;
  std::string layer_;
  StreamOptions options_;
  mpi::SharedWindow window_;
  std::vector<quant::InputBlock> slots_;
  std::vector<quant::InputBlock> quantized_slots_;  ///< over the same memory, for passes without X
  bool only_quantized_ = false;
  std::future<void> reading_;
};

}  // namespace gpfq::job
