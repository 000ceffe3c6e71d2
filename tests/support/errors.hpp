// SPDX-License-Identifier: Apache-2.0
// What every test of an error asks: that one is thrown, of which kind, and that its text names
// the thing that is wrong.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "gpfq/base/error.hpp"

namespace gpfq::test {

/// The message of the Error of this kind that `call` throws; a failed expectation where it throws none or another.
template <class Call>
std::string error_of(ErrorKind kind, Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "not a gpfq::Error: " << error.what();
    return {};
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

template <class Call>
std::string input_error(Call&& call) {
  return error_of(ErrorKind::input, std::forward<Call>(call));
}

template <class Call>
std::string output_error(Call&& call) {
  return error_of(ErrorKind::output, std::forward<Call>(call));
}

template <class Call>
std::string fault(Call&& call) {
  return error_of(ErrorKind::fault, std::forward<Call>(call));
}

/// True when the message contains the part; a failed expectation shows both.
inline testing::AssertionResult mentions(const std::string& message, std::string_view part) {
  if (message.find(part) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "'" << message << "' does not mention '" << part << "'";
}

}  // namespace gpfq::test
