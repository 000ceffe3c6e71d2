// SPDX-License-Identifier: Apache-2.0
// One exception type of four kinds: what the user can mend, in what goes in or where it goes (exit code 2), faults of
// the program or the machine (exit code 1), and a stop that was asked for (exit code 75).
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace gpfq {

enum class ErrorKind {
  input,  ///< bad arguments, config, model or data: one message, exit code 2
  output,  ///< an output that cannot be written, a full disk for one: exit code 2, what was done before is kept
  fault,  ///< a broken promise of the program, its libraries or the machine: exit code 1
  stopped  ///< ended on request, with a checkpoint: exit code 75
};

/// Text that quotes names from files, as a terminal can take it: control characters but newlines as \x1b.
[[nodiscard]] std::string printable(const std::string& text);

/// A message that a terminal and a log can take, whatever names from files it quotes: control characters as \x1b,
/// newlines only before an indented line, and the middle left out where it is longer than 4000 bytes.
[[nodiscard]] std::string presentable(const std::string& message);

/// An error whose text says what, found, expected and where, made presentable.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(presentable(message)), kind_(kind) {}
  [[nodiscard]] ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};

/// Throws an input error with a formatted message.
template <class... Args>
[[noreturn]] void throw_input(fmt::format_string<Args...> text, Args&&... args) {
  throw Error(ErrorKind::input, fmt::format(text, std::forward<Args>(args)...));
}

/// Throws an output error with a formatted message.
template <class... Args>
[[noreturn]] void throw_output(fmt::format_string<Args...> text, Args&&... args) {
  throw Error(ErrorKind::output, fmt::format(text, std::forward<Args>(args)...));
}

/// Throws a fault with a formatted message.
template <class... Args>
[[noreturn]] void throw_fault(fmt::format_string<Args...> text, Args&&... args) {
  throw Error(ErrorKind::fault, fmt::format(text, std::forward<Args>(args)...));
}

/// Checks a precondition; a fault with `text` when it does not hold.
inline void require(bool condition, const char* text) {
  if (!condition) throw Error(ErrorKind::fault, text);
}

}  // namespace gpfq
