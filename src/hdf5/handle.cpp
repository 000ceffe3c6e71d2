// SPDX-License-Identifier: Apache-2.0
// Handles, error texts and the few dataset and attribute calls of include/gpfq/hdf5/handle.hpp.
// Files are not trusted: extents and string sizes are checked before memory is taken for them.
#include "gpfq/hdf5/handle.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <system_error>

#include "attribute_check.hpp"
#include "gpfq/hdf5/read_guard.hpp"

namespace gpfq::hdf5 {

namespace {

// An attribute up to this size fits into an object header (64 KiB less name and message headers).
constexpr std::size_t header_attribute_bytes = 60000;
// More names than this tell a reader of a message nothing.
constexpr std::size_t listed_names = 12;

/// HDF5 takes flock() on what it opens, which NFS and Lustre refuse on many clusters.
bool is_lock_failure(const std::string& stack) { return stack.find("unable to lock") != std::string::npos; }

[[noreturn]] void throw_with_stack(ErrorKind kind, const std::string& message) {
  const std::string stack = take_error_stack();
  throw Error(kind, stack.empty() ? message : fmt::format("{} (HDF5: {})", message, stack));
}

Handle checked(hid_t id, Handle::Close close, ErrorKind kind, const std::string& what) {
  if (id < 0) throw_with_stack(kind, what);
  return Handle(id, close);
}

/// H5Pset_elink_cb's callback: a failing one ends the traversal of any link into another file.
herr_t refuse_external_link(const char*, const char*, const char*, const char*, unsigned*, hid_t, void*) { return -1; }

/// A link access list (of `property_class`) that refuses links into other files.
Handle own_file_only(hid_t property_class) {
  Handle list = checked(H5Pcreate(property_class), H5Pclose, ErrorKind::fault, "HDF5 cannot create a property list");
  if (H5Pset_elink_cb(list.id(), refuse_external_link, nullptr) < 0) {
    throw_with_stack(ErrorKind::fault, "HDF5 cannot set the callback for external links");
  }
  return list;
}

std::string parent_of(const std::string& name) {
  const std::size_t slash = name.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : name.substr(0, slash);
}

/// Names of the links of an open group, in name order; nothing where HDF5 cannot list them.
std::optional<std::vector<std::string>> names_in(hid_t group) {
  std::vector<std::string> names;
  const auto add = [](hid_t, const char* name, const H5L_info_t*, void* out) -> herr_t {
    try {
      static_cast<std::vector<std::string>*>(out)->emplace_back(name);
      return 0;
    } catch (...) {
      return -1;  // no exception may cross the C library
    }
  };
  if (H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, nullptr, add, &names) < 0) return std::nullopt;
  return names;
}

/// "'a' holds b, c" for the nearest existing group above `name`; for messages only. Not by way of open_group, whose own
/// message asks here.
std::string what_is_there(hid_t location, const std::string& name) {
  std::string group = parent_of(name);
  while (group != "." && group != "/" && !link_exists(location, group)) group = parent_of(group);
  const Handle access = own_file_only(H5P_GROUP_ACCESS);
  const Handle opened(H5Gopen2(location, group.c_str(), access.id()), H5Gclose);
  std::optional<std::vector<std::string>> found;
  if (opened) found = names_in(opened.id());
  H5Eclear2(H5E_DEFAULT);
  if (!found) return fmt::format("'{}' is no group", group);
  std::vector<std::string>& names = *found;
  const std::string shown = group == "." ? "the group" : fmt::format("'{}'", group);
  if (names.empty()) return shown + " is empty";
  const std::size_t more = names.size() > listed_names ? names.size() - listed_names : 0;
  names.resize(names.size() - more);
  return fmt::format("{} holds {}{}", shown, fmt::join(names, ", "),
                     more == 0 ? std::string() : fmt::format(" and {} more", more));
}

/// Raw data outside the file (external storage, virtual datasets) would follow paths from the file.
void refuse_foreign_data(hid_t dataset, const std::string& name, const std::string& where) {
  const Handle creation = checked(H5Dget_create_plist(dataset), H5Pclose, ErrorKind::input,
                                  fmt::format("{}: dataset '{}' cannot be read", where, name));
  if (H5Pget_external_count(creation.id()) > 0 || H5Pget_layout(creation.id()) == H5D_VIRTUAL) {
    throw_input("{}: dataset '{}' keeps its values in other files; expected values in this file", where, name);
  }
}

/// One chunk is the least that is read: its size is checked against the file, with room for compression.
void require_chunk(hid_t creation, Index element_bytes, Index file_bytes, const std::string& where) {
  constexpr double least = 32 << 20;
  constexpr double compression = 64;
  std::array<hsize_t, H5S_MAX_RANK> extents{};
  const int rank = H5Pget_chunk(creation, static_cast<int>(extents.size()), extents.data());
  double bytes = static_cast<double>(element_bytes);
  for (int d = 0; d < rank; ++d) bytes *= static_cast<double>(extents[static_cast<std::size_t>(d)]);
  if (rank < 1 || bytes > least + compression * static_cast<double>(file_bytes))
    throw_input("{} claims chunks of {:.0f} bytes in a file of {}", where, bytes, file_bytes);
}

Index size_of_file(hid_t object) {
  const Handle file(H5Iget_file_id(object), H5Fclose);
  hsize_t bytes = 0;
  if (!file || H5Fget_filesize(file.id(), &bytes) < 0) return std::numeric_limits<Index>::max();
  return static_cast<Index>(std::min<hsize_t>(bytes, std::numeric_limits<Index>::max()));
}

std::vector<hsize_t> to_extents(const Shape& shape) { return {shape.begin(), shape.end()}; }

/// What a damaged file has done to memory may show when it is closed.
herr_t close_what_was_read(hid_t file) {
  const ReadGuard guard(file, ReadGuard::Memory::any);
  return H5Fclose(file);
}

/// The box of `start` and `count` in the dataset's space and the packed space in memory.
struct Selection {
  Handle file_space;
  Handle memory_space;
};

Selection select_box(hid_t dataset, const Shape& start, const Shape& count, const std::string& what) {
  Selection selection;
  selection.file_space = checked(H5Dget_space(dataset), H5Sclose, ErrorKind::fault, what + ": no dataspace");
  const int rank = H5Sget_simple_extent_ndims(selection.file_space.id());
  if (rank < 0 || start.size() != static_cast<std::size_t>(rank) || count.size() != start.size()) {
    throw_fault("{}: a box of {} starts and {} counts in a dataset of {} dimensions", what, start.size(), count.size(),
                rank);
  }
  if (rank == 0) {
    selection.memory_space = checked(H5Screate(H5S_SCALAR), H5Sclose, ErrorKind::fault, what + ": no memory space");
    return selection;
  }
  std::vector<hsize_t> extents(start.size());
  H5Sget_simple_extent_dims(selection.file_space.id(), extents.data(), nullptr);
  for (std::size_t d = 0; d < start.size(); ++d) {
    if (start[d] < 0 || count[d] < 0 || static_cast<hsize_t>(start[d]) > extents[d] ||
        static_cast<hsize_t>(count[d]) > extents[d] - static_cast<hsize_t>(start[d])) {
      throw_fault("{}: box [{}] + [{}] lies outside the dataset [{}]", what, fmt::join(start, ", "),
                  fmt::join(count, ", "), fmt::join(extents, ", "));
    }
  }
  const std::vector<hsize_t> first = to_extents(start);
  const std::vector<hsize_t> size = to_extents(count);
  selection.memory_space =
      checked(H5Screate_simple(rank, size.data(), nullptr), H5Sclose, ErrorKind::fault, what + ": no memory space");
  // A rank without data still has to call a collective transfer: it selects nothing.
  const bool is_empty = std::find(size.begin(), size.end(), hsize_t{0}) != size.end();
  const herr_t status =
      is_empty
          ? std::min(H5Sselect_none(selection.file_space.id()), H5Sselect_none(selection.memory_space.id()))
          : H5Sselect_hyperslab(selection.file_space.id(), H5S_SELECT_SET, first.data(), nullptr, size.data(), nullptr);
  if (status < 0) throw_with_stack(ErrorKind::fault, what + ": cannot select a box");
  return selection;
}

/// An opened attribute, the type of its elements and how many there are.
struct Attribute {
  Handle attribute;
  Handle type;
  Handle space;
  Index count = 0;
  std::string what;  ///< for messages
};

Attribute open_attribute(hid_t location, const std::string& name, const std::string& where) {
  silence_error_printing();
  Attribute result;
  result.what = fmt::format("{}: attribute '{}'", where, name);
  if (!has_attribute(location, name)) throw_input("{} is missing", result.what);
  const std::string unreadable = result.what + " cannot be read";
  result.attribute = checked(H5Aopen(location, name.c_str(), H5P_DEFAULT), H5Aclose, ErrorKind::input, unreadable);
  result.type = checked(H5Aget_type(result.attribute.id()), H5Tclose, ErrorKind::input, unreadable);
  result.space = checked(H5Aget_space(result.attribute.id()), H5Sclose, ErrorKind::input, unreadable);
  result.count = static_cast<Index>(H5Sget_simple_extent_npoints(result.space.id()));
  if (result.count < 0) throw_with_stack(ErrorKind::input, unreadable);
  return result;
}

std::vector<std::string> read_fixed_strings(const Attribute& from) {
  const std::size_t size = H5Tget_size(from.type.id());
  const Index limit = size_of_file(from.attribute.id());
  if (size == 0 || from.count > limit / static_cast<Index>(std::min<std::size_t>(size, 1U << 31U)) ||
      size > static_cast<std::size_t>(limit)) {
    throw_input("{} claims {} strings of {} bytes, more than the file's {} bytes", from.what, from.count, size, limit);
  }
  std::vector<char> bytes(size * static_cast<std::size_t>(from.count));
  if (H5Aread(from.attribute.id(), from.type.id(), bytes.data()) < 0) {
    throw_with_stack(ErrorKind::input, from.what + " cannot be read");
  }
  const bool is_space_padded = H5Tget_strpad(from.type.id()) == H5T_STR_SPACEPAD;
  std::vector<std::string> strings;
  for (std::size_t i = 0; i < static_cast<std::size_t>(from.count); ++i) {
    const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(i * size);
    std::string text(begin, std::find(begin, begin + static_cast<std::ptrdiff_t>(size), '\0'));
    if (is_space_padded) text.erase(text.find_last_not_of(' ') + 1);
    strings.push_back(std::move(text));
  }
  return strings;
}

std::vector<std::string> read_variable_strings(const Attribute& from) {
  constexpr Index reference_bytes = 16;  // length, address and index of one string in the file
  if (from.count > size_of_file(from.attribute.id()) / reference_bytes) {
    throw_input("{} claims {} strings, more than the file can hold", from.what, from.count);
  }
  Handle memory_type = checked(H5Tcopy(H5T_C_S1), H5Tclose, ErrorKind::fault, "HDF5 cannot copy a string type");
  H5Tset_size(memory_type.id(), H5T_VARIABLE);
  H5Tset_cset(memory_type.id(), H5Tget_cset(from.type.id()));
  std::vector<char*> pointers(static_cast<std::size_t>(from.count), nullptr);
  if (H5Aread(from.attribute.id(), memory_type.id(), pointers.data()) < 0) {
    throw_with_stack(ErrorKind::input, from.what + " cannot be read");
  }
  std::vector<std::string> strings;
  strings.reserve(pointers.size());
  for (const char* text : pointers) strings.emplace_back(text == nullptr ? "" : text);
  H5Dvlen_reclaim(memory_type.id(), from.space.id(), H5P_DEFAULT, pointers.data());
  return strings;
}

/// Creates (or replaces) a scalar attribute and writes one value of `type`.
void write_scalar_attribute(hid_t location, const std::string& name, hid_t type, const void* value) {
  const std::string what = fmt::format("attribute '{}' cannot be written", name);
  if (has_attribute(location, name) && H5Adelete(location, name.c_str()) < 0) throw_with_stack(ErrorKind::fault, what);
  const Handle space = checked(H5Screate(H5S_SCALAR), H5Sclose, ErrorKind::fault, what);
  Handle attribute = checked(H5Acreate2(location, name.c_str(), type, space.id(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose,
                             ErrorKind::fault, what);
  if (H5Awrite(attribute.id(), type, value) < 0) throw_with_stack(ErrorKind::fault, what);
  close(attribute, ErrorKind::fault, what);
}

}  // namespace

Handle& Handle::operator=(Handle&& other) noexcept {
  if (this != &other) {
    reset();
    id_ = std::exchange(other.id_, H5I_INVALID_HID);
    close_ = other.close_;
  }
  return *this;
}

bool Handle::try_close() noexcept {
  const hid_t id = std::exchange(id_, H5I_INVALID_HID);
  return id < 0 || close_ == nullptr || close_(id) >= 0;
}

void silence_error_printing() { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

std::string take_error_stack() {
  std::string line;
  const H5E_walk2_t append = [](unsigned, const H5E_error2_t* entry, void* out) -> herr_t {
    try {
      auto& text = *static_cast<std::string*>(out);
      if (entry->desc == nullptr || *entry->desc == '\0') return 0;
      if (!text.empty()) text += "; ";
      text += entry->desc;
      return 0;
    } catch (...) {
      return -1;  // no exception may cross the C library
    }
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, append, &line);
  H5Eclear2(H5E_DEFAULT);
  std::replace(line.begin(), line.end(), '\n', ' ');
  if (is_lock_failure(line)) line += "; where a file system refuses locks, set HDF5_USE_FILE_LOCKING=FALSE on all ranks";
  return line;
}

void close(Handle& handle, ErrorKind kind, const std::string& what) {
  if (!handle.try_close()) throw_with_stack(kind, what);
}

FileStamp::FileStamp(std::filesystem::path path) : path_(std::move(path)) {
  std::error_code code;
  bytes_ = std::filesystem::file_size(path_, code);
  if (!code) time_ = std::filesystem::last_write_time(path_, code);
  if (code) throw_input("file '{}' cannot be read: {}", path_.string(), code.message());
}

void FileStamp::require_unchanged() const {
  const FileStamp now(path_);
  if (now.bytes_ != bytes_)
    throw_fault("{} was changed while it was in use: it has {} bytes now, it had {}", path_.string(), now.bytes_, bytes_);
  if (now.time_ != time_)
    throw_fault("{} was changed while it was in use: it was written to since the start", path_.string());
}

Handle open_file(const std::filesystem::path& path) {
  const ReadGuard guard(path, ReadGuard::Memory::as_the_file);
  silence_error_printing();
  const std::string shown = path.string();
  std::error_code code;
  const std::filesystem::file_status status = std::filesystem::status(path, code);
  if (status.type() == std::filesystem::file_type::not_found) throw_input("file '{}' does not exist", shown);
  if (code) throw_input("file '{}' cannot be opened: {}", shown, code.message());
  if (status.type() == std::filesystem::file_type::directory) {
    throw_input("'{}' is a folder; expected an HDF5 file", shown);
  }
  if (status.type() != std::filesystem::file_type::regular) {
    throw_input("'{}' is not a regular file; expected an HDF5 file", shown);
  }
  Handle file(H5Fopen(shown.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), close_what_was_read);
  if (file) return file;
  const std::string stack = take_error_stack();
  if (stack.find("truncated file") != std::string::npos) {
    throw_input("HDF5 file '{}' is truncated: it has {} bytes, fewer than it says it has (HDF5: {})", shown,
                std::filesystem::file_size(path, code), stack);
  }
  if (is_lock_failure(stack)) {
    throw_input("HDF5 file '{}' cannot be locked: open for writing elsewhere, or on a file system without locks ({})",
                shown, stack);
  }
  if (stack.find("Permission denied") != std::string::npos) throw_input("file '{}' may not be read", shown);
  if (!is_hdf5(path)) {
    throw_input("file '{}' ({} bytes) is not an HDF5 file", shown, std::filesystem::file_size(path, code));
  }
  throw_input("HDF5 file '{}' cannot be opened: damaged, or open for writing elsewhere (HDF5: {})", shown, stack);
}

bool is_hdf5(const std::filesystem::path& path) {
  const ReadGuard guard(path, ReadGuard::Memory::as_the_file);
  silence_error_printing();
  std::error_code code;
  if (!std::filesystem::is_regular_file(path, code)) return false;
  const bool result = H5Fis_hdf5(path.string().c_str()) > 0;
  H5Eclear2(H5E_DEFAULT);
  return result;
}

Handle open_dataset(hid_t location, const std::string& name, const std::string& where) {
  const ReadGuard guard(location, ReadGuard::Memory::as_the_file);
  silence_error_printing();
  const Handle access = own_file_only(H5P_DATASET_ACCESS);
  Handle dataset(H5Dopen2(location, name.c_str(), access.id()), H5Dclose);
  if (dataset) {
    refuse_foreign_data(dataset.id(), name, where);
    return dataset;
  }
  const std::string stack = take_error_stack();
  if (!link_exists(location, name)) {
    throw_input("{}: there is no dataset '{}'; {}", where, name, what_is_there(location, name));
  }
  throw_input("{}: '{}' cannot be opened as a dataset of this file (HDF5: {})", where, name, stack);
}

Handle open_group(hid_t location, const std::string& name, const std::string& where) {
  const ReadGuard guard(location, ReadGuard::Memory::as_the_file);
  silence_error_printing();
  const Handle access = own_file_only(H5P_GROUP_ACCESS);
  Handle group(H5Gopen2(location, name.c_str(), access.id()), H5Gclose);
  if (group) return group;
  const std::string stack = take_error_stack();
  if (!link_exists(location, name)) {
    throw_input("{}: there is no group '{}'; {}", where, name, what_is_there(location, name));
  }
  throw_input("{}: '{}' cannot be opened as a group of this file (HDF5: {})", where, name, stack);
}

DatasetInfo dataset_info(hid_t dataset, const std::string& where) {
  const ReadGuard guard(dataset, ReadGuard::Memory::as_the_file);
  silence_error_printing();
  const std::string unreadable = where + ": a dataset's header cannot be read";
  const Handle type = checked(H5Dget_type(dataset), H5Tclose, ErrorKind::input, unreadable);
  const Handle space = checked(H5Dget_space(dataset), H5Sclose, ErrorKind::input, unreadable);
  DatasetInfo info;
  info.type_class = H5Tget_class(type.id());
  info.element_bytes = static_cast<Index>(H5Tget_size(type.id()));
  const hsize_t stored = H5Dget_storage_size(dataset);
  if (stored > static_cast<hsize_t>(size_of_file(dataset)))
    throw_input("{}: a dataset claims to take {} bytes, the file has {}", where, stored, size_of_file(dataset));
  info.stored_bytes = static_cast<Index>(stored);
  if (H5Sget_simple_extent_type(space.id()) == H5S_NULL) {
    info.shape = {0};
    return info;
  }
  const int rank = H5Sget_simple_extent_ndims(space.id());
  if (rank < 0) throw_with_stack(ErrorKind::input, unreadable);
  std::vector<hsize_t> extents(static_cast<std::size_t>(rank));
  if (rank > 0) H5Sget_simple_extent_dims(space.id(), extents.data(), nullptr);
  for (const hsize_t extent : extents) {
    if (extent > static_cast<hsize_t>(std::numeric_limits<Index>::max())) {
      throw_input("{}: a dataset claims the extents [{}]", where, fmt::join(extents, ", "));
    }
    info.shape.push_back(static_cast<Index>(extent));
  }
  static_cast<void>(element_count(info.shape));
  return info;
}

void require_numbers(hid_t dataset, const DatasetInfo& info, const std::string& where) {
  constexpr Index largest_number = 16;
  constexpr Index best_compression = 1100;  // no filter of HDF5 makes more of a byte; deflate comes near
  const Index count = element_count(info.shape);
  if (info.type_class != H5T_FLOAT && info.type_class != H5T_INTEGER)
    throw_input("{} does not hold numbers (HDF5 type class {}), expected integers or floats", where,
                static_cast<int>(info.type_class));
  if (info.element_bytes < 1 || info.element_bytes > largest_number)
    throw_input("{} holds numbers of {} bytes, expected at most {}", where, info.element_bytes, largest_number);
  const Index held = info.stored_bytes / info.element_bytes;
  const Handle creation = checked(H5Dget_create_plist(dataset), H5Pclose, ErrorKind::input, where + " cannot be read");
  const H5D_layout_t layout = H5Pget_layout(creation.id());
  // What was never written has no place in the file and reads as zeros, unless it is compact.
  const bool is_whole = layout == H5D_CHUNKED || (layout == H5D_CONTIGUOUS && held == 0) || held >= count;
  if (!is_whole || count / best_compression > held)
    throw_input("{} claims {} values but the file holds {} bytes of it", where, count, info.stored_bytes);
  if (layout == H5D_CHUNKED) require_chunk(creation.id(), info.element_bytes, size_of_file(dataset), where);
}

bool link_exists(hid_t location, const std::string& name) {
  const ReadGuard guard(location, ReadGuard::Memory::as_the_file);
  silence_error_printing();
  const Handle access = own_file_only(H5P_LINK_ACCESS);
  // H5Lexists fails, rather than answers, where a group on the way is missing: each part in turn.
  for (std::size_t end = name.find_first_not_of('/'); end < name.size();) {
    end = std::min(name.find('/', end), name.size());
    const htri_t exists = H5Lexists(location, name.substr(0, end).c_str(), access.id());
    if (exists <= 0) {
      H5Eclear2(H5E_DEFAULT);
      return false;
    }
    end = name.find_first_not_of('/', end);
  }
  return !name.empty();
}

std::vector<std::string> link_names(hid_t location, const std::string& group) {
  const ReadGuard guard(location, ReadGuard::Memory::as_the_file);
  silence_error_printing();
  const std::string what = fmt::format("the group '{}' cannot be listed", group);
  std::optional<std::vector<std::string>> names = names_in(open_group(location, group, what).id());
  if (!names) throw_with_stack(ErrorKind::input, what);
  return std::move(*names);
}

void read_box(hid_t dataset, hid_t memory_type, const Shape& start, const Shape& count, void* out,
              const std::string& what, hid_t transfer) {
  const ReadGuard guard(dataset, ReadGuard::Memory::any);
  silence_error_printing();
  const Selection box = select_box(dataset, start, count, what);
  if (H5Dread(dataset, memory_type, box.memory_space.id(), box.file_space.id(), transfer, out) < 0) {
    throw_with_stack(ErrorKind::input, what + " cannot be read");
  }
}

void write_box(hid_t dataset, hid_t memory_type, const Shape& start, const Shape& count, const void* data,
               const std::string& what, hid_t transfer) {
  silence_error_printing();
  const Selection box = select_box(dataset, start, count, what);
  if (H5Dwrite(dataset, memory_type, box.memory_space.id(), box.file_space.id(), transfer, data) < 0) {
    throw_with_stack(ErrorKind::output, what + " cannot be written");
  }
}

bool has_attribute(hid_t location, const std::string& name) {
  const ReadGuard guard(location, ReadGuard::Memory::as_the_file);
  silence_error_printing();
  check_attributes(location);
  const bool result = H5Aexists(location, name.c_str()) > 0;
  H5Eclear2(H5E_DEFAULT);
  return result;
}

std::vector<std::string> read_string_list_attribute(hid_t location, const std::string& name, const std::string& where) {
  const ReadGuard guard(location, ReadGuard::Memory::as_the_file);
  const Attribute from = open_attribute(location, name, where);
  if (from.count == 0) return {};  // h5py writes an empty list as numbers
  if (H5Tget_class(from.type.id()) != H5T_STRING) throw_input("{} holds no strings; expected text", from.what);
  if (H5Tis_variable_str(from.type.id()) <= 0) return read_fixed_strings(from);
  check_attributes(location, name);
  return read_variable_strings(from);
}

std::string read_string_attribute(hid_t location, const std::string& name, const std::string& where) {
  std::vector<std::string> strings = read_string_list_attribute(location, name, where);
  if (strings.size() != 1) {
    throw_input("{}: attribute '{}' holds {} strings; expected one", where, name, strings.size());
  }
  return std::move(strings.front());
}

void write_string_attribute(hid_t location, const std::string& name, const std::string& value) {
  silence_error_printing();
  const Handle type = checked(H5Tcopy(H5T_C_S1), H5Tclose, ErrorKind::fault, "HDF5 cannot copy a string type");
  H5Tset_cset(type.id(), H5T_CSET_UTF8);
  H5Tset_strpad(type.id(), H5T_STR_NULLTERM);
  // Fixed length where it fits into the object header, since it is the form every reader knows;
  // a longer text goes to the heap, which has no such limit.
  if (value.size() < header_attribute_bytes) {
    H5Tset_size(type.id(), value.size() + 1);
    write_scalar_attribute(location, name, type.id(), value.c_str());
  } else {
    H5Tset_size(type.id(), H5T_VARIABLE);
    const char* text = value.c_str();
    write_scalar_attribute(location, name, type.id(), static_cast<const void*>(&text));
  }
}

Index read_integer_attribute(hid_t location, const std::string& name, const std::string& where) {
  const ReadGuard guard(location, ReadGuard::Memory::as_the_file);
  const Attribute from = open_attribute(location, name, where);
  if (H5Tget_class(from.type.id()) != H5T_INTEGER || from.count != 1) {
    throw_input("{} is not one integer", from.what);
  }
  Index value = 0;
  if (H5Aread(from.attribute.id(), H5T_NATIVE_INT64, &value) < 0) {
    throw_with_stack(ErrorKind::input, from.what + " cannot be read");
  }
  return value;
}

void write_integer_attribute(hid_t location, const std::string& name, Index value) {
  silence_error_printing();
  write_scalar_attribute(location, name, H5T_NATIVE_INT64, &value);
}

}  // namespace gpfq::hdf5
