// SPDX-License-Identifier: Apache-2.0
// Whether AddressSanitizer is linked in: seen by the program itself, for tests are not compiled with it.
#pragma once

extern "C" __attribute__((weak)) void __asan_init();

namespace gpfq::test {

[[nodiscard]] inline bool has_address_sanitizer() { return &__asan_init != nullptr; }

}  // namespace gpfq::test
