// SPDX-License-Identifier: Apache-2.0
// NumPy's .npy: a magic string, a version, and a Python dictionary that says type, order and shape.
// Format: numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#include <fmt/format.h>

#include <array>
#include <optional>

#include "formats/tensor_readers.hpp"
#include "gpfq/base/error.hpp"

namespace gpfq::formats {
namespace {

constexpr Index longest_header = 65536;  // NumPy itself reads 10,000 bytes of what it does not trust

/// What the dictionary says.
struct NpyHeader {
  std::string type;  ///< "<f4"
  bool is_fortran = false;
  Shape shape;
};

/// Reads the few Python literals that the header is made of.
class HeaderReader {
 public:
  HeaderReader(std::string text, std::string where) : text_(std::move(text)), where_(std::move(where)) {}

  NpyHeader read() {
    for (at_ = 0; at_ < text_.size(); ++at_)  // what is read may stand in messages
      if (text_[at_] != '\n' && (text_[at_] < ' ' || text_[at_] > '~')) fail("a byte that is not ASCII text");
    at_ = 0;
    NpyHeader header;
    expect('{');
    std::array<bool, 3> seen{};
    while (!take('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr") {
        seen[0] = true;
        header.type = quoted();
      } else if (key == "fortran_order") {
        seen[1] = true;
        header.is_fortran = boolean();
      } else if (key == "shape") {
        seen[2] = true;
        header.shape = tuple();
      } else {
        fail(fmt::format("the key '{}'", key));
      }
      if (!take(',') && (skip_space(), peek() != '}')) fail("no comma");
    }
    if (!seen[0] || !seen[1] || !seen[2]) fail("fewer than the keys descr, fortran_order and shape");
    return header;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw_input("{}: its header holds {} at byte {}; expected the dictionary of a plain array", where_, what, at_);
  }
  [[nodiscard]] char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip_space() {
    while (peek() == ' ' || peek() == '\n') ++at_;
  }
  bool take(char c) {
    skip_space();
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!take(c)) fail(fmt::format("something else than '{}'", c));
  }
  std::string quoted() {
    skip_space();
    const char quote = peek();
    if (quote != '\'' && quote != '"') fail("no text in quotes, as of a structured type");
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string::npos) fail("text without an end");
    const std::string word = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return word;
  }
  bool boolean() {
    skip_space();
    for (const bool value : {true, false}) {
      const std::string word = value ? "True" : "False";
      if (text_.compare(at_, word.size(), word) != 0) continue;
      at_ += word.size();
      return value;
    }
    fail("neither True nor False");
  }
  Shape tuple() {
    constexpr Index largest = Index{1} << 61;
    Shape shape;
    expect('(');
    while (!take(')')) {
      Index value = 0;
      skip_space();
      if (peek() < '0' || peek() > '9') fail("an extent that is no number");
      for (; peek() >= '0' && peek() <= '9'; ++at_) {
        if (value > largest / 10) fail("an extent beyond 2^61");
        value = 10 * value + (peek() - '0');
      }
      shape.push_back(value);
      if (!take(',') && (skip_space(), peek() != ')')) fail("no comma");
    }
    return shape;
  }

  std::string text_;
  std::string where_;
  std::size_t at_ = 0;
};

NumberFormat format_of(const NpyHeader& header, bool is_bfloat16, const std::string& where) {
  const std::string& type = header.type;
  if (is_bfloat16) {
    if (type == "|V2" || type == "<V2" || type == "<u2" || type == "<i2") return NumberFormat::bfloat16;
    throw_input("{} holds numbers of type '{}'; \"dtype\": \"bfloat16\" expects '|V2', '<u2' or '<i2'", where, type);
  }
  if (type == "<f2") return NumberFormat::float16;
  if (type == "<f4") return NumberFormat::float32;
  if (type == "<f8") return NumberFormat::float64;
  if (type == ">f2" || type == ">f4" || type == ">f8")
    throw_input("{} is big-endian ('{}'); expected little-endian: array.astype('<{}')", where, type, type.substr(1));
  throw_input("{} holds numbers of type '{}'; expected '<f2', '<f4' or '<f8', or bfloat16 and a \"dtype\" that says so",
              where, type);
}

}  // namespace

std::unique_ptr<TensorFile> open_npy(const TensorLocation& location) {
  constexpr Index magic_bytes = 6;
  const std::string where = location.file.string();
  if (!location.tensor.empty())
    throw_input("{} is a .npy file, which holds one tensor without a name; the config asks for '{}'", where,
                location.tensor);
  auto file = std::make_unique<ByteFile>(location.file);
  std::array<unsigned char, 12> start{};
  const Index available = std::min<Index>(file->size(), static_cast<Index>(start.size()));
  file->read(0, available, reinterpret_cast<char*>(start.data()));
  const int version = start[magic_bytes];
  if (available < static_cast<Index>(start.size()) || version < 1 || version > 3)
    throw_input("{} is no .npy file of version 1 to 3 ({} bytes, version {})", where, file->size(), version);
  const Index length_bytes = version == 1 ? 2 : 4;
  Index length = 0;
  for (Index i = length_bytes; i-- > 0;) length = 256 * length + start[static_cast<std::size_t>(magic_bytes + 2 + i)];
  const Index header_begin = magic_bytes + 2 + length_bytes;
  if (length > longest_header || length > file->size() - header_begin)
    throw_input("{} claims a header of {} bytes; the file has {}, and headers are at most {}", where, length,
                file->size(), longest_header);
  std::string text(static_cast<std::size_t>(length), '\0');
  file->read(header_begin, length, text.data());
  NpyHeader header = HeaderReader(std::move(text), where).read();
  if (header.is_fortran) throw_input("{} is in Fortran order; expected C order: numpy.ascontiguousarray(array)", where);
  const NumberFormat format = format_of(header, location.is_bfloat16, where);
  const Index end = file->size();
  return std::make_unique<PackedTensor>(std::move(file), format, std::move(header.shape), header_begin + length, end,
                                        where);
}

}  // namespace gpfq::formats
