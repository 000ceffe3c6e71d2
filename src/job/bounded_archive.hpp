// SPDX-License-Identifier: Apache-2.0
// Boost's binary archive for bytes that are not trusted: counts are held against what is left before memory is taken.
#pragma once

#include <algorithm>
#include <boost/archive/binary_iarchive_impl.hpp>
#include <boost/archive/detail/register_archive.hpp>
#include <boost/serialization/array_wrapper.hpp>
#include <boost/serialization/collection_size_type.hpp>
#include <sstream>
#include <string>

#include "gpfq/base/error.hpp"
#include "gpfq/base/types.hpp"

namespace gpfq::job {

/// Reads what boost::archive::binary_oarchive wrote without a header.
/// @throws Error (input) where a list or text is longer than the rest, or a flag neither false nor true.
class BoundedArchive : public boost::archive::binary_iarchive_impl<BoundedArchive, char, std::char_traits<char>> {
  using Base = boost::archive::binary_iarchive_impl<BoundedArchive, char, std::char_traits<char>>;

 public:
  explicit BoundedArchive(std::stringbuf& bytes) : Base(bytes, boost::archive::no_header), bytes_(bytes) {}

  template <class T>
  void load_override(T& value) {
    Base::load_override(value);
  }
  void load_override(boost::serialization::collection_size_type& count) {
    constexpr Index least_bytes = 4;  // no element of a list takes fewer
    std::size_t number = 0;
    this->load(number);
    expect_left(number, least_bytes, "list");
    count = boost::serialization::collection_size_type(number);
  }
  void load_override(std::string& text) {
    std::size_t size = 0;
    this->load(size);
    expect_left(size, 1, "text");
    text.resize(size);
    if (size > 0) this->load_binary(text.data(), size);
  }
  void load_override(bool& flag) {
    unsigned char byte = 0;
    this->load(byte);
    if (byte > 1) throw_input("a flag is {}, expected 0 or 1", byte);
    flag = byte == 1;
  }

 private:
  void expect_left(std::size_t count, Index element_bytes, const char* what) {
    const auto left = static_cast<std::size_t>(std::max<std::streamsize>(0, bytes_.in_avail()));
    if (count > left / static_cast<std::size_t>(element_bytes))
      throw_input("a {} claims {} elements, {} bytes are left", what, count, left);
  }

  std::stringbuf& bytes_;
};

}  // namespace gpfq::job

BOOST_SERIALIZATION_REGISTER_ARCHIVE(gpfq::job::BoundedArchive)
BOOST_SERIALIZATION_USE_ARRAY_OPTIMIZATION(gpfq::job::BoundedArchive)
