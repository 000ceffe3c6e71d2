// SPDX-License-Identifier: Apache-2.0
// Sizes as people write them in configs, and the suggestion for a misspelt key: both are read by
// users when something is wrong, so odd input matters most.
#include "gpfq/base/text.hpp"

#include <gtest/gtest.h>

#include "support/errors.hpp"

namespace gpfq {
namespace {

TEST(ParseBytes, ReadsUnits) {
  EXPECT_EQ(parse_bytes("1048576"), 1048576);
  EXPECT_EQ(parse_bytes("17B"), 17);
  EXPECT_EQ(parse_bytes("1KiB"), 1024);
  EXPECT_EQ(parse_bytes("512 MiB"), Index{512} << 20);
  EXPECT_EQ(parse_bytes("4GiB"), Index{4} << 30);
  EXPECT_EQ(parse_bytes("2TiB"), Index{2} << 40);
  EXPECT_EQ(parse_bytes("3kB"), 3000);
  EXPECT_EQ(parse_bytes("2MB"), 2000000);
  EXPECT_EQ(parse_bytes("1.5GB"), 1500000000);
  EXPECT_EQ(parse_bytes("1TB"), 1000000000000);
  EXPECT_EQ(parse_bytes("4g"), Index{4} << 30);
  EXPECT_EQ(parse_bytes(" 4 gib "), Index{4} << 30);
  EXPECT_EQ(parse_bytes("1e3"), 1000);
}

TEST(ParseBytes, RefusesWhatIsNotASize) {
  for (const char* text : {"", " ", "GiB", "-1GiB", "0", "-0", "4 apples", "4GiBs", "nan", "inf", "infGiB", "1e300",
                           "5e6TiB", "1,5GiB", "4GiB 3", "four"}) {
    EXPECT_TRUE(test::mentions(test::input_error([&] { (void)parse_bytes(text); }), fmt::format("'{}'", text))) << text;
  }
}

TEST(FormatBytes, PicksTheUnit) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1024), "1.0 KiB");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(Index{1} << 20), "1.0 MiB");
  EXPECT_EQ(format_bytes(Index{4} << 30), "4.0 GiB");
  EXPECT_EQ(format_bytes(Index{3} << 40), "3.0 TiB");
  EXPECT_EQ(format_bytes(Index{5} << 50), "5120.0 TiB");  // the largest unit
}

TEST(FormatBytes, IsReadBack) {
  for (const Index bytes : {Index{1}, Index{1023}, Index{1024}, Index{1} << 29, Index{3} << 33})
    EXPECT_EQ(parse_bytes(format_bytes(bytes)), bytes);
}

TEST(NearestWord, SuggestsWhatWasMeant) {
  const std::vector<std::string> keys = {"levels", "threads", "output", "memory_per_rank", "form"};
  EXPECT_EQ(nearest_word("levles", keys), "levels");
  EXPECT_EQ(nearest_word("thread", keys), "threads");
  EXPECT_EQ(nearest_word("memory_per_node", keys), "memory_per_rank");
  EXPECT_EQ(nearest_word("levels", keys), "levels");
  EXPECT_EQ(nearest_word("from", keys), "form");
}

TEST(NearestWord, KeepsSilentWhenNothingIsNear) {
  EXPECT_EQ(nearest_word("quantization", {"levels", "output"}), "");
  EXPECT_EQ(nearest_word("levels", {}), "");
  EXPECT_EQ(nearest_word("", {"levels"}), "");
}

TEST(NearestWord, PrefersTheNearestThenTheFirst) {
  EXPECT_EQ(nearest_word("layer", {"layers_", "layers", "lawyer"}), "layers");
  EXPECT_EQ(nearest_word("lay", {"lax", "law"}), "lax");
}

TEST(Excerpts, EndBetweenCharacters) {
  EXPECT_EQ(excerpt("short", 5), "short");
  EXPECT_EQ(excerpt("longer", 5), "longe...");
  EXPECT_EQ(excerpt("ab\u00e9", 3), "ab...");  // é is two bytes
}

TEST(NearestWord, NamesThatNobodyWroteAreLeftAlone) {
  EXPECT_EQ(nearest_word(std::string(1 << 20, 'a'), {std::string(1 << 20, 'a')}), "");
  EXPECT_EQ(nearest_word("level", {std::string(1 << 20, 'a'), "levels"}), "levels");
}

}  // namespace
}  // namespace gpfq
