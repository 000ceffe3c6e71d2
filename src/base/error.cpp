// SPDX-License-Identifier: Apache-2.0
// Messages quote names from files that are not trusted: they must not drive a terminal or fill a log.
#include "gpfq/base/error.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace gpfq {
namespace {

constexpr std::size_t longest_message = 4000;
constexpr std::size_t kept_end = 1000;  // where it says in which file

enum class Newlines { all, before_indented };  ///< that are kept

/// The length of the control character at `at`, 0 where there is none: ASCII's, and U+0080 to U+009F in UTF-8.
std::size_t control_length(const std::string& text, std::size_t at, Newlines kept) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(at) == '\n') return kept == Newlines::all || text.compare(at + 1, 2, "  ") == 0 ? 0 : 1;
  if (byte(at) < ' ' || byte(at) == 0x7F) return 1;
  return byte(at) == 0xC2 && at + 1 < text.size() && byte(at + 1) >= 0x80 && byte(at + 1) < 0xA0 ? 2 : 0;
}

std::string escape(const std::string& text, Newlines kept) {
  std::string shown;
  shown.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = control_length(text, at, kept);
    for (std::size_t i = 0; i < length; ++i) shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[at + i]));
    if (length == 0) shown += text[at];
    at += std::max<std::size_t>(length, 1);
  }
  return shown;
}

bool continues_character(char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; }

}  // namespace

std::string printable(const std::string& text) { return escape(text, Newlines::all); }

std::string presentable(const std::string& message) {
  const std::string text = escape(message, Newlines::before_indented);
  if (text.size() <= longest_message) return text;
  std::size_t head = longest_message - kept_end - 8;
  std::size_t tail = text.size() - kept_end;
  while (head > 0 && continues_character(text[head])) --head;
  while (tail < text.size() && continues_character(text[tail])) ++tail;
  return text.substr(0, head) + " [...] " + text.substr(tail);
}

}  // namespace gpfq
