// SPDX-License-Identifier: Apache-2.0
// The counter's own cache line, in a window's memory.
#include "gpfq/mpi/shared_counter.hpp"

#include <new>

namespace gpfq::mpi {

static_assert(std::atomic_ref<std::int64_t>::is_always_lock_free, "a lock would be of one process only");

SharedCounter::SharedCounter(const Communicator& node, bool share)
    : node_(node),
      window_(node, alignment_floats, share),
      value_(std::launder(reinterpret_cast<std::int64_t*>(window_.values().data()))) {
  reset();
}

void SharedCounter::reset() {
  if (node_.is_root() || !is_shared()) std::atomic_ref<std::int64_t>(*value_).store(0);
  window_.synchronize();
}

}  // namespace gpfq::mpi
