// SPDX-License-Identifier: Apache-2.0
// A loop over threads that live for one call: pieces are whole tiles, so starting a thread is
// small beside what it does.
#include "gpfq/base/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace gpfq {
namespace {

std::atomic<void (*)()> thread_start{nullptr};

}  // namespace

void set_thread_start(void (*hook)()) { thread_start = hook; }

void parallel_for(Index count, int threads, const std::function<void(Index)>& work) {
  const Index workers = std::min<Index>(count, threads);
  if (workers <= 1) {
    for (Index i = 0; i < count; ++i) work(i);
    return;
  }
  std::atomic<Index> next{0};
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto run = [&] {
    try {
      for (Index i = next++; i < count; i = next++) work(i);
    } catch (...) {
      const std::lock_guard lock(failure_mutex);
      if (!failure) failure = std::current_exception();
      next = count;
    }
  };
  {
    std::vector<std::jthread> crew;
    const auto start_and_run = [&] {
      if (void (*const hook)() = thread_start) hook();
      run();
    };
    for (Index w = 1; w < workers; ++w) crew.emplace_back(start_and_run);
    run();
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace gpfq
