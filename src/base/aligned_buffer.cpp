// SPDX-License-Identifier: Apache-2.0
#include "gpfq/base/aligned_buffer.hpp"

#include <cstdint>
#include <new>

namespace gpfq {

#ifdef GPFQ_SANITIZED  // without room around the values, so that AddressSanitizer watches from the first byte past them

void* take_aligned(std::size_t bytes) noexcept {
  return ::operator new (bytes, std::align_val_t{alignment_bytes}, std::nothrow);
}

void give_back_aligned(void* memory) noexcept { ::operator delete (memory, std::align_val_t{alignment_bytes}); }

#else  // not std::aligned_alloc: before glibc 2.38 it does not take the room that it was given back, and the heap grows

namespace {

/// What was allocated, just before what is handed out.
void** origin_of(void* memory) noexcept { return static_cast<void**>(memory) - 1; }

}  // namespace

void* take_aligned(std::size_t bytes) noexcept {
  static_assert(__STDCPP_DEFAULT_NEW_ALIGNMENT__ >= sizeof(void*));
  void* const origin = ::operator new(bytes + alignment_bytes, std::nothrow);
  if (origin == nullptr) return nullptr;
  const auto address = reinterpret_cast<std::uintptr_t>(origin);
  const std::uintptr_t offset =
      alignment_bytes - address % alignment_bytes;  // room for a pointer, and no more than was added
  void* const memory = static_cast<char*>(origin) + offset;
  *origin_of(memory) = origin;
  return memory;
}

void give_back_aligned(void* memory) noexcept {
  if (memory != nullptr) ::operator delete(*origin_of(memory));
}

#endif

}  // namespace gpfq
