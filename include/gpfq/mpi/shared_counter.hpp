// SPDX-License-Identifier: Apache-2.0
// A number that the ranks of one node count up together.
#pragma once

#include <atomic>
#include <cstdint>

#include "gpfq/mpi/shared_window.hpp"

namespace gpfq::mpi {

/// A counter in memory that the ranks of a communicator share, which lies within one node; or, where they are not to
/// share, a counter of every rank's own.
class SharedCounter {
 public:
  /// Collective over `node`, which must outlive the counter. Starts at 0. @param share  as for SharedWindow
  SharedCounter(const Communicator& node, bool share);

  [[nodiscard]] bool is_shared() const { return window_.is_shared(); }
  /// Sets it to 0. Collective; no rank may still be counting.
  void reset();
  /// The value, and from then on the one after `step(value)` steps: in one motion, by any rank at any time.
  template <class Step>
  std::int64_t advance(Step step) {
    const std::atomic_ref<std::int64_t> counter(*value_);
    std::int64_t value = counter.load();
    while (!counter.compare_exchange_weak(value, value + step(value))) {
    }
    return value;
  }

 private:
  const Communicator& node_;
  SharedWindow window_;
  std::int64_t* value_;
};

}  // namespace gpfq::mpi
