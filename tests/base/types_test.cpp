// SPDX-License-Identifier: Apache-2.0
// Shapes come from files: their arithmetic is held to its limits here, beside the aligned buffers
// that are made from them.
#include "gpfq/base/types.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "gpfq/base/aligned_buffer.hpp"
#include "gpfq/base/system.hpp"
#include "support/errors.hpp"
#include "support/sanitizer.hpp"

namespace gpfq {
namespace {

using test::fault;
using test::input_error;
using test::mentions;

TEST(Types, RoundUpAndCeilDivAgree) {
  EXPECT_EQ(round_up(0, 16), 0);
  EXPECT_EQ(round_up(1, 16), 16);
  EXPECT_EQ(round_up(16, 16), 16);
  EXPECT_EQ(round_up(17, 16), 32);
  EXPECT_EQ(round_up(Index{3} << 40, 7), ((Index{3} << 40) + 6) / 7 * 7);
  for (Index value = 0; value < 50; ++value) {
    for (Index step = 1; step < 20; ++step) {
      Index pieces = 0;
      while (pieces * step < value) ++pieces;
      EXPECT_EQ(ceil_div(value, step), pieces) << value << " / " << step;
      EXPECT_EQ(round_up(value, step), pieces * step) << value << " / " << step;
    }
  }
}

TEST(Types, ElementCountMultipliesExtents) {
  EXPECT_EQ(element_count({}), 1);
  EXPECT_EQ(element_count({7}), 7);
  EXPECT_EQ(element_count({2, 3, 5}), 30);
  EXPECT_EQ(element_count({2, 0, 5}), 0);
  EXPECT_EQ(element_count({Index{1} << 31, Index{1} << 31}), Index{1} << 62);  // the limit itself is allowed
}

TEST(Types, ElementCountRefusesOverflow) {
  EXPECT_TRUE(mentions(input_error([] { (void)element_count({(Index{1} << 31) + 1, Index{1} << 31}); }), "2^62"));
  EXPECT_TRUE(mentions(input_error([] { (void)element_count({(Index{1} << 62) + 1}); }), "2^62"));
  // 2^32 · 2^32 = 2^64 is 0 modulo 2^64: an unchecked product would call this empty.
  EXPECT_TRUE(mentions(input_error([] { (void)element_count({Index{1} << 32, Index{1} << 32}); }), "2^62"));
  EXPECT_TRUE(mentions(input_error([] { (void)element_count({3, INT64_MAX}); }), "3x9223372036854775807"));
}

TEST(Types, ElementCountRefusesNegativeExtentsWhereverTheyStand) {
  EXPECT_TRUE(mentions(input_error([] { (void)element_count({-1}); }), "-1"));
  EXPECT_TRUE(mentions(input_error([] { (void)element_count({4, -3}); }), "4x-3"));
  EXPECT_TRUE(mentions(input_error([] { (void)element_count({-2, -3}); }), "-2x-3"));  // the product would be 6
  EXPECT_TRUE(mentions(input_error([] { (void)element_count({0, -3}); }), "0x-3"));    // a zero hides nothing
  EXPECT_TRUE(mentions(input_error([] { (void)element_count({INT64_MIN, 1}); }), "negative"));
}

TEST(Types, ShapesPrint) {
  EXPECT_EQ(to_string(Shape{}), "scalar");
  EXPECT_EQ(to_string(Shape{12}), "12");
  EXPECT_EQ(to_string(Shape{28, 28, 1}), "28x28x1");
}

TEST(AlignedBuffer, StartsAlignedAndZero) {
  for (const Index size : {1, 15, 16, 17, 1000}) {
    AlignedBuffer<float> buffer(size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % alignment_bytes, 0U);
    EXPECT_EQ(buffer.span().size(), static_cast<std::size_t>(size));
    for (Index i = 0; i < size; ++i) EXPECT_EQ(buffer[i], 0.0F);
  }
  const AlignedBuffer<double> empty(0);
  EXPECT_EQ(empty.size(), 0);
  EXPECT_EQ(empty.data(), nullptr);
}

TEST(AlignedBuffer, TakesTheRoomThatOthersGaveBack) {
  if (test::has_address_sanitizer()) GTEST_SKIP() << "freed memory is kept back under AddressSanitizer";
  constexpr Index bytes = Index{3} << 20;
  using Small = std::array<char, 4000>;
  std::vector<std::unique_ptr<Small>> kept;  // what comes to lie behind the buffers
  const auto take_two = [&] {
    const AlignedBuffer<char> one(bytes);
    const AlignedBuffer<char> other(bytes);
    kept.push_back(std::make_unique<Small>());
  };
  { const AlignedBuffer<char> large(6 * bytes); }  // from here on the C library takes smaller ones from its heap
  take_two();
  const Index before = peak_memory_bytes();
  for (int time = 0; time < 200; ++time) take_two();
  EXPECT_LT(peak_memory_bytes() - before, 8 * bytes);
}

TEST(AlignedBuffer, RefusesWhatCannotBe) {
  EXPECT_TRUE(mentions(fault([] { AlignedBuffer<float> buffer(-1); }), "negative"));
  if (test::has_address_sanitizer()) return;  // which ends the program where the system says no
  EXPECT_TRUE(mentions(fault([] { AlignedBuffer<std::uint8_t> buffer(Index{1} << 60); }), "out of memory"));
}

TEST(AlignedBuffer, MovesItsMemory) {
  AlignedBuffer<int> from(20);
  from[19] = 7;
  const int* memory = from.data();
  const AlignedBuffer<int> to = std::move(from);
  EXPECT_EQ(to.data(), memory);
  EXPECT_EQ(to[19], 7);
}

TEST(Shapes, HaveAtMost32Dimensions) {
  EXPECT_EQ(element_count(Shape(32, 1)), 1);
  EXPECT_EQ(test::input_error([] { static_cast<void>(element_count(Shape(33, 1))); }),
            "a shape has 33 dimensions, expected at most 32");
  EXPECT_EQ(to_string(Shape(50000, 1)).size(), 32U + 31U + 4U);
}

}  // namespace
}  // namespace gpfq
