// SPDX-License-Identifier: Apache-2.0
// Objects as bytes, by what Boost.Serialization knows of them: their values one after the other in this machine's form,
// for ranks of one job and for files that carry version and checksum. Boost's own binary archives write information on
// classes and resolve pointers besides; to register every type for that takes a third of the time to compile a user.
#pragma once

#include <boost/archive/basic_archive.hpp>
#include <boost/mpl/bool.hpp>
#include <boost/serialization/collection_size_type.hpp>
#include <boost/serialization/item_version_type.hpp>
#include <boost/serialization/serialization.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "gpfq/base/error.hpp"

namespace gpfq {

/// Numbers that a list keeps one behind the other, so that they go in one piece.
template <class T>
inline constexpr bool is_packed_whole = std::is_arithmetic_v<T> && !std::is_same_v<T, bool>;

/// An archive that appends to a string.
class Packer {
 public:
  using is_saving = boost::mpl::true_;
  using is_loading = boost::mpl::false_;

  template <class T>
  Packer& operator<<(const T& value) {
    put(value);
    return *this;
  }
  template <class T>
  Packer& operator&(const T& value) {
    return *this << value;
  }
  void save_binary(const void* values, std::size_t size) { bytes_.append(static_cast<const char*>(values), size); }
  // NOLINTNEXTLINE(readability-convert-member-functions-to-static): Boost asks an archive
  [[nodiscard]] auto get_library_version() const { return boost::archive::BOOST_ARCHIVE_VERSION(); }
  [[nodiscard]] std::string take() { return std::move(bytes_); }

 private:
  template <class T>
  void put(const T& value) {
    if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>)
      save_binary(&value, sizeof(T));
    else if constexpr (std::is_array_v<T>)
      for (const auto& element : value) put(element);
    else
      boost::serialization::serialize_adl(*this, const_cast<T&>(value), 0U);
  }
  void put(const std::string& text) {
    put(std::uint64_t{text.size()});
    bytes_ += text;
  }
  template <class T>
  void put(const std::vector<T>& list) {
    put(std::uint64_t{list.size()});
    if constexpr (is_packed_whole<T>)
      save_binary(list.data(), list.size() * sizeof(T));
    else
      for (const auto& element : list) put(static_cast<const T&>(element));
  }
  void put(const boost::serialization::collection_size_type& count) { put(static_cast<std::uint64_t>(count)); }
  void put(const boost::serialization::item_version_type& /*version*/) {}

  std::string bytes_;
};

/// An archive that reads what Packer wrote. The bytes need not be trusted: counts are held against what is left of them
/// before memory is taken. @throws Error (input)
class Unpacker {
 public:
  using is_saving = boost::mpl::false_;
  using is_loading = boost::mpl::true_;

  explicit Unpacker(std::string_view bytes) : left_(bytes) {}

  template <class T>
  Unpacker& operator>>(T&& value) {
    get(value);
    return *this;
  }
  template <class T>
  Unpacker& operator&(T&& value) {
    return *this >> value;
  }
  void load_binary(void* values, std::size_t size);
  // NOLINTNEXTLINE(readability-convert-member-functions-to-static): Boost asks an archive
  [[nodiscard]] auto get_library_version() const { return boost::archive::BOOST_ARCHIVE_VERSION(); }
  void reset_object_address(const void* /*now*/, const void* /*before*/) {}  // no pointers to mend

  /// @throws Error (input) where bytes are left
  void expect_end() const;

 private:
  template <class T>
  void get(T& value) {
    if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>)
      load_binary(&value, sizeof(T));
    else if constexpr (std::is_array_v<T>)
      for (auto& element : value) get(element);
    else
      boost::serialization::serialize_adl(*this, const_cast<std::remove_const_t<T>&>(value), 0U);
  }
  void get(bool& flag);
  void get(std::string& text);
  template <class T>
  void get(std::vector<T>& list) {
    list.clear();
    if constexpr (is_packed_whole<T>) {
      list.resize(get_count(sizeof(T), "list"));
      load_binary(list.data(), list.size() * sizeof(T));
    } else {
      // One by one: what it claims takes no memory before it is there.
      for (std::size_t left = get_count(1, "list"); left > 0; --left) {
        T element{};
        get(element);
        list.push_back(std::move(element));
      }
    }
  }
  void get(boost::serialization::collection_size_type& count);
  void get(boost::serialization::item_version_type& /*version*/) {}
  [[nodiscard]] std::size_t get_count(std::size_t element_bytes, const char* what);

  std::string_view left_;
};

template <class T>
[[nodiscard]] std::string pack(const T& object) {
  Packer packer;
  packer << object;
  return packer.take();
}

/// @throws Error (input) where `bytes` are not those of such an object
template <class T>
void unpack(std::string_view bytes, T& object) {
  Unpacker unpacker(bytes);
  unpacker >> object;
  unpacker.expect_end();
}

}  // namespace gpfq
