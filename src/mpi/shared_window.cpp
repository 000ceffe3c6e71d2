// SPDX-License-Identifier: Apache-2.0
// A window whose memory all belongs to the node's first rank; the others ask where it is.
#include "gpfq/mpi/shared_window.hpp"

#include <sys/statvfs.h>

#include <algorithm>
#include <cstdint>
#include <exception>

namespace gpfq::mpi {
namespace {

constexpr const char* shared_memory_folder = "/dev/shm";
// Left to others, MPI's own segments among them.
constexpr Index reserve_bytes = Index{8} << 20;

float* align(void* memory) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  const std::uintptr_t line = alignment_bytes;
  return reinterpret_cast<float*>((address + line - 1) / line * line);
}

}  // namespace

Index SharedWindow::room() {
  struct statvfs status {};
  if (statvfs(shared_memory_folder, &status) != 0) return 0;
  const Index free = static_cast<Index>(status.f_bavail) * static_cast<Index>(status.f_frsize);
  return std::max<Index>(0, free - reserve_bytes);
}

SharedWindow::SharedWindow(const Communicator& node, Index floats, bool share) : node_(node) {
  if (share && node.size() > 1 && floats > 0) {
    allocate_shared(floats);
    return;
  }
  own_ = AlignedBuffer<float>(floats);
  values_ = own_.span();
}

void SharedWindow::allocate_shared(Index floats) {
  const Index bytes = floats * static_cast<Index>(sizeof(float)) + alignment_bytes;
  void* memory = nullptr;
  check(MPI_Win_allocate_shared(node_.is_root() ? bytes : 0, 1, MPI_INFO_NULL, node_.get(), &memory, &window_),
        "MPI_Win_allocate_shared");
  MPI_Aint size = 0;
  int unit = 0;
  check(MPI_Win_set_errhandler(window_, MPI_ERRORS_RETURN), "MPI_Win_set_errhandler");
  check(MPI_Win_shared_query(window_, 0, &size, &unit, &memory), "MPI_Win_shared_query");
  check(MPI_Win_lock_all(MPI_MODE_NOCHECK, window_), "MPI_Win_lock_all");
  values_ = {align(memory), static_cast<std::size_t>(floats)};
  const Range mine = ShardPlan(floats, 1, node_.size()).pieces_of(node_.rank());
  std::fill(values_.begin() + mine.begin, values_.begin() + mine.end, 0.0F);
  synchronize();
}

void SharedWindow::synchronize() const {
  if (!is_shared()) return;
  check(MPI_Win_sync(window_), "MPI_Win_sync");
  node_.barrier();
  check(MPI_Win_sync(window_), "MPI_Win_sync");
}

SharedWindow::~SharedWindow() {
  if (!is_shared() || std::uncaught_exceptions() > 0) return;
  MPI_Win_unlock_all(window_);
  MPI_Win_free(&window_);
}

}  // namespace gpfq::mpi
