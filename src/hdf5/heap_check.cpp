// SPDX-License-Identifier: Apache-2.0
// Global heaps hold texts of variable length, as h5py writes them, local heaps the names in groups. HDF5 1.10 follows
// the sizes in them without looking: a wrong one makes it read beyond its memory, go round for ever or take any amount
// of memory. So they are looked at here first. Layout: HDF5 File Format Specification, III.D and III.E.
// A heap that is no longer in use may still stand in a file, its names overwritten or cut off. So of local heaps only
// that is refused which such a rest cannot have but by rare chance; HDF5 itself refuses the others.
#include <algorithm>
#include <cstdint>
#include <string_view>

#include "gpfq/hdf5/handle.hpp"
#include "gpfq/hdf5/read_guard.hpp"
#include "windowed_file.hpp"

namespace gpfq::hdf5 {
namespace {

using std::uint64_t;

// Each with its version and three bytes of zeros; eight bytes that say how large it is follow.
constexpr std::string_view local_heap("HEAP\0\0\0\0", 8);
constexpr uint64_t header_bytes = 16;                 // of a collection, and of each object in it
constexpr uint64_t local_header_bytes = 32;           // size of the names, head of the free list, address of the names
constexpr uint64_t free_block_bytes = 16;             // the least: place of the next one, size
constexpr uint64_t last_free_block = 1;               // where the list of free blocks ends
constexpr uint64_t largest_file = uint64_t{1} << 30;  // beyond that the time to read it counts
constexpr uint64_t most_names_bytes = uint64_t{64} << 20;  // in a smaller file

/// Walks the objects of the collection at `begin`. `steps_left` is for all heaps of a file: without it, many within
/// each other would take for ever. @returns false where an object does not fit into it.
bool is_whole(WindowedFile& file, uint64_t begin, uint64_t& steps_left) {
  const std::string_view header = file.from(begin, header_bytes);
  if (header.size() < header_bytes) return false;
  const uint64_t size = number_at<uint64_t>(header, 8);
  if (size < header_bytes || size > file.size() - begin) return false;
  uint64_t left = size - header_bytes;
  while (left >= header_bytes) {
    const std::string_view object = file.from(begin + size - left, header_bytes);
    if (object.size() < header_bytes || steps_left == 0) return false;
    --steps_left;
    const bool is_free_space = number_at<std::uint16_t>(object, 0) == 0;
    const uint64_t bytes = number_at<uint64_t>(object, 8);
    if (bytes > left) return false;
    const uint64_t taken = is_free_space ? bytes : header_bytes + (bytes + 7) / 8 * 8;
    if (taken < header_bytes || taken > left) return false;
    left -= taken;
  }
  return true;
}

/// Walks the free blocks among the names at `begin`. @returns false where the list goes round or a block begins so
/// late that it ends behind the names.
bool free_blocks_end(WindowedFile& file, uint64_t begin, uint64_t size, uint64_t block, uint64_t& steps_left) {
  for (; block != last_free_block && block < size; --steps_left) {
    if (steps_left == 0 || size - block < free_block_bytes) return false;
    const std::string_view bytes = file.from(begin + block, sizeof block);
    if (bytes.size() < sizeof block) break;
    block = number_at<uint64_t>(bytes, 0);
    if (block == 0) break;
  }
  return true;
}

/// Looks at the local heap at `begin`; addresses count from `base`.
bool is_harmless(WindowedFile& file, uint64_t begin, uint64_t base, uint64_t& steps_left) {
  const std::string_view header = file.from(begin, local_header_bytes);
  if (header.size() < local_header_bytes) return true;
  const uint64_t size = number_at<uint64_t>(header, 8);
  const uint64_t names = number_at<uint64_t>(header, 24);
  if (size > std::max(file.size(), most_names_bytes)) return false;
  if (names > file.size() || size > file.size() - names) return true;
  return free_blocks_end(file, base + names, size, number_at<uint64_t>(header, 16), steps_left);
}

/// Calls `visit` with the place of every `signature` in the file.
template <class Visit>
void for_each_match(WindowedFile& file, std::string_view signature, Visit&& visit) {
  for (uint64_t begin = 0; begin + signature.size() <= file.size();) {
    const std::string_view bytes = file.from(begin, signature.size());
    if (bytes.size() < signature.size()) return;
    const std::size_t found = bytes.find(signature);
    if (found == std::string_view::npos) {
      begin += bytes.size() - signature.size() + 1;
      continue;
    }
    visit(begin + found);
    begin += found + 1;
  }
}

}  // namespace

void check_heaps(const std::filesystem::path& path) {
  const ReadGuard guard(path, ReadGuard::Memory::as_the_file);
  const Handle opened = open_file(path);
  const Handle creation(H5Fget_create_plist(opened.id()), H5Pclose);
  std::size_t address_bytes = 0;
  std::size_t length_bytes = 0;
  if (H5Pget_sizes(creation.id(), &address_bytes, &length_bytes) < 0 || address_bytes != 8 || length_bytes != 8)
    throw_input("HDF5 file '{}' has addresses of {} and lengths of {} bytes, expected 8", path.string(), address_bytes,
                length_bytes);
  hsize_t base = 0;
  if (H5Pget_userblock(creation.id(), &base) < 0) base = 0;
  WindowedFile file(path);
  if (file.size() > largest_file) return;
  uint64_t steps_left = file.size() / 8 + 1;  // twice as many as heaps beside each other can take
  const auto damaged = [&](uint64_t at) {
    throw_input("HDF5 file '{}' is damaged: the heap at byte {} claims sizes that do not fit", path.string(), at);
  };
  for_each_match(file, global_heap, [&](uint64_t begin) {
    if (!is_whole(file, begin, steps_left)) damaged(begin);
  });
  for_each_match(file, local_heap, [&](uint64_t begin) {
    if (!is_harmless(file, begin, base, steps_left)) damaged(begin);
  });
}

}  // namespace gpfq::hdf5
