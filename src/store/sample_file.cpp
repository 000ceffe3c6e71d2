// SPDX-License-Identifier: Apache-2.0
// Reading of user data: runs of neighbouring indexes become one read.
#include "gpfq/store/sample_file.hpp"

#include "gpfq/base/error.hpp"

namespace gpfq::store {

SampleFile::SampleFile(const std::filesystem::path& path, const std::string& dataset)
    : path_(path), dataset_name_(dataset), file_(hdf5::open_file(path)), stamp_(path) {
  dataset_ = hdf5::open_dataset(file_.id(), dataset, path.string());
  const hdf5::DatasetInfo info = hdf5::dataset_info(dataset_.id(), where());
  shape_ = info.shape;
  type_class_ = info.type_class;
  if (shape_.empty() || shape_.front() < 1)
    throw_input("{} has shape {}, expected samples in its first dimension", where(), to_string(shape_));
  hdf5::require_numbers(dataset_.id(), info, where());
}

void SampleFile::read_as(hid_t memory_type, Index element_bytes, std::span<const Index> indexes, void* out) const {
  const Index sample_size = element_count(sample_shape());
  auto* bytes = static_cast<unsigned char*>(out);
  for (std::size_t i = 0; i < indexes.size();) {
    std::size_t end = i + 1;
    while (end < indexes.size() && indexes[end] == indexes[end - 1] + 1) ++end;
    Shape start(shape_.size(), 0);
    Shape count = shape_;
    start.front() = indexes[i];
    count.front() = static_cast<Index>(end - i);
    hdf5::read_box(dataset_.id(), memory_type, start, count, bytes, where());
    bytes += static_cast<Index>(end - i) * sample_size * element_bytes;
    i = end;
  }
  stamp_.require_unchanged();
}

void SampleFile::read(std::span<const Index> indexes, float* out) const {
  read_as(H5T_NATIVE_FLOAT, sizeof(float), indexes, out);
}

void SampleFile::require_labels() const {
  if (type_class_ != H5T_INTEGER || element_count(sample_shape()) != 1)
    throw_input("{} has shape {}, expected one integer label per sample", where(), to_string(shape_));
}

std::vector<Index> SampleFile::read_labels(std::span<const Index> indexes) const {
  require_labels();
  std::vector<Index> labels(indexes.size());
  read_as(H5T_NATIVE_INT64, sizeof(Index), indexes, labels.data());
  return labels;
}

}  // namespace gpfq::store
