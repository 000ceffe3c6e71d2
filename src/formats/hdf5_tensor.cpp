// SPDX-License-Identifier: Apache-2.0
// One dataset of an HDF5 file. HDF5 converts every float type, float16 too; bfloat16 comes as 16-bit integers, signed ones
// where PyTorch wrote them, which are read as they are: HDF5 turns negative numbers into unsigned ones by making them 0.
#include <algorithm>
#include <optional>
#include <vector>

#include "formats/tensor_readers.hpp"
#include "gpfq/base/error.hpp"
#include "gpfq/hdf5/handle.hpp"

namespace gpfq::formats {
namespace {

class Hdf5Tensor : public TensorFile {
 public:
  /// @param word_type  of bfloat16's words in memory; none for numbers that HDF5 knows
  Hdf5Tensor(hdf5::Handle file, hdf5::Handle dataset, Shape shape, std::optional<hid_t> word_type, std::string where)
      : TensorFile(std::move(shape), std::move(where)),
        file_(std::move(file)),
        dataset_(std::move(dataset)),
        word_type_(word_type) {}

 private:
  void read_box(Range rows, Range columns, float* out) const override {
    const Shape start{rows.begin, columns.begin};
    const Shape count{rows.size(), columns.size()};
    if (!word_type_) return hdf5::read_box(dataset_.id(), H5T_NATIVE_FLOAT, start, count, out, where());
    std::vector<std::uint16_t> words(static_cast<std::size_t>(element_count(count)));
    hdf5::read_box(dataset_.id(), *word_type_, start, count, words.data(), where());
    std::transform(words.begin(), words.end(), out, [](std::uint16_t word) { return from_bfloat16(word); });
  }

  hdf5::Handle file_;
  hdf5::Handle dataset_;
  std::optional<hid_t> word_type_;
};

/// The type that leaves the bits of a dataset's 16-bit integers as they are.
hid_t word_type_of(hid_t dataset) {
  const hdf5::Handle type(H5Dget_type(dataset), H5Tclose);
  return H5Tget_sign(type.id()) == H5T_SGN_2 ? H5T_NATIVE_INT16 : H5T_NATIVE_UINT16;
}

}  // namespace

std::unique_ptr<TensorFile> open_hdf5_tensor(const TensorLocation& location) {
  const std::string shown = location.file.string();
  if (location.tensor.empty()) throw_input("{} is an HDF5 file; the config names no 'tensor' (dataset) in it", shown);
  hdf5::Handle file = hdf5::open_file(location.file);
  hdf5::Handle dataset = hdf5::open_dataset(file.id(), location.tensor, shown);
  const std::string where = shown + ":" + location.tensor;
  const hdf5::DatasetInfo info = hdf5::dataset_info(dataset.id(), where);
  require_matrix(info.shape, where);
  const bool is_words = info.type_class == H5T_INTEGER && info.element_bytes == 2;
  if (location.is_bfloat16 && !is_words)
    throw_input("{} does not hold 16-bit integers; \"dtype\": \"bfloat16\" expects them", where);
  if (!location.is_bfloat16 && info.type_class != H5T_FLOAT)
    throw_input("{} does not hold floating-point numbers (HDF5 type class {}); expected them{}", where,
                static_cast<int>(info.type_class), is_words ? ", or \"dtype\": \"bfloat16\"" : "");
  hdf5::require_numbers(dataset.id(), info, where);
  std::optional<hid_t> word_type;
  if (location.is_bfloat16) word_type = word_type_of(dataset.id());
  return std::make_unique<Hdf5Tensor>(std::move(file), std::move(dataset), info.shape, word_type, where);
}

}  // namespace gpfq::formats
