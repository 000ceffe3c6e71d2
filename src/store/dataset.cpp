// SPDX-License-Identifier: Apache-2.0
// Creation and row access of datasets.
#include "store/dataset.hpp"

#include <vector>

namespace gpfq::store {
namespace {

/// Start and count of a box of whole rows.
struct Box {
  Shape start;
  Shape count;
};

Box row_box(const Shape& shape, Index first, Index count) {
  Box box{Shape(shape.size(), 0), shape};
  if (shape.empty()) return box;
  box.start.front() = first;
  box.count.front() = count;
  return box;
}

}  // namespace

hdf5::Handle create_dataset(hid_t location, const std::string& name, const Shape& shape, hid_t type,
                            const std::string& where) {
  const std::vector<hsize_t> extents(shape.begin(), shape.end());
  const hdf5::Handle space(shape.empty()
                               ? H5Screate(H5S_SCALAR)
                               : H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr),
                           H5Sclose);
  const hdf5::Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  hdf5::Handle dataset;
  if (space && creation && H5Pset_alloc_time(creation.id(), H5D_ALLOC_TIME_EARLY) >= 0 &&
      H5Pset_fill_time(creation.id(), H5D_FILL_TIME_NEVER) >= 0)
    dataset = hdf5::Handle(
        H5Dcreate2(location, name.c_str(), type, space.id(), H5P_DEFAULT, creation.id(), H5P_DEFAULT), H5Dclose);
  if (!dataset)
    throw_output("cannot create dataset '{}' of shape {} in {}: {}", name, to_string(shape), where,
                hdf5::take_error_stack());
  return dataset;
}

FileRange range_of(hid_t dataset) {
  const haddr_t begin = H5Dget_offset(dataset);
  return begin == HADDR_UNDEF ? FileRange{} : FileRange{static_cast<Index>(begin), static_cast<Index>(H5Dget_storage_size(dataset))};
}

void create_group(hid_t location, const std::string& name, const std::string& where) {
  const hdf5::Handle group(H5Gcreate2(location, name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Gclose);
  if (!group) throw_output("cannot create group '{}' in {}: {}", name, where, hdf5::take_error_stack());
}

void expect_dataset(hid_t location, const std::string& name, const Shape& shape, H5T_class_t type_class,
                    const std::string& where) {
  const hdf5::Handle dataset = hdf5::open_dataset(location, name, where);
  const hdf5::DatasetInfo info = hdf5::dataset_info(dataset.id(), where);
  if (info.shape != shape || info.type_class != type_class)
    throw_input("{}: dataset '{}' has shape {} and {} elements, expected {} and {}", where, name,
                to_string(info.shape), info.type_class == H5T_FLOAT ? "float" : "other", to_string(shape),
                type_class == H5T_FLOAT ? "float" : "integer");
  hdf5::require_numbers(dataset.id(), info, where + ":" + name);
}

void write_rows(hid_t dataset, hid_t memory_type, const Shape& shape, Index first, Index count, const void* data,
                const std::string& what, hid_t transfer) {
  const Box box = row_box(shape, first, count);
  hdf5::write_box(dataset, memory_type, box.start, box.count, data, what, transfer);
}

void read_rows_of(hid_t dataset, hid_t memory_type, const Shape& shape, Index first, Index count, void* out,
                  const std::string& what, hid_t transfer) {
  const Box box = row_box(shape, first, count);
  hdf5::read_box(dataset, memory_type, box.start, box.count, out, what, transfer);
}

}  // namespace gpfq::store
