// SPDX-License-Identifier: Apache-2.0
// Opening and closing through the MPI-IO driver, agreed on by all ranks.
#include "gpfq/store/parallel_file.hpp"

#include <exception>

#include "gpfq/base/durable.hpp"

namespace gpfq::store {

ParallelFile::ParallelFile(const mpi::Communicator& comm, const std::filesystem::path& path, OpenMode mode)
    : path_(path) {
  hdf5::silence_error_printing();
  hdf5::Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  const bool prepared = access && H5Pset_fapl_mpio(access.id(), comm.get(), MPI_INFO_NULL) >= 0;
  hid_t file = H5I_INVALID_HID;
  if (prepared) {
    file = mode == OpenMode::create ? H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.id())
                                    : H5Fopen(path.c_str(), mode == OpenMode::read_only ? H5F_ACC_RDONLY : H5F_ACC_RDWR,
                                              access.id());
  }
  file_ = hdf5::Handle(file, H5Fclose);
  comm.agree([&] {
    if (!file_) throw_input("{} cannot be opened by all ranks: {}", path_.string(), hdf5::take_error_stack());
    if (mode == OpenMode::create && comm.is_root()) sync_folder(path_.parent_path());  // a checkpoint may name it
  });
}

ParallelFile& ParallelFile::operator=(ParallelFile&& other) noexcept {
  file_ = std::move(other.file_);
  path_ = std::move(other.path_);
  return *this;
}

ParallelFile::~ParallelFile() {
  // A rank that closes alone waits for the others for ever; the process is about to end anyway.
  if (std::uncaught_exceptions() > 0) file_.abandon();
}

void ParallelFile::flush(const mpi::Communicator& comm) {
  const herr_t status = H5Fflush(file_.id(), H5F_SCOPE_GLOBAL);
  comm.agree([&] {
    if (status < 0) throw_output("{} cannot be written: {}", path_.string(), hdf5::take_error_stack());
  });
}

void ParallelFile::close(const mpi::Communicator& comm) {
  comm.agree([&] { hdf5::close(file_, ErrorKind::output, path_.string()); });
}

hdf5::Handle independent_transfer() {
  hdf5::Handle list(H5Pcreate(H5P_DATASET_XFER), H5Pclose);
  if (!list || H5Pset_dxpl_mpio(list.id(), H5FD_MPIO_INDEPENDENT) < 0)
    throw_fault("HDF5 refuses MPI-IO transfers: {}", hdf5::take_error_stack());
  return list;
}

}  // namespace gpfq::store
