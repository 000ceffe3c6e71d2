// SPDX-License-Identifier: Apache-2.0
#include "gpfq/base/packing.hpp"

#include <cstring>

namespace gpfq {
namespace {

// No element of a list takes fewer bytes, and none takes so many in memory that a list that claims to fill the rest
// with them would be out of all proportion.
constexpr std::size_t least_element_bytes = 4;

}  // namespace

void Unpacker::load_binary(void* values, std::size_t size) {
  if (size > left_.size()) throw_input("it ends {} bytes too early", size - left_.size());
  if (size > 0) std::memcpy(values, left_.data(), size);
  left_.remove_prefix(size);
}

void Unpacker::expect_end() const {
  if (!left_.empty()) throw_input("{} bytes follow its last value", left_.size());
}

void Unpacker::get(bool& flag) {
  std::uint8_t byte = 0;
  load_binary(&byte, 1);
  if (byte > 1) throw_input("a flag is {}, expected 0 or 1", byte);
  flag = byte == 1;
}

void Unpacker::get(std::string& text) {
  const std::size_t size = get_count(1, "text");
  text.assign(left_.substr(0, size));
  left_.remove_prefix(size);
}

void Unpacker::get(boost::serialization::collection_size_type& count) {
  count = boost::serialization::collection_size_type(get_count(least_element_bytes, "list"));
}

std::size_t Unpacker::get_count(std::size_t element_bytes, const char* what) {
  std::uint64_t count = 0;
  load_binary(&count, sizeof count);
  if (count > left_.size() / element_bytes)
    throw_input("a {} claims {} elements, {} bytes are left", what, count, left_.size());
  return static_cast<std::size_t>(count);
}

}  // namespace gpfq
