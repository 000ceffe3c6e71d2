// SPDX-License-Identifier: Apache-2.0
// Layout: HDF5 File Format Specification, III.E (global heap), IV.A.1 (object headers), IV.A.2 (messages).
#include "attribute_check.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "gpfq/base/error.hpp"
#include "gpfq/base/text.hpp"
#include "gpfq/hdf5/handle.hpp"
#include "windowed_file.hpp"

namespace gpfq::hdf5 {
namespace {

using std::uint64_t;

constexpr unsigned attribute_message = 0x0C;
constexpr unsigned continuation_message = 0x10;
constexpr unsigned is_kept_elsewhere = 0x02;  // flag of a message
constexpr unsigned variable_length = 9;       // class of a type
constexpr std::size_t reference_bytes = 16;   // length, address of the collection, number of the object
constexpr std::size_t most_chunks = 1 << 16;  // of a header

unsigned byte_at(std::string_view bytes, std::size_t at) { return static_cast<unsigned char>(bytes[at]); }

std::uint16_t short_at(std::string_view bytes, std::size_t at) { return number_at<std::uint16_t>(bytes, at); }

/// Consecutive parts of a message.
class Parts {
 public:
  explicit Parts(std::string_view bytes) : rest_(bytes) {}
  /// The next `size` bytes, behind which `padding` is skipped; none where there are fewer.
  std::optional<std::string_view> next(std::size_t size, bool is_padded) {
    if (size > rest_.size()) return std::nullopt;
    const std::string_view part = rest_.substr(0, size);
    rest_.remove_prefix(std::min(rest_.size(), is_padded ? (size + 7) / 8 * 8 : size));
    return part;
  }
  [[nodiscard]] std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

/// How many values a dataspace message stands for.
std::optional<uint64_t> points_of(std::string_view space) {
  if (space.size() < 4) return std::nullopt;
  const bool is_first = byte_at(space, 0) == 1;
  constexpr unsigned null_space = 2;
  if (!is_first && byte_at(space, 3) == null_space) return 0;
  const std::size_t rank = byte_at(space, 1);
  const std::size_t begin = is_first ? 8 : 4;
  if (space.size() < begin + 8 * rank) return std::nullopt;
  uint64_t points = 1;
  for (std::size_t d = 0; d < rank; ++d)
    if (__builtin_mul_overflow(points, number_at<uint64_t>(space, begin + 8 * d), &points)) return std::nullopt;
  return points;
}

/// Walks an object's header and looks at what attributes claim.
class AttributeCheck {
 public:
  AttributeCheck(const std::string& path, uint64_t base, const std::string& texts)
      : path_(path), file_(path), base_(base), texts_(texts) {}

  void run(uint64_t address) {
    read_header(base_ + address);
    for (std::size_t i = 0; i < chunks_.size() && i < most_chunks; ++i) read_chunk(chunks_[i].begin, chunks_[i].end);
  }

 private:
  struct Chunk {
    uint64_t begin = 0;
    uint64_t end = 0;
  };

  [[noreturn]] void damaged(std::string_view name) const {
    throw_input("HDF5 file '{}' is damaged: attribute '{}' claims sizes that do not fit", path_,
                excerpt(std::string(name.substr(0, name.find('\0')))));
  }

  void read_header(uint64_t at) {
    constexpr std::size_t longest_prefix = 34;
    const std::string_view bytes = file_.from(at, longest_prefix);
    if (bytes.size() < longest_prefix) return;
    is_second_ = bytes.starts_with("OHDR");
    if (!is_second_) {
      chunks_.push_back({at + 16, at + 16 + number_at<std::uint32_t>(bytes, 8)});
      return;
    }
    const unsigned flags = byte_at(bytes, 5);
    prefix_bytes_ = (flags & 4U) != 0 ? 6 : 4;
    std::size_t size_at = 6;
    if ((flags & 0x20U) != 0) size_at += 16;  // times
    if ((flags & 0x10U) != 0) size_at += 4;   // when attributes go elsewhere
    const std::size_t width = std::size_t{1} << (flags & 3U);
    uint64_t size = 0;
    for (std::size_t i = 0; i < width; ++i) size |= static_cast<uint64_t>(byte_at(bytes, size_at + i)) << (8 * i);
    chunks_.push_back({at + size_at + width, at + size_at + width + std::min(size, file_.size())});
  }

  void read_chunk(uint64_t at, uint64_t end) {
    end = std::min(end, file_.size());
    while (at < end && end - at >= prefix_bytes_) {
      const std::string_view prefix = file_.from(at, prefix_bytes_);
      if (prefix.size() < prefix_bytes_) return;
      const unsigned type = is_second_ ? byte_at(prefix, 0) : short_at(prefix, 0);
      const std::size_t size = short_at(prefix, is_second_ ? 1 : 2);
      const unsigned flags = byte_at(prefix, is_second_ ? 3 : 4);
      at += prefix_bytes_;
      if (size > end - at) return;
      const std::string_view body = file_.from(at, size).substr(0, size);
      if (body.size() < size) return;
      if (type == continuation_message && size >= 16) add_chunk(body);
      if (type == attribute_message && (flags & is_kept_elsewhere) == 0) check(body);
      at += size;
    }
  }

  void add_chunk(std::string_view body) {
    const uint64_t address = number_at<uint64_t>(body, 0);
    const uint64_t bytes = number_at<uint64_t>(body, 8);
    if (address > file_.size() || bytes > file_.size()) return;
    const uint64_t begin = base_ + address;
    constexpr uint64_t signature_bytes = 4;
    constexpr uint64_t checksum_bytes = 4;
    if (!is_second_)
      chunks_.push_back({begin, begin + bytes});
    else if (bytes > signature_bytes + checksum_bytes)
      chunks_.push_back({begin + signature_bytes, begin + bytes - checksum_bytes});
  }

  void check(std::string_view body) {
    if (body.size() < 9) damaged("");
    const unsigned version = byte_at(body, 0);
    const bool is_padded = version == 1;
    const unsigned shared = version == 1 ? 0U : byte_at(body, 1);
    Parts parts(body.substr(version >= 3 ? 9 : 8));
    const std::optional<std::string_view> name = parts.next(short_at(body, 2), is_padded);
    if (!name || name->find('\0') == std::string_view::npos) damaged("");
    const std::optional<std::string_view> type = parts.next(short_at(body, 4), is_padded);
    const std::optional<std::string_view> space = parts.next(short_at(body, 6), is_padded);
    if (!type || !space) damaged(*name);
    if (shared != 0) return;  // type or space stand elsewhere
    const std::optional<uint64_t> points = points_of(*space);
    if (!points || type->size() < 8) damaged(*name);
    const uint64_t element_bytes = number_at<std::uint32_t>(*type, 4);
    if (*points != 0 && element_bytes > parts.rest().size() / *points) damaged(*name);
    const bool is_variable = (byte_at(*type, 0) & 0x0FU) == variable_length && element_bytes == reference_bytes;
    if (!is_variable || texts_.empty() || name->substr(0, name->find('\0')) != texts_) return;
    if (type->size() < 16) damaged(*name);
    const uint64_t base_bytes = number_at<std::uint32_t>(*type, 12);  // of the type that there are any number of
    const std::string references(parts.rest().substr(0, *points * reference_bytes));  // the window moves on
    const std::string shown(*name);
    for (std::size_t at = 0; at < references.size(); at += reference_bytes)
      if (!is_there(std::string_view(references).substr(at), base_bytes)) damaged(shown);
  }

  /// True when HDF5 can follow a reference to a text: it takes as many bytes as the object in the heap has.
  bool is_there(std::string_view reference, uint64_t base_bytes) {
    const uint64_t address = number_at<uint64_t>(reference, 4);
    if (address == 0) return true;
    const uint64_t room = number_at<std::uint32_t>(reference, 0) * base_bytes;
    if (room > file_.size()) return false;
    if (address != collection_) read_collection(address);
    const std::size_t number = number_at<std::uint32_t>(reference, 12);
    return !is_collection_ || (number < objects_.size() && objects_[number] && *objects_[number] <= room);
  }

  void read_collection(uint64_t address) {
    collection_ = address;
    objects_.clear();
    const uint64_t begin = address > file_.size() ? file_.size() : base_ + address;
    const std::string_view header = file_.from(begin, 16);
    is_collection_ = header.size() >= 16 && header.starts_with(global_heap);  // HDF5 refuses what is none
    if (!is_collection_) return;
    uint64_t left = std::min(number_at<uint64_t>(header, 8), file_.size() - begin);
    uint64_t at = begin + 16;
    left -= std::min<uint64_t>(left, 16);
    while (left >= 16) {
      const std::string_view object = file_.from(at, 16);
      if (object.size() < 16) return;
      const std::size_t number = short_at(object, 0);
      const uint64_t bytes = number_at<uint64_t>(object, 8);
      if (number == 0 || bytes > left) return;  // the rest is free
      objects_.resize(std::max(objects_.size(), number + 1));
      objects_[number] = bytes;
      const uint64_t taken = 16 + (bytes + 7) / 8 * 8;
      at += taken;
      left -= std::min(left, taken);
    }
  }

  const std::string& path_;
  WindowedFile file_;
  uint64_t base_;
  const std::string& texts_;
  bool is_second_ = false;
  std::size_t prefix_bytes_ = 8;  ///< of a message
  std::vector<Chunk> chunks_;
  uint64_t collection_ = 0;  ///< address of the one that objects_ tells of; 0: none
  bool is_collection_ = false;
  std::vector<std::optional<uint64_t>> objects_;  ///< bytes, by number
};

}  // namespace

void check_attributes(hid_t object, const std::string& texts) {
  const Handle file(H5Iget_file_id(object), H5Fclose);
  unsigned intent = H5F_ACC_RDWR;
  if (!file || H5Fget_intent(file.id(), &intent) < 0 || (intent & H5F_ACC_RDWR) != 0) return;
  const Handle creation(H5Fget_create_plist(file.id()), H5Pclose);
  std::size_t address_bytes = 0;
  std::size_t length_bytes = 0;
  hsize_t base = 0;
  if (H5Pget_sizes(creation.id(), &address_bytes, &length_bytes) < 0 || address_bytes != 8 || length_bytes != 8 ||
      H5Pget_userblock(creation.id(), &base) < 0)
    return;
  H5O_info_t info;
  const ssize_t name_bytes = H5Fget_name(file.id(), nullptr, 0);
  if (name_bytes <= 0 || H5Oget_info2(object, &info, H5O_INFO_BASIC) < 0) {
    H5Eclear2(H5E_DEFAULT);
    return;
  }
  std::string path(static_cast<std::size_t>(name_bytes), '\0');
  H5Fget_name(file.id(), path.data(), path.size() + 1);
  AttributeCheck(path, base, texts).run(info.addr);
}

}  // namespace gpfq::hdf5
