// SPDX-License-Identifier: Apache-2.0
// With AddressSanitizer by its hooks; else malloc is wrapped in the program, which all libraries then use (glibc).
#include "memory_watch.hpp"

#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>

namespace {

std::atomic<bool> is_watched{false};
std::atomic<std::ptrdiff_t> held{0};
std::atomic<std::ptrdiff_t> most{0};
std::ptrdiff_t limit_bytes = 0;
void (*tell_of)(std::size_t) = nullptr;

std::ptrdiff_t bounded(std::size_t bytes) { return static_cast<std::ptrdiff_t>(std::min(bytes, SIZE_MAX / 4)); }

/// What was asked for and refused was not had, and does not come here.
void count(std::size_t bytes) {
  if (!is_watched.load(std::memory_order_relaxed)) return;
  const std::ptrdiff_t now = held += bounded(bytes);
  if (now > most) most = now;
  if (now <= limit_bytes) return;
  is_watched = false;
  tell_of(static_cast<std::size_t>(now));
}

void uncount(std::size_t bytes) {
  if (is_watched.load(std::memory_order_relaxed)) held -= static_cast<std::ptrdiff_t>(bytes);
}

}  // namespace

#ifdef GPFQ_SANITIZED

// Declared here: GCC installs no header of them.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void*, std::size_t),
                                                         void (*)(const volatile void*));
extern "C" std::size_t __sanitizer_get_allocated_size(const volatile void*);

namespace {

[[maybe_unused]] const int installed = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t size) { count(size); },
    [](const volatile void* p) {
      if (p != nullptr && is_watched) uncount(__sanitizer_get_allocated_size(p));
    });

}  // namespace

#else

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);

static void* counted(void* p) {
  if (p != nullptr) count(malloc_usable_size(p));
  return p;
}
void* malloc(std::size_t size) { return counted(__libc_malloc(size)); }
void* calloc(std::size_t number, std::size_t size) { return counted(__libc_calloc(number, size)); }
void* realloc(void* old, std::size_t size) {
  const std::size_t before = old == nullptr ? 0 : malloc_usable_size(old);
  void* p = counted(__libc_realloc(old, size));
  if (p != nullptr || size == 0) uncount(before);
  return p;
}
void free(void* p) {
  if (p != nullptr) uncount(malloc_usable_size(p));
  __libc_free(p);
}
void* memalign(std::size_t alignment, std::size_t size) { return counted(__libc_memalign(alignment, size)); }
void* aligned_alloc(std::size_t alignment, std::size_t size) { return memalign(alignment, size); }
int posix_memalign(void** out, std::size_t alignment, std::size_t size) {
  *out = memalign(alignment, size);
  return *out == nullptr ? ENOMEM : 0;
}
}

#endif

namespace gpfq::fuzz {

void watch_memory(std::size_t limit, void (*beyond)(std::size_t)) {
  limit_bytes = static_cast<std::ptrdiff_t>(limit);
  tell_of = beyond;
  held = 0;
  most = 0;
  is_watched = true;
}

std::size_t stop_watching() {
  is_watched = false;
  return static_cast<std::size_t>(most.load());
}

}  // namespace gpfq::fuzz
