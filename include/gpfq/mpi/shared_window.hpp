// SPDX-License-Identifier: Apache-2.0
// Memory that the ranks of one node share (MPI-3), so that a node holds one copy of what all read.
#pragma once

#include <span>

#include "gpfq/base/aligned_buffer.hpp"
#include "gpfq/mpi/communicator.hpp"

namespace gpfq::mpi {

/// Floats shared by the ranks of a communicator that lies within one node; or, where they are not to be shared, floats
/// of every rank's own.
class SharedWindow {
 public:
  /// Collective over `node`, which must outlive the window.
  /// @param share  the same on all ranks. Memory beyond room() would kill the process that touches it.
  SharedWindow(const Communicator& node, Index floats, bool share);
  /// Collective, unless an exception is unwinding: then the memory is left to the end of the process.
  ~SharedWindow();
  SharedWindow(const SharedWindow&) = delete;
  SharedWindow& operator=(const SharedWindow&) = delete;

  /// On a 64-byte boundary; zero at first.
  [[nodiscard]] std::span<float> values() const { return values_; }
  /// False where every rank has a copy of its own, which it must fill by itself.
  [[nodiscard]] bool is_shared() const { return window_ != MPI_WIN_NULL; }
  /// Makes what the ranks have written visible to all of them. Collective.
  void synchronize() const;

  /// Bytes that are free for windows on this node: what /dev/shm has, less a reserve.
  [[nodiscard]] static Index room();

 private:
  void allocate_shared(Index floats);

  const Communicator& node_;
  MPI_Win window_ = MPI_WIN_NULL;
  AlignedBuffer<float> own_;
  std::span<float> values_;
};

}  // namespace gpfq::mpi
