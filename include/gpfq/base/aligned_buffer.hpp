// SPDX-License-Identifier: Apache-2.0
// Owning arrays on 64-byte boundaries: vector code may take different paths on other
// alignments, and equal codes on every rank forbid that.
#pragma once

#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include "gpfq/base/error.hpp"
#include "gpfq/base/types.hpp"

namespace gpfq {

inline constexpr Index alignment_bytes = 64;
/// Floats that fill one aligned line; leading dimensions are rounded up to it.
inline constexpr Index alignment_floats = alignment_bytes / static_cast<Index>(sizeof(float));

/// What a new AlignedBuffer holds.
enum class Content { zeros, anything };

/// A move-only array on a 64-byte boundary.
template <class T>
class AlignedBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  AlignedBuffer() = default;

  /// @param size     number of elements, >= 0
  /// @param content  anything: for those that are written in full before they are read
  /// @throws Error (fault) when the memory is not to be had.
  explicit AlignedBuffer(Index size, Content content = Content::zeros) : size_(size) {
    require(size >= 0, "AlignedBuffer: negative size");
    if (size == 0) return;
    const Index bytes = round_up(size * static_cast<Index>(sizeof(T)), alignment_bytes);
    // Not std::aligned_alloc: before glibc 2.38 it does not take what it was given back, and the heap grows at each
    // window.
    std::size_t room = static_cast<std::size_t>(bytes + alignment_bytes);
    memory_.reset(::operator new(room, std::nothrow));
    if (!memory_) throw_fault("out of memory: {} bytes could not be allocated", bytes);
    void* start = memory_.get();
    data_ = static_cast<T*>(std::align(alignment_bytes, static_cast<std::size_t>(bytes), start, room));
    if (content == Content::zeros) std::memset(static_cast<void*>(data_), 0, static_cast<std::size_t>(bytes));
  }

  AlignedBuffer(AlignedBuffer&& other) noexcept
      : size_(std::exchange(other.size_, 0)),
        memory_(std::move(other.memory_)),
        data_(std::exchange(other.data_, nullptr)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    size_ = std::exchange(other.size_, 0);
    memory_ = std::move(other.memory_);
    data_ = std::exchange(other.data_, nullptr);
    return *this;
  }

  [[nodiscard]] T* data() noexcept { return data_; }
  [[nodiscard]] const T* data() const noexcept { return data_; }
  [[nodiscard]] Index size() const noexcept { return size_; }
  [[nodiscard]] T& operator[](Index i) noexcept { return data_[i]; }
  [[nodiscard]] const T& operator[](Index i) const noexcept { return data_[i]; }
  [[nodiscard]] std::span<T> span() noexcept { return {data_, static_cast<std::size_t>(size_)}; }
  [[nodiscard]] std::span<const T> span() const noexcept { return {data_, static_cast<std::size_t>(size_)}; }

 private:
  struct Free {
    void operator()(void* pointer) const noexcept { ::operator delete(pointer); }
  };
  Index size_ = 0;
  std::unique_ptr<void, Free> memory_;
  T* data_ = nullptr;
};

}  // namespace gpfq
