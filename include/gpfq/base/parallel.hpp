// SPDX-License-Identifier: Apache-2.0
// Independent pieces of work spread over a rank's threads; what a piece computes never depends
// on the thread that computes it.
#pragma once

#include <functional>

#include "gpfq/base/types.hpp"

namespace gpfq {

/// Calls work(i) once for every i in [0, count), on at most `threads` threads; returns when all
/// are done. The first exception is rethrown here. threads = 1 runs in the caller, in order.
void parallel_for(Index count, int threads, const std::function<void(Index)>& work);

/// Every thread that parallel_for() starts from now on calls `hook` before it works: for libraries that keep settings by
/// thread. None by default.
void set_thread_start(void (*hook)());

}  // namespace gpfq
