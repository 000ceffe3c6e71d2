// SPDX-License-Identifier: Apache-2.0
// Owning arrays on 64-byte boundaries: vector code may take different paths on other
// alignments, and equal codes on every rank forbid that.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <type_traits>

#include "gpfq/base/error.hpp"
#include "gpfq/base/types.hpp"

namespace gpfq {

inline constexpr Index alignment_bytes = 64;
/// Floats that fill one aligned line; leading dimensions are rounded up to it.
inline constexpr Index alignment_floats = alignment_bytes / static_cast<Index>(sizeof(float));

/// Memory on a 64-byte boundary, for give_back_aligned(); null when it is not to be had.
[[nodiscard]] void* take_aligned(std::size_t bytes) noexcept;
void give_back_aligned(void* memory) noexcept;

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
    data_.reset(static_cast<T*>(take_aligned(static_cast<std::size_t>(bytes))));
    if (!data_) throw_fault("out of memory: {} bytes could not be allocated", bytes);
    if (content == Content::zeros) std::memset(static_cast<void*>(data_.get()), 0, static_cast<std::size_t>(bytes));
  }

  [[nodiscard]] T* data() noexcept { return data_.get(); }
  [[nodiscard]] const T* data() const noexcept { return data_.get(); }
  [[nodiscard]] Index size() const noexcept { return size_; }
  [[nodiscard]] T& operator[](Index i) noexcept { return data_.get()[i]; }
  [[nodiscard]] const T& operator[](Index i) const noexcept { return data_.get()[i]; }
  [[nodiscard]] std::span<T> span() noexcept { return {data_.get(), static_cast<std::size_t>(size_)}; }
  [[nodiscard]] std::span<const T> span() const noexcept { return {data_.get(), static_cast<std::size_t>(size_)}; }

 private:
  struct Free {
    void operator()(T* pointer) const noexcept { give_back_aligned(pointer); }
  };
  Index size_ = 0;
  std::unique_ptr<T, Free> data_;
};

}  // namespace gpfq
