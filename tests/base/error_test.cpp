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
