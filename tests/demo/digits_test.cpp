// SPDX-License-Identifier: Apache-2.0
// The drawn digits: the same bytes wherever they are drawn, balanced, over the whole range, and
// others for another seed.
#include "gpfq/demo/digits.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <span>
#include <string>

#include "gpfq/base/digest.hpp"
#include "gpfq/base/error.hpp"

namespace gpfq::demo {
namespace {

/// One image's bytes.
std::span<const std::uint8_t> image_of(const Digits& digits, Index i) {
  return std::span(digits.images).subspan(static_cast<std::size_t>(i * digit_pixels), digit_pixels);
}

std::string digest_of(std::span<const std::uint8_t> bytes) {
  return sha256(bytes.data(), static_cast<Index>(bytes.size()));
}

TEST(Digits, SameSeedGivesSameBytes) {
  const Digits once = draw_digits(200, 5);
  const Digits again = draw_digits(200, 5);
  EXPECT_EQ(once.images, again.images);
  EXPECT_EQ(once.labels, again.labels);
}

// Pinned: a change here changes the sample and every number that its documentation quotes.
TEST(Digits, BytesAreThoseOfEveryOtherMachine) {
  const Digits digits = draw_digits(1000, 1);
  EXPECT_EQ(digest_of(digits.images), "8ed9243735a379808b501bcd1b452b6d72451d137b79c1629712c816b4fb8cfc");
  EXPECT_EQ(digest_of(digits.labels), "eb478223dd0f1424b394223aaf96830ae10f82d9f68877e3b24c3b393066d6ac");
}

TEST(Digits, AnImageDoesNotDependOnHowManyAreDrawn) {
  const Digits few = draw_digits(37, 5);
  const Digits many = draw_digits(100, 5);
  ASSERT_EQ(few.images.size(), static_cast<std::size_t>(37 * digit_pixels));
  EXPECT_TRUE(std::equal(few.images.begin(), few.images.end(), many.images.begin()));
  EXPECT_TRUE(std::equal(few.labels.begin(), few.labels.end(), many.labels.begin()));
}

TEST(Digits, EveryTenHoldEachDigitOnce) {
  const Digits digits = draw_digits(500, 9);
  for (std::size_t ten = 0; ten < 50; ++ten) {
    const auto first = digits.labels.begin() + static_cast<std::ptrdiff_t>(10 * ten);
    EXPECT_EQ(std::set<int>(first, first + 10), (std::set<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})) << "ten " << ten;
  }
  EXPECT_FALSE(std::equal(digits.labels.begin(), digits.labels.begin() + 10, digits.labels.begin() + 10));
}

TEST(Digits, ValuesUseTheWholeRange) {
  const Digits digits = draw_digits(500, 1);
  EXPECT_EQ(std::set<int>(digits.images.begin(), digits.images.end()).size(), 256U);
}

// A digit is ink on mostly blank paper: 28·28 = 784 pixels, a stroke of 15 by 1.5 has about 22.
TEST(Digits, EveryImageIsInkOnBlankPaper) {
  const Digits digits = draw_digits(500, 3);
  for (Index i = 0; i < digits.count; ++i) {
    const std::span<const std::uint8_t> image = image_of(digits, i);
    EXPECT_GT(std::count(image.begin(), image.end(), 0), digit_pixels / 2) << "image " << i;
    EXPECT_GE(std::count_if(image.begin(), image.end(), [](int value) { return value >= 128; }), 10) << "image " << i;
  }
}

TEST(Digits, SeedsGiveOtherDigits) {
  const Digits one = draw_digits(300, 1);
  const Digits two = draw_digits(300, 2);
  EXPECT_NE(one.labels, two.labels);
  std::set<std::string> images;
  for (Index i = 0; i < 300; ++i) {
    images.insert(digest_of(image_of(one, i)));
    images.insert(digest_of(image_of(two, i)));
  }
  EXPECT_EQ(images.size(), 600U) << "no image may come twice";
}

TEST(Digits, NoneAndFewerThanNone) {
  EXPECT_TRUE(draw_digits(0, 1).images.empty());
  EXPECT_THROW((void)draw_digits(-1, 1), Error);
}

}  // namespace
}  // namespace gpfq::demo
