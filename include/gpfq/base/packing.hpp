// SPDX-License-Identifier: Apache-2.0
// Objects as bytes, by what Boost.Serialization knows of them: their values one after the other in this machine's form,
// for ranks of one job and for files that carry version and checksum. Boost's own binary archives write information on
// classes and resolve pointers besides; to register every type for that takes a third of the time to compile a user.
#pragma once

#include <boost/archive/basic_archive.hpp>
#include <boost/mpl/bool.hpp>
#include <boost/serialization/array_wrapper.hpp>
#include <boost/serialization/collection_size_type.hpp>
#include <boost/serialization/item_version_type.hpp>
#include <boost/serialization/serialization.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include "gpfq/base/error.hpp"

namespace gpfq {

/// What both archives say to Boost.Serialization: arrays of numbers go in one piece.
struct PackingTraits {
  struct use_array_optimization {
    template <class T>
    struct apply {
      using type = boost::mpl::bool_<std::is_arithmetic_v<T>>;
    };
  };
  // NOLINTNEXTLINE(readability-convert-member-functions-to-static): Boost asks an archive
  [[nodiscard]] auto get_library_version() const { return boost::archive::BOOST_ARCHIVE_VERSION(); }
};

/// An archive that appends to a string.
class Packer : public PackingTraits {
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
  template <class T>
  void save_array(const boost::serialization::array_wrapper<T>& array, unsigned /*version*/) {
    save_binary(array.address(), array.count() * sizeof(T));
  }

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
  void put(const boost::serialization::collection_size_type& count) { put(static_cast<std::uint64_t>(count)); }
  void put(const boost::serialization::item_version_type& /*version*/) {}

  std::string bytes_;
};

/// An archive that reads what Packer wrote. The bytes need not be trusted: counts are held against what is left of them
/// before memory is taken. @throws Error (input)
class Unpacker : public PackingTraits {
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
  template <class T>
  void load_array(const boost::serialization::array_wrapper<T>& array, unsigned /*version*/) {
    load_binary(array.address(), array.count() * sizeof(T));
  }
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
