// SPDX-License-Identifier: Apache-2.0
// Test data in HDF5.
#include "support/data_files.hpp"

#include <fstream>
#include <iterator>
#include <system_error>

#include "gpfq/hdf5/handle.hpp"

namespace gpfq::test {
namespace {

hdf5::Handle open_for_writing(const std::filesystem::path& path) {
  hdf5::silence_error_printing();
  const bool exists = std::filesystem::exists(path);
  hdf5::Handle file(exists ? H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT)
                           : H5Fcreate(path.c_str(), H5F_ACC_EXCL, H5P_DEFAULT, H5P_DEFAULT),
                    H5Fclose);
  if (!file) throw_fault("test data: cannot open {}: {}", path.string(), hdf5::take_error_stack());
  return file;
}

void write_any(const std::filesystem::path& path, const std::string& name, const Shape& shape, hid_t type,
               const void* values, std::size_t count) {
  require(static_cast<Index>(count) == element_count(shape), "write_dataset: values and shape disagree");
  hdf5::Handle file = open_for_writing(path);
  if (hdf5::link_exists(file.id(), name)) H5Ldelete(file.id(), name.c_str(), H5P_DEFAULT);
  const hdf5::Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(links.id(), 1);
  const std::vector<hsize_t> extents(shape.begin(), shape.end());
  const hdf5::Handle space(H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr), H5Sclose);
  const hdf5::Handle dataset(
      H5Dcreate2(file.id(), name.c_str(), type, space.id(), links.id(), H5P_DEFAULT, H5P_DEFAULT), H5Dclose);
  if (!dataset || H5Dwrite(dataset.id(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0)
    throw_fault("test data: cannot write {}:{}: {}", path.string(), name, hdf5::take_error_stack());
}

}  // namespace

void write_dataset(const std::filesystem::path& file, const std::string& name, const Shape& shape,
                   const std::vector<float>& values) {
  write_any(file, name, shape, H5T_NATIVE_FLOAT, values.data(), values.size());
}
void write_dataset(const std::filesystem::path& file, const std::string& name, const Shape& shape,
                   const std::vector<double>& values) {
  write_any(file, name, shape, H5T_NATIVE_DOUBLE, values.data(), values.size());
}
void write_dataset(const std::filesystem::path& file, const std::string& name, const Shape& shape,
                   const std::vector<std::uint8_t>& values) {
  write_any(file, name, shape, H5T_NATIVE_UINT8, values.data(), values.size());
}
void write_dataset(const std::filesystem::path& file, const std::string& name, const Shape& shape,
                   const std::vector<std::int32_t>& values) {
  write_any(file, name, shape, H5T_NATIVE_INT32, values.data(), values.size());
}
void write_dataset(const std::filesystem::path& file, const std::string& name, const Shape& shape,
                   const std::vector<std::uint16_t>& values) {
  write_any(file, name, shape, H5T_NATIVE_UINT16, values.data(), values.size());
}
void write_dataset(const std::filesystem::path& file, const std::string& name, const Shape& shape,
                   const std::vector<std::int16_t>& values) {
  write_any(file, name, shape, H5T_NATIVE_INT16, values.data(), values.size());
}
void write_float16_dataset(const std::filesystem::path& file, const std::string& name, const Shape& shape,
                           const std::vector<std::uint16_t>& bits) {
  const hdf5::Handle half(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
  H5Tset_fields(half.id(), 15, 10, 5, 0, 10);  // sign, exponent, its size, fraction, its size
  H5Tset_size(half.id(), 2);
  H5Tset_ebias(half.id(), 15);
  write_any(file, name, shape, half.id(), bits.data(), bits.size());
}

void remove_link(const std::filesystem::path& path, const std::string& name) {
  const hdf5::Handle file = open_for_writing(path);
  if (H5Ldelete(file.id(), name.c_str(), H5P_DEFAULT) < 0)
    throw_fault("test data: {} holds no {}: {}", path.string(), name, hdf5::take_error_stack());
}

std::vector<double> read_dataset(const std::filesystem::path& path, const std::string& name) {
  const hdf5::Handle file = hdf5::open_file(path);
  const hdf5::Handle dataset = hdf5::open_dataset(file.id(), name, path.string());
  const Shape shape = hdf5::dataset_info(dataset.id(), path.string()).shape;
  std::vector<double> values(static_cast<std::size_t>(element_count(shape)));
  hdf5::read_box(dataset.id(), H5T_NATIVE_DOUBLE, Shape(shape.size(), 0), shape, values.data(), path.string());
  return values;
}

void copy_head(const std::filesystem::path& from, const std::filesystem::path& to, Index bytes) {
  std::filesystem::copy_file(from, to, std::filesystem::copy_options::overwrite_existing);
  std::filesystem::permissions(to, std::filesystem::perms::owner_write, std::filesystem::perm_options::add);
  std::filesystem::resize_file(to, static_cast<std::uintmax_t>(bytes));
}

void write_text(const std::filesystem::path& file, const std::string& text) {
  std::ofstream stream(file, std::ios::binary);
  stream << text;
  require(static_cast<bool>(stream), "test data: cannot write a text file");
}

std::string read_text(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

}  // namespace gpfq::test
