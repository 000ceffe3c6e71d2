// SPDX-License-Identifier: Apache-2.0
// What ranks tell the coordinator, as Boost.Serialization messages.
#pragma once

#include <boost/serialization/map.hpp>
#include <boost/serialization/string.hpp>
#include <boost/serialization/vector.hpp>

#include <map>
#include <string>
#include <vector>

#include "gpfq/base/types.hpp"

namespace gpfq::job {

/// One finished tile.
struct TileReport {
  Index first_neuron = 0;
  Index neurons = 0;
  Index first_input = 0;
  Index inputs = 0;
  std::string codes_sha256;
  Index saturated = 0;
  Index zeros = 0;
  std::vector<double> gains;  ///< what each sweep took off ‖U‖²_F
  std::vector<float> bias;    ///< of its neurons, where the tile corrected it
  double difference = 0;      ///< its part of LayerError, where the products are to tell it; NaN where they do not
  double reference = 0;

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& first_neuron& neurons& first_input& inputs& codes_sha256& saturated& zeros& gains& bias& difference& reference;
  }
};

/// What one rank did for one layer.
struct RankReport {
  std::vector<TileReport> tiles;
  Index dead_inputs = 0;
  /// Sums of the columns of Xq, then of X where it differs, by problem; the same on all ranks. Not sent.
  std::vector<std::vector<double>> column_sums;
  double smallest_radius = 0;  ///< of this rank's neurons; unused without tiles
  double largest_radius = 0;
  bool radius_fell_back = false;  ///< some median was 0 and the nonzero weights gave it
  bool copies_blocks = false;     ///< the node's shared memory was too small: a copy of the stream per rank
  std::map<std::string, double> seconds;  ///< by phase
  Index bytes_read = 0;
  Index bytes_written = 0;
  Index peak_memory = 0;          ///< resident, highest so far (VmHWM): a page that ranks share counts for each
  Index proportional_memory = 0;  ///< in the path, with its buffers full (Pss): a shared page counts by its share

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& tiles& dead_inputs& smallest_radius& largest_radius& radius_fell_back& copies_blocks& seconds& bytes_read& bytes_written&
        peak_memory& proportional_memory;
  }
};

}  // namespace gpfq::job
