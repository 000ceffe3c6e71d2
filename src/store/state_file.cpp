// SPDX-License-Identifier: Apache-2.0
#include "gpfq/store/state_file.hpp"

#include "store/dataset.hpp"

namespace gpfq::store {
namespace {

constexpr const char* floats_name = "floats";
constexpr const char* bytes_name = "bytes";

}  // namespace

StateFile::StateFile(const mpi::Communicator& comm, std::filesystem::path path, const Extents& extents)
    : comm_(comm), path_(std::move(path)), file_(comm, path_, OpenMode::create) {
  comm_.agree([&] {
    const auto create = [&](const char* name, Index count, hid_t type) {
      if (count == 0) return;
      const hdf5::Handle dataset = create_dataset(file_.id(), name, {extents.slots, count}, type, path_.string());
      holes_.push_back(range_of(dataset.id()));
    };
    create(floats_name, extents.floats, H5T_NATIVE_FLOAT);
    create(bytes_name, extents.bytes, H5T_NATIVE_UINT8);
  });
}

StateFile::StateFile(const mpi::Communicator& comm, std::filesystem::path path)
    : comm_(comm), path_(std::move(path)), file_(comm, path_, OpenMode::read_only) {}

void StateFile::write_floats(Index slot, Index first, std::span<const float> values) {
  const hdf5::Handle dataset = hdf5::open_dataset(file_.id(), floats_name, path_.string());
  hdf5::write_box(dataset.id(), H5T_NATIVE_FLOAT, {slot, first}, {1, static_cast<Index>(values.size())}, values.data(),
                  path_.string(), independent_transfer().id());
}

void StateFile::write_bytes(Index slot, Index first, std::span<const std::uint8_t> values) {
  const hdf5::Handle dataset = hdf5::open_dataset(file_.id(), bytes_name, path_.string());
  hdf5::write_box(dataset.id(), H5T_NATIVE_UINT8, {slot, first}, {1, static_cast<Index>(values.size())}, values.data(),
                  path_.string(), independent_transfer().id());
}

void StateFile::read_floats(Index slot, Index first, std::span<float> values) const {
  const hdf5::Handle dataset = hdf5::open_dataset(file_.id(), floats_name, path_.string());
  hdf5::read_box(dataset.id(), H5T_NATIVE_FLOAT, {slot, first}, {1, static_cast<Index>(values.size())}, values.data(),
                 path_.string(), independent_transfer().id());
}

void StateFile::read_bytes(Index slot, Index first, std::span<std::uint8_t> values) const {
  const hdf5::Handle dataset = hdf5::open_dataset(file_.id(), bytes_name, path_.string());
  hdf5::read_box(dataset.id(), H5T_NATIVE_UINT8, {slot, first}, {1, static_cast<Index>(values.size())}, values.data(),
                 path_.string(), independent_transfer().id());
}

void StateFile::close() {
  file_.flush(comm_);
  file_.close(comm_);
  comm_.barrier();
}

}  // namespace gpfq::store
