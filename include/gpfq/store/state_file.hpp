// SPDX-License-Identifier: Apache-2.0
// Arrays of work in progress, by slot, in a parallel HDF5 file: what a checkpoint holds beside its manifest.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "gpfq/mpi/communicator.hpp"
#include "gpfq/store/file_frame.hpp"
#include "gpfq/store/parallel_file.hpp"

namespace gpfq::store {

/// Floats and bytes of a number of slots. Written once, then only read.
class StateFile {
 public:
  struct Extents {
    Index slots = 0;
    Index floats = 0;  ///< per slot
    Index bytes = 0;   ///< per slot
  };

  /// A new file. Collective. @throws Error (input) when it cannot be written
  StateFile(const mpi::Communicator& comm, std::filesystem::path path, const Extents& extents);
  /// One that was written before. Collective. @throws Error (input)
  StateFile(const mpi::Communicator& comm, std::filesystem::path path);

  // Independent; ranges of a slot.
  void write_floats(Index slot, Index first, std::span<const float> values);
  void write_bytes(Index slot, Index first, std::span<const std::uint8_t> values);
  void read_floats(Index slot, Index first, std::span<float> values) const;
  void read_bytes(Index slot, Index first, std::span<std::uint8_t> values) const;

  /// To disk. Collective.
  void close();
  /// After close().
  [[nodiscard]] FileFrame frame() const { return take_frame(path_, holes_); }

 private:
  const mpi::Communicator& comm_;
  std::filesystem::path path_;
  ParallelFile file_;
  std::vector<FileRange> holes_;
};

}  // namespace gpfq::store
