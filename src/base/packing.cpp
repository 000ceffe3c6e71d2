// SPDX-License-Identifier: Apache-2.0
#include "gpfq/base/packing.hpp"

#include <cstring>

namespace gpfq {

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
  count = boost::serialization::collection_size_type(get_count(1, "list"));
}

std::size_t Unpacker::get_count(std::size_t element_bytes, const char* what) {
  std::uint64_t count = 0;
  load_binary(&count, sizeof count);
  if (count > left_.size() / element_bytes)
    throw_input("a {} claims {} elements, {} bytes are left", what, count, left_.size());
  return static_cast<std::size_t>(count);
}

}  // namespace gpfq
