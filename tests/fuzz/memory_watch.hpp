// SPDX-License-Identifier: Apache-2.0
// The memory that one input takes, counted at malloc itself, in libraries too; sanitizers' address space makes
// limits of the system useless.
#pragma once

#include <cstddef>

namespace gpfq::fuzz {

/// From here on what is allocated counts, less what is freed. Going beyond `limit` calls `beyond`, which must not return.
void watch_memory(std::size_t limit, void (*beyond)(std::size_t bytes));
/// Stops counting. @returns the most that was held since watch_memory, in bytes.
std::size_t stop_watching();

}  // namespace gpfq::fuzz
