// SPDX-License-Identifier: Apache-2.0
// How a convolution is laid out for its kernel: feature maps with their padding in place, split by
// stride, so that what one input gives to neighbouring positions lies contiguous in memory.
#pragma once

#include <vector>

#include "gpfq/net/patches.hpp"

namespace gpfq::net {

/// Taps of a kernel along one axis. Those whose distance leaves the same residue to the stride ("phase") read the same
/// copy of a map, shifted; or each tap has a copy of its own.
struct AxisPhases {
  std::vector<Index> phases;  ///< input of output 0, less the padding: of every copy
  std::vector<Index> slots;   ///< per tap: index into phases
  std::vector<Index> shifts;  ///< per tap: outputs further on in its copy
  Index halo = 0;             ///< the largest shift

  AxisPhases(Index kernel, Index dilation, Index stride, bool one_per_tap);
};

/// The part of a copy's row that comes from the map: the rest lies in the padding.
struct CopiedColumns {
  Index begin = 0;  ///< in the copy
  Index end = 0;
  Index from = 0;  ///< in the map, of `begin`
};

/// The maps of one group, for a strip of output rows: [channel][vertical phase][horizontal phase][row][column], a row
/// being output_width + halo wide. Output (row, column) is then flat position row · row_width + column, input t of
/// flat position p is values[offsets[t] + p], and the row_width − output_width positions between rows are not used.
/// Where those would cost more than copies do, each horizontal tap has a copy of its own and the halo is 0.
/// A convolution without stride and padding is read where it is.
///
/// Everything here is a function of the geometry alone.
class ConvLayout {
 public:
  explicit ConvLayout(const ConvGeometry& geometry);

  [[nodiscard]] const ConvGeometry& geometry() const { return geometry_; }
  /// Output rows of one strip (the last one may have fewer).
  [[nodiscard]] Index strip_rows() const { return strip_rows_; }
  [[nodiscard]] Index row_width() const { return row_width_; }
  /// Flat positions of a strip of `rows` output rows.
  [[nodiscard]] Index flat_positions(Index rows) const { return (rows - 1) * row_width_ + geometry_.output_width; }
  /// Where input t of flat position 0 lies.
  [[nodiscard]] const std::vector<Index>& offsets() const { return offsets_; }
  /// True where values are read from the feature maps themselves.
  [[nodiscard]] bool in_place() const { return in_place_; }
  /// True where flat positions are the output's own, with none between rows.
  [[nodiscard]] bool contiguous() const { return row_width_ == geometry_.output_width; }
  /// Floats of the laid out maps of one group and strip; 0 in place. A panel beyond the last position may be read.
  [[nodiscard]] Index map_floats() const { return map_floats_; }
  /// Columns of one panel of positions that the kernel works on.
  [[nodiscard]] Index panel_width() const { return panel_width_; }
  /// True where panels are copied together first: many filters read them, or what lies behind may not be read.
  [[nodiscard]] bool packs_panels() const { return in_place_ || filters_per_group() >= packing_filters; }
  [[nodiscard]] Index filters_per_group() const { return geometry_.filters / geometry_.groups; }
  /// Floats of sums that wait for their place in the output, per filter: of a strip, or of its last panel.
  [[nodiscard]] Index sum_floats() const {
    return contiguous() ? panel_width_ : round_up(flat_positions(strip_rows_), panel_width_);
  }
  /// Floats that one thread needs for `filters` filters at a time: maps, sums, a panel.
  [[nodiscard]] Index scratch_floats(Index filters) const;

  /// Lays out output rows first_row .. first_row+rows−1 of one group of one sample.
  void fill(const float* group_maps, Index first_row, Index rows, float* out) const;

  /// Inputs of one block of the sum: a panel of them stays in the innermost cache (24 KiB of 32).
  static constexpr Index input_block = 256;

 private:
  /// From this many filters on a packed panel costs less than lines that cross cache lines: 8 kernel calls
  /// use it, copying takes about half of one.
  static constexpr Index packing_filters = 32;

  ConvGeometry geometry_;
  bool in_place_ = false;
  AxisPhases vertical_;
  AxisPhases horizontal_;
  Index row_width_ = 0;
  Index strip_rows_ = 0;
  Index panel_width_ = 0;
  Index channel_stride_ = 0;
  Index map_floats_ = 0;
  std::vector<CopiedColumns> columns_;  ///< per horizontal phase
  std::vector<Index> offsets_;
};

}  // namespace gpfq::net
