// SPDX-License-Identifier: Apache-2.0
// SIGUSR1 as a request to stop: a flag, looked at where stopping is possible.
#pragma once

namespace gpfq {

/// From now on SIGUSR1 sets the flag instead of ending the process.
void catch_stop_requests();
[[nodiscard]] bool stop_requested();

}  // namespace gpfq
