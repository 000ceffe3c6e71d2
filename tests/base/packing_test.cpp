// SPDX-License-Identifier: Apache-2.0
#include "gpfq/base/packing.hpp"

#include <gtest/gtest.h>

#include <array>
#include <boost/serialization/array.hpp>
#include <boost/serialization/map.hpp>
#include <boost/serialization/string.hpp>
#include <boost/serialization/vector.hpp>
#include <limits>
#include <map>
#include <string>
#include <vector>

namespace gpfq {
namespace {

enum class Colour { red, blue };

struct Piece {
  std::int64_t begin = 0;
  std::vector<std::string> names;

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& begin& names;
  }
  bool operator==(const Piece&) const = default;
};

struct Whole {
  bool is_done = false;
  Colour colour = Colour::red;
  float small = 0;
  std::vector<double> values;
  std::vector<std::uint8_t> bytes;
  std::vector<bool> flags;
  std::array<std::string, 2> pair;
  std::map<std::string, std::vector<Piece>> pieces;

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& is_done& colour& small& values& bytes& flags& pair& pieces;
  }
  bool operator==(const Whole&) const = default;
};

Whole example() {
  return {true,
          Colour::blue,
          0x1p-149F,
          {1.5, -0.0, std::numeric_limits<double>::infinity()},
          {1, 255},
          {true, false, true},
          {"", std::string("a\0b", 3)},
          {{"empty", {}}, {"two", {{7, {"x", "yy"}}, {-1, {}}}}}};
}

std::string message_of(const std::string& bytes) {
  Whole whole;
  try {
    unpack(bytes, whole);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    return error.what();
  }
  return "";
}

TEST(Packing, GivesObjectsBack) {
  Whole whole;
  unpack(pack(example()), whole);
  EXPECT_EQ(whole, example());
  unpack(pack(Whole()), whole);  // what was there before is gone
  EXPECT_EQ(whole, Whole());
}

TEST(Packing, RefusesBytesThatEndEarlyOrGoOn) {
  const std::string bytes = pack(example());
  for (std::size_t size = 0; size < bytes.size(); ++size) EXPECT_NE(message_of(bytes.substr(0, size)), "") << size;
  EXPECT_EQ(message_of(bytes.substr(0, 3)), "it ends 2 bytes too early");
  EXPECT_EQ(message_of(bytes + "abc"), "3 bytes follow its last value");
}

TEST(Packing, HoldsCountsAgainstWhatIsLeft) {
  std::string bytes = pack(example());
  bytes[0] = 2;
  EXPECT_EQ(message_of(bytes), "a flag is 2, expected 0 or 1");
  bytes = pack(example());
  const std::size_t count_at = 1 + sizeof(Colour) + sizeof(float);  // of the values
  bytes[count_at + 6] = 1;
  EXPECT_EQ(message_of(bytes).find("a list claims 281474976710659 elements, "), 0U) << message_of(bytes);
  bytes = pack(std::string("text"));
  bytes[0] = 5;
  std::string text;
  EXPECT_THROW(unpack(bytes, text), Error);
}

}  // namespace
}  // namespace gpfq
