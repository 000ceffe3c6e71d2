// SPDX-License-Identifier: Apache-2.0
// The changes one by one. Each takes what it needs from the generator and may do nothing where nothing fits.
#include "mutate.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <limits>
#include <random>
#include <string_view>

namespace gpfq::fuzz {
namespace {

constexpr std::array<std::string_view, 30> numbers = {
    "0", "-1", "1", "2", "3", "255", "256", "257", "65536", "100001", "2147483647", "2147483648", "4294967295",
    "4294967296", "1073741824", "1099511627776", "4611686018427387904", "9223372036854775807", "9223372036854775808",
    "18446744073709551615", "18446744073709551616", "-9223372036854775808", "0.5", "-0.0", "1e-320", "1e38", "1e308",
    "1e999", "null", "true"};

constexpr std::array<std::string_view, 22> tokens = {
    "{}",   "[]",     "\"\"",        "null",  "true",      "false",        "[[]]", "{\"a\": {}}",
    "\"..\"", "\"../w\"", "\"/dev/zero\"", "\"a\\u0000b\"", "\"\\u001b[31m\"", "\"\\ud800\"", ",",    ":",
    "\"fc1\"", "\"conv\"", "\"same\"", "[0]",  "[1, 1, 1]", "\"(a*)*b\""};

class Mutator {
 public:
  Mutator(const std::vector<std::string>& seeds, std::uint64_t seed) : seeds_(seeds), engine_(seed) {
    bytes_ = seeds_[below(seeds_.size())];
  }

  std::string run(Kind kind) {
    const std::size_t changes = 1 + below(2) * below(8);
    for (std::size_t i = 0; i < changes; ++i) change(kind);
    if (bytes_.size() > most_input_bytes) bytes_.resize(most_input_bytes);
    return std::move(bytes_);
  }

 private:
  /// Uniform in 0 .. count−1; 0 for a count of 0.
  std::size_t below(std::size_t count) { return count == 0 ? 0 : static_cast<std::size_t>(engine_() % count); }
  std::size_t place() { return below(bytes_.size()); }
  std::size_t length(std::size_t from) {
    const std::size_t most = bytes_.size() - from;
    return below(4) == 0 ? below(most + 1) : std::min(most, 1 + below(32));
  }

  void change(Kind kind) {
    if (bytes_.empty()) return insert(tokens[below(tokens.size())]);
    const std::size_t draw = below(16);
    if (kind == Kind::text) return draw < 10 ? change_text(draw) : change_bytes(draw);
    if (kind == Kind::hdf5) return draw < 4 ? change_number() : (draw < 15 ? change_in_place(draw) : change_bytes(below(16)));
    return draw < 3 ? change_varint() : (draw < 6 ? change_text(below(10)) : change_bytes(draw));
  }

  void change_text(std::size_t draw) {
    if (draw < 4) return change_number();
    if (draw < 7) return change_token();
    if (draw == 7) return insert(tokens[below(tokens.size())]);
    if (draw == 8) return nest();
    return change_structure();
  }

  /// Bytes of the same count: everything behind stays where it is.
  void change_in_place(std::size_t draw) {
    if (draw % 3 == 0) return set_integer();
    if (draw % 3 == 1) return set_bytes();
    bytes_[place()] ^= static_cast<char>(1U << below(8));
  }

  void change_bytes(std::size_t draw) {
    switch (draw % 8) {
      case 0:
        return bytes_.resize(place());
      case 1: {
        const std::size_t from = place();
        bytes_.erase(from, length(from));
        return;
      }
      case 2: {
        const std::size_t from = place();
        const std::string part = bytes_.substr(from, length(from));
        const std::size_t times = below(8) == 0 ? 1 + below(most_input_bytes / (part.size() + 1)) : 1;
        std::string all;
        for (std::size_t i = 0; i < times && all.size() < most_input_bytes; ++i) all += part;
        bytes_.insert(below(2) == 0 ? from : place(), all);
        return;
      }
      case 3: {
        const std::string& other = seeds_[below(seeds_.size())];
        const std::size_t from = below(other.size());
        const std::size_t count = std::min(other.size() - from, 1 + below(64));
        const std::size_t to = place();
        bytes_.replace(to, below(2) == 0 ? std::min(count, bytes_.size() - to) : 0, other, from, count);
        return;
      }
      default:
        return change_in_place(below(3));
    }
  }

  void set_bytes() {
    constexpr std::array<unsigned char, 8> values = {0, 1, 0x7F, 0x80, 0xFF, '\n', '"', '/'};
    const std::size_t from = place();
    const std::size_t count = std::min(bytes_.size() - from, 1 + below(4));
    for (std::size_t i = 0; i < count; ++i)
      bytes_[from + i] = static_cast<char>(below(2) == 0 ? values[below(values.size())] : below(256));
  }

  /// A little-endian integer of 1, 2, 4 or 8 bytes at or near one of its limits.
  void set_integer() {
    const std::size_t width = std::size_t{1} << below(4);
    if (bytes_.size() < width) return;
    std::size_t at = below(bytes_.size() - width + 1);
    if (below(2) == 0) at -= at % width;
    std::uint64_t value = 0;
    switch (below(5)) {
      case 0:
        value = std::numeric_limits<std::uint64_t>::max() - below(3);
        break;
      case 1:
        value = std::uint64_t{1} << below(8 * width);
        break;
      case 2:
        value = (std::uint64_t{1} << below(8 * width)) - 1;
        break;
      case 3:
        value = bytes_.size() + below(17) - 8;
        break;
      default:
        value = below(300);
    }
    for (std::size_t i = 0; i < width; ++i) bytes_[at + i] = static_cast<char>(value >> (8 * i));
  }

  /// A protobuf varint: of up to ten bytes, or without an end, in the place of another.
  void change_varint() {
    const std::size_t at = place();
    std::size_t end = at;
    while (end < bytes_.size() && (static_cast<unsigned char>(bytes_[end]) & 0x80U) != 0) ++end;
    end = std::min(end + 1, bytes_.size());
    std::uint64_t value = below(2) == 0 ? std::uint64_t{1} << below(64) : static_cast<std::uint64_t>(engine_()) >> below(64);
    if (below(3) == 0) value = ~std::uint64_t{0} - below(4);
    std::string text;
    while (value >= 0x80) {
      text += static_cast<char>((value & 0x7FU) | 0x80U);
      value >>= 7U;
    }
    text += static_cast<char>(value);
    if (below(8) == 0) text = std::string(11, '\xff');
    bytes_.replace(at, end - at, text);
  }

  /// The next run of digits from a place on becomes another number; in HDF5 of as many characters.
  void change_number() {
    const auto is_digit = [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; };
    const auto from = std::find_if(bytes_.begin() + static_cast<std::ptrdiff_t>(place()), bytes_.end(), is_digit);
    if (from == bytes_.end()) return;
    const auto to = std::find_if_not(from, bytes_.end(), is_digit);
    bytes_.replace(from, to, numbers[below(numbers.size())]);
  }

  /// Start and size of a token of JSON at or behind a place: a text, a word or number, or a sign.
  std::pair<std::size_t, std::size_t> token() {
    std::size_t at = bytes_.find_first_not_of(" \n\r\t", place());
    if (at == std::string::npos) return {0, 0};
    if (bytes_[at] == '"') {
      std::size_t end = at + 1;
      while (end < bytes_.size() && bytes_[end] != '"') end += bytes_[end] == '\\' ? 2 : 1;
      return {at, std::min(end + 1, bytes_.size()) - at};
    }
    std::size_t end = at;
    while (end < bytes_.size() && (std::isalnum(static_cast<unsigned char>(bytes_[end])) != 0 || bytes_[end] == '.' ||
                                   bytes_[end] == '-' || bytes_[end] == '_'))
      ++end;
    return {at, std::max<std::size_t>(end - at, 1)};
  }

  /// A token becomes one of the list, or changes places with another.
  void change_token() {
    auto [at, size] = token();
    if (size == 0) return;
    if (below(2) == 0) {
      bytes_.replace(at, size, tokens[below(tokens.size())]);
      return;
    }
    auto [other, other_size] = token();
    if (other < at) {
      std::swap(at, other);
      std::swap(size, other_size);
    }
    if (other_size == 0 || at + size > other) return;
    const std::string first = bytes_.substr(at, size);
    const std::string second = bytes_.substr(other, other_size);
    bytes_.replace(other, other_size, first);
    bytes_.replace(at, size, second);
  }

  void insert(std::string_view text) { bytes_.insert(bytes_.empty() ? 0 : place(), text); }

  /// Many brackets, or one text that is very long.
  void nest() {
    constexpr std::array<std::string_view, 6> parts = {"[", "{\"a\":", "(", "a", "\"x\",", "[],"};
    const std::string_view part = parts[below(parts.size())];
    const std::size_t count = below(4) == 0 ? below(200000) : below(200);
    std::string all;
    while (all.size() < count * part.size() && all.size() < most_input_bytes) all += part;
    auto [at, size] = token();
    bytes_.insert(std::min(bytes_.size(), at + (below(2) == 0 && size > 0 ? 1 : 0)), all);
  }

  /// A bracketed part is removed, doubled or put over another.
  void change_structure() {
    const auto part = [&]() -> std::pair<std::size_t, std::size_t> {
      const std::size_t at = bytes_.find_first_of("[{", place());
      if (at == std::string::npos) return {0, 0};
      int depth = 0;
      for (std::size_t end = at; end < bytes_.size(); ++end) {
        if (bytes_[end] == '[' || bytes_[end] == '{') ++depth;
        if ((bytes_[end] == ']' || bytes_[end] == '}') && --depth == 0) return {at, end + 1 - at};
      }
      return {0, 0};
    };
    const auto [at, size] = part();
    if (size == 0) return;
    const std::string text = bytes_.substr(at, size);
    switch (below(3)) {
      case 0:
        bytes_.erase(at, size);
        return;
      case 1:
        bytes_.insert(at, text + ", ");
        return;
      default: {
        const auto [other, other_size] = part();
        bytes_.replace(other, other_size, text);
      }
    }
  }

  const std::vector<std::string>& seeds_;
  std::mt19937_64 engine_;
  std::string bytes_;
};

}  // namespace

std::string mutated(const std::vector<std::string>& seeds, Kind kind, std::uint64_t seed) {
  return Mutator(seeds, seed).run(kind);
}

}  // namespace gpfq::fuzz
