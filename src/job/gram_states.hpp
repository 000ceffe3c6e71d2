// SPDX-License-Identifier: Apache-2.0
// A layer in the middle of its Gram form, to a state file and back. Sums are integers: they may be taken apart and put
// together in any way.
#pragma once

#include <map>
#include <vector>

#include "job/checkpoint.hpp"
#include "job/gram_rows.hpp"

namespace gpfq::job {

/// Brings sums that an earlier run kept to root's. Collective. @throws Error (input) naming a file that is missing or damaged
void restore_sums(const LayerTask& task, Products& products);

/// Puts the sums on disk, with all rows that any rank has added: root has them all afterwards, the others none. Collective.
/// @param added  runs of chunks (begin, end) that this rank has added since restore_sums() or the last call; emptied
void save_sums(const LayerTask& task, Products& products, std::map<Index, Index>& added, const RankReport& report);

/// Puts on disk what is known of the tiles; sums that are there stay. Collective.
void save_gram_tiles(const LayerTask& task, const PathKnowledge& known, const RankReport& report);

}  // namespace gpfq::job
