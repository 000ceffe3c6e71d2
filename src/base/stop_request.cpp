// SPDX-License-Identifier: Apache-2.0
#include "gpfq/base/stop_request.hpp"

#include <csignal>

namespace gpfq {
namespace {

volatile std::sig_atomic_t requested = 0;

extern "C" void note_request(int /*signal*/) { requested = 1; }

}  // namespace

void catch_stop_requests() {
  struct sigaction action {};
  action.sa_handler = note_request;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGUSR1, &action, nullptr);
}

bool stop_requested() { return requested != 0; }

}  // namespace gpfq
