// SPDX-License-Identifier: Apache-2.0
// A model of one very wide dense layer in residual form on up to thousands of ranks: where its time goes, and which
// design of reading and of the block's products carries how far. Pure arithmetic, from a shape and a machine alone.
#pragma once

#include <string>
#include <vector>

#include "gpfq/job/job.hpp"
#include "gpfq/job/plan.hpp"

namespace gpfq::job {

/// Seconds of one layer on one number of ranks, of the slowest rank. Reading that hides behind computing is shown in
/// full; `total` counts what shows.
struct ScalePoint {
  int ranks = 1;
  int nodes = 1;
  RankGrid grid;
  Index waves = 1;
  double path = 0;  ///< products over all rows: P and the update of U, 6·m·N·n flops (4 where X = Xq) over the ranks
  double products = 0;  ///< G and C of every block, 2.5·m·N·b flops (1), by whom the design says
  double kernel = 0;    ///< the recursion inside blocks: not shared over the ranks of a row of the grid
  double sums = 0;      ///< of P, G and C over ranks
  double reading = 0;   ///< blocks from the file system
  double exchange = 0;  ///< blocks between nodes
  double weights = 0;   ///< weights in, before the path and for their median, and to scratch
  double output = 0;    ///< codes and both networks' outputs
  double root = 0;      ///< what root does alone: the digest of all codes
  double total = 0;
  double efficiency = 0;  ///< time of the path's products alone, at the rate of large ones, over `total`
  std::string limit;      ///< the largest loss
};

/// Time of the layer on `ranks` ranks. @param layer  of a plan, residual form
[[nodiscard]] ScalePoint predict_scale(const LayerPlan& layer, const ScaleMachine& machine, const ScaleDesign& design,
                                       int ranks);

/// GB that a node must have for a block and a tile of each of its ranks.
[[nodiscard]] double node_memory_needed(const LayerPlan& layer, const ScaleMachine& machine, int ranks);

/// Seconds of an all-reduce of `bytes` by `ranks` ranks, `per_node` of a node: the better of doubling (every step sends
/// all) and of reduce-scatter with allgather (2·(p−1)/p of the bytes), inside nodes first. @param at_once  such sums
/// that run on a node at a time
[[nodiscard]] double allreduce_seconds(double bytes, int ranks, int per_node, int at_once, const ScaleMachine& machine);
/// Seconds to give every node what each of `nodes` holds a share of, `bytes` in all (ring: every node takes in the
/// rest).
[[nodiscard]] double allgather_seconds(double bytes, int nodes, const ScaleMachine& machine);

/// The plan of one dense layer by its shape. @throws Error (input) where an extent is not positive.
[[nodiscard]] LayerPlan plan_of_shape(const ScaleShape& shape);

}  // namespace gpfq::job
