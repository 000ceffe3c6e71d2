// SPDX-License-Identifier: Apache-2.0
// An HDF5 file that all ranks of a communicator hold open. Closing is collective, so a rank that
// is unwinding from an error must not try.
#pragma once

#include <filesystem>

#include "gpfq/hdf5/handle.hpp"
#include "gpfq/mpi/communicator.hpp"

namespace gpfq::store {

enum class OpenMode { create, read_write, read_only };

/// A file opened through MPI-IO. Collective constructor, close() and flush().
class ParallelFile {
 public:
  ParallelFile() = default;
  /// @throws Error on all ranks alike when any rank fails.
  ParallelFile(const mpi::Communicator& comm, const std::filesystem::path& path, OpenMode mode);
  ParallelFile(ParallelFile&&) noexcept = default;
  ParallelFile& operator=(ParallelFile&& other) noexcept;
  ParallelFile(const ParallelFile&) = delete;
  ParallelFile& operator=(const ParallelFile&) = delete;
  /// Closes; during the unwinding of an exception the file is left to the end of the process.
  ~ParallelFile();

  [[nodiscard]] hid_t id() const { return file_.id(); }
  [[nodiscard]] bool is_open() const { return static_cast<bool>(file_); }
  void flush(const mpi::Communicator& comm);
  void close(const mpi::Communicator& comm);

 private:
  hdf5::Handle file_;
  std::filesystem::path path_;
};

/// A transfer property list. @throws Error (fault)
[[nodiscard]] hdf5::Handle independent_transfer();

}  // namespace gpfq::store
