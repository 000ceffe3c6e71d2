// SPDX-License-Identifier: Apache-2.0
// HDF5 without its sharp edges: move-only handles, errors as exceptions with the library's own
// error stack in the message, and the few dataset calls that importers and stores share.
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "gpfq/base/error.hpp"
#include "gpfq/base/types.hpp"

namespace gpfq::hdf5 {

/// Owns one HDF5 identifier and closes it with the function of its kind.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle() = default;
  Handle(hid_t id, Close close) : id_(id), close_(close) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { reset(); }

  [[nodiscard]] hid_t id() const noexcept { return id_; }
  [[nodiscard]] explicit operator bool() const noexcept { return id_ >= 0; }
  /// Closes now; errors are swallowed (destructors never throw).
  void reset() noexcept { static_cast<void>(try_close()); }
  /// Closes now; false when HDF5 reports that the close failed. The handle is empty afterwards either way.
  [[nodiscard]] bool try_close() noexcept;
  /// Forgets the identifier without closing it (closing can be collective when only this rank fails).
  void abandon() noexcept { id_ = H5I_INVALID_HID; }

 private:
  hid_t id_ = H5I_INVALID_HID;
  Close close_ = nullptr;
};

/// Stops HDF5 from printing its error stack to stderr; called by every entry of this room.
void silence_error_printing();

/// The current HDF5 error stack, innermost cause first, on one line; empties it.
[[nodiscard]] std::string take_error_stack();

/// Closes explicitly where the close itself can fail (buffered writes on a full disk).
/// @throws Error (kind) with the error stack.
void close(Handle& handle, ErrorKind kind, const std::string& what);

/// A dataset's extents and element class, from its header alone.
struct DatasetInfo {
  Shape shape;
  H5T_class_t type_class = H5T_NO_CLASS;
  Index element_bytes = 0;
  Index stored_bytes = 0;  ///< what the file really holds (after compression): a header may claim anything
};

/// What a file looked like when it was opened. Behind the end of one that was cut off since HDF5 reads zeros, silently.
class FileStamp {
 public:
  FileStamp() = default;
  explicit FileStamp(std::filesystem::path path);
  /// To be called after reading. @throws Error (fault) when the file has another size or time of change now
  void require_unchanged() const;

 private:
  std::filesystem::path path_;
  std::uintmax_t bytes_ = 0;
  std::filesystem::file_time_type time_;
};

/// Opens a file for reading, serially. @throws Error (input): missing, a folder, truncated, not HDF5.
[[nodiscard]] Handle open_file(const std::filesystem::path& path);
/// Checks the heaps that hold a file's texts and names, of files up to 1 GiB, before HDF5 follows them.
/// Cost: reads the file twice, the second time from memory. @throws Error (input): sizes in them do not fit, or what
/// open_file throws.
void check_heaps(const std::filesystem::path& path);
/// True when the file exists and starts as HDF5 does.
[[nodiscard]] bool is_hdf5(const std::filesystem::path& path);

/// Opens a dataset; `where` (a file's path) stands in the message. Links into other files and
/// datasets whose values lie in other files are refused: a model must not read what it was not given.
/// @throws Error (input) naming the dataset, and what the group holds instead.
[[nodiscard]] Handle open_dataset(hid_t location, const std::string& name, const std::string& where);
/// Opens a group, with the errors of open_dataset.
[[nodiscard]] Handle open_group(hid_t location, const std::string& name, const std::string& where);
[[nodiscard]] DatasetInfo dataset_info(hid_t dataset, const std::string& where);
/// Checks before values are read that the file can hold what the header claims. @param where  names file and dataset
/// @throws Error (input): not numbers, of a size that no number has, more values or larger chunks than the file's size
/// allows.
void require_numbers(hid_t dataset, const DatasetInfo& info, const std::string& where);

/// True when the link (each part of the path) exists; links into other files do not count.
[[nodiscard]] bool link_exists(hid_t location, const std::string& name);
/// Names of the links of a group, in name order.
[[nodiscard]] std::vector<std::string> link_names(hid_t location, const std::string& group);

/// Reads a box: `start` and `count` per dimension; `out` is packed row-major.
/// @param memory_type  H5T_NATIVE_FLOAT, H5T_NATIVE_UINT8, ...: HDF5 converts
/// @param transfer     transfer property list (H5P_DEFAULT serially)
void read_box(hid_t dataset, hid_t memory_type, const Shape& start, const Shape& count, void* out,
              const std::string& what, hid_t transfer = H5P_DEFAULT);
/// Writes a box from packed row-major memory; an empty `count` product takes part with an empty selection.
void write_box(hid_t dataset, hid_t memory_type, const Shape& start, const Shape& count, const void* data,
               const std::string& what, hid_t transfer = H5P_DEFAULT);

/// String attributes (fixed or variable length, UTF-8 or ASCII). Writing replaces what was there.
[[nodiscard]] bool has_attribute(hid_t location, const std::string& name);
[[nodiscard]] std::string read_string_attribute(hid_t location, const std::string& name, const std::string& where);
[[nodiscard]] std::vector<std::string> read_string_list_attribute(hid_t location, const std::string& name,
                                                                  const std::string& where);
void write_string_attribute(hid_t location, const std::string& name, const std::string& value);
[[nodiscard]] Index read_integer_attribute(hid_t location, const std::string& name, const std::string& where);
void write_integer_attribute(hid_t location, const std::string& name, Index value);

}  // namespace gpfq::hdf5
