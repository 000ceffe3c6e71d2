// SPDX-License-Identifier: Apache-2.0
// The kind of an error decides the exit code: what the user can mend must never look like a
// fault of the program, nor the other way round.
#include "gpfq/base/error.hpp"

#include <gtest/gtest.h>

#include "support/errors.hpp"

namespace gpfq {
namespace {

TEST(ErrorKinds, CarryTheirFormattedText) {
  EXPECT_EQ(test::input_error([] { throw_input("{} has {} samples", "store", 3); }), "store has 3 samples");
  EXPECT_EQ(test::fault([] { throw_fault("rank {}", 7); }), "rank 7");
}

TEST(Messages, ShowControlCharactersAndStayShort) {
  const auto message = [](const std::string& name) {
    return test::input_error([&] { throw_input("node '{}'\n  in f", name); });
  };
  EXPECT_EQ(message("a\x1b[2Jb\rc\x7f"), "node 'a\\x1b[2Jb\\x0dc\\x7f'\n  in f");
  EXPECT_EQ(message("a\nb"), "node 'a\\x0ab'\n  in f");  // only an indented line goes on
  EXPECT_EQ(message("\xc2\x9b"
                    "1m \xc3\xa9"),
            "node '\\xc2\\x9b1m \xc3\xa9'\n  in f");
  EXPECT_EQ(message(std::string("a\0b", 3)), "node 'a\\x00b'\n  in f");
  const std::string cut = message(std::string(100000, 'n'));
  EXPECT_LE(cut.size(), 4000U);
  EXPECT_TRUE(cut.starts_with("node 'nnn"));
  EXPECT_TRUE(cut.ends_with("nnn'\n  in f"));
  EXPECT_NE(cut.find("n [...] n"), std::string::npos);
  EXPECT_EQ(presentable(cut), cut);  // messages are quoted in messages
}

TEST(Messages, TablesKeepTheirLines) {
  const std::string table = "name\n" + std::string(5000, 'n') + "\na\nb\n";
  EXPECT_EQ(printable(table), table);
  EXPECT_EQ(printable("a\x1b[2J\n"), "a\\x1b[2J\n");
}

TEST(ErrorKinds, AreStandardExceptions) {
  EXPECT_THROW(throw_input("text"), std::runtime_error);
  EXPECT_THROW(throw_fault("text"), std::runtime_error);
}

TEST(ErrorKinds, RequireIsAFaultOnlyWhenBroken) {
  EXPECT_NO_THROW(require(true, "holds"));
  EXPECT_EQ(test::fault([] { require(false, "broken {}"); }), "broken {}");  // taken as it stands
}

}  // namespace
}  // namespace gpfq
