// SPDX-License-Identifier: Apache-2.0
// What all kinds of files share: bounds, transposition, the choice of the reader, sources of weights.
#include "gpfq/formats/tensor_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "formats/tensor_readers.hpp"
#include "gpfq/base/aligned_buffer.hpp"
#include "gpfq/base/error.hpp"
#include "gpfq/hdf5/handle.hpp"

namespace gpfq::formats {
namespace {

constexpr Index band_floats = Index{1} << 18;    // of a band of rows that is transposed at a time
constexpr Index batch_numbers = Index{1} << 14;  // converted at a time

/// A weight file from the first row that is asked for until it is released.
struct OpenWeight {
  std::unique_ptr<TensorFile> file;
  AlignedBuffer<float> strip;  ///< transposed: rows of the result that were read together
  Range in_strip;
};

void check_finite(const TensorFile& file, bool is_transposed, Index first, Index count, const float* values) {
  const Index columns = file.shape()[is_transposed ? 0 : 1];
  const float* end = values + count * columns;
  const float* bad = std::find_if(values, end, [](float value) { return !std::isfinite(value); });
  if (bad == end) return;
  const Index neuron = first + (bad - values) / columns;
  const Index input = (bad - values) % columns;
  throw_input("{} holds {} for neuron {}, input {}: weights must be finite", file.where(), *bad, neuron, input);
}

void read_strip(OpenWeight& weight, Index row, Index strip_rows) {
  const Shape& shape = weight.file->shape();
  weight.in_strip = {row, std::min(shape[1], row + strip_rows)};
  if (weight.strip.size() == 0) weight.strip = AlignedBuffer<float>(std::min(strip_rows, shape[1]) * shape[0]);
  weight.file->read_columns(row, weight.in_strip.size(), weight.file->shape()[0], weight.strip.data());
  check_finite(*weight.file, true, row, weight.in_strip.size(), weight.strip.data());
}

void read_weight_rows(OpenWeight& weight, bool is_transposed, Index strip_rows, Index first, Index count, float* out) {
  if (!is_transposed) {
    weight.file->read_rows(first, count, out);
    check_finite(*weight.file, false, first, count, out);
    return;
  }
  const Index inputs = weight.file->shape()[0];
  for (Index row = first; row < first + count;) {
    if (row < weight.in_strip.begin || row >= weight.in_strip.end) read_strip(weight, row, strip_rows);
    const Index end = std::min(first + count, weight.in_strip.end);
    out = std::copy_n(weight.strip.data() + (row - weight.in_strip.begin) * inputs, (end - row) * inputs, out);
    row = end;
  }
}

}  // namespace

void require_matrix(const Shape& shape, const std::string& where) {
  if (shape.size() != 2 || shape[0] < 1 || shape[1] < 1)
    throw_input("{} has shape {}; expected a matrix with at least one row and one column", where, to_string(shape));
  try {
    static_cast<void>(element_count(shape));
  } catch (const Error& error) {
    throw_input("{}: {}", where, error.what());
  }
}

void TensorFile::read_rows(Index first, Index count, float* out) const {
  require(first >= 0 && count >= 0 && first + count <= shape_[0], "TensorFile::read_rows: out of range");
  if (count > 0) read_box({first, first + count}, {0, shape_[1]}, out);
}

void TensorFile::read_columns(Index first, Index count, Index rows, float* out) const {
  require(first >= 0 && count >= 0 && first + count <= shape_[1] && rows >= 0 && rows <= shape_[0],
          "TensorFile::read_columns: out of range");
  if (count == 0 || rows == 0) return;
  constexpr Index square = 32;  // of a transposition that keeps to the cache
  const Index band = std::clamp<Index>(band_floats / count, 1, rows);
  std::vector<float> packed(static_cast<std::size_t>(band * count));
  for (Index begin = 0; begin < rows; begin += band) {
    const Range part{begin, std::min(rows, begin + band)};
    read_box(part, {first, first + count}, packed.data());
    for (Index left = 0; left < count; left += square)
      for (Index top = 0; top < part.size(); top += square)
        for (Index column = left; column < std::min(count, left + square); ++column)
          for (Index row = top; row < std::min(part.size(), top + square); ++row)
            out[column * rows + begin + row] = packed[static_cast<std::size_t>(row * count + column)];
  }
}

PackedTensor::PackedTensor(std::unique_ptr<ByteFile> file, NumberFormat format, Shape shape, Index begin, Index end,
                           std::string where)
    : TensorFile(std::move(shape), std::move(where)), file_(std::move(file)), format_(format), begin_(begin) {
  require(begin >= 0 && begin <= end && end <= file_->size(), "PackedTensor: the bytes lie in the file");
  require_matrix(this->shape(), this->where());
  const Index count = element_count(this->shape());
  const Index bytes = bytes_of(format);
  if ((end - begin) % bytes != 0 || count != (end - begin) / bytes)
    throw_input("{} has {} bytes of values; its shape {} needs {} times {}", this->where(), end - begin,
                to_string(this->shape()), count, bytes);
}

void PackedTensor::read_run(Index first, Index count, float* out) const {
  const Index bytes = bytes_of(format_);
  if (format_ == NumberFormat::float32)
    return file_->read(begin_ + first * bytes, count * bytes, reinterpret_cast<char*>(out));
  std::vector<char> packed(static_cast<std::size_t>(std::min(count, batch_numbers) * bytes));
  for (Index done = 0; done < count; done += batch_numbers) {
    const Index part = std::min(batch_numbers, count - done);
    file_->read(begin_ + (first + done) * bytes, part * bytes, packed.data());
    to_float32(format_, packed.data(), part, out + done);
  }
}

void PackedTensor::read_box(Range rows, Range columns, float* out) const {
  const Index row_size = shape()[1];
  if (columns.size() == row_size) return read_run(rows.begin * row_size, rows.size() * row_size, out);
  for (Index row = rows.begin; row < rows.end; ++row, out += columns.size())
    read_run(row * row_size + columns.begin, columns.size(), out);
}

std::unique_ptr<TensorFile> open_tensor(const TensorLocation& location) {
  constexpr std::string_view npy_magic = "\x93NUMPY";
  const std::string shown = location.file.string();
  std::error_code code;
  if (!std::filesystem::exists(location.file, code)) throw_input("file '{}' does not exist", shown);
  std::string start(npy_magic.size(), '\0');
  {
    const ByteFile file(location.file);
    start.resize(static_cast<std::size_t>(std::min<Index>(file.size(), static_cast<Index>(start.size()))));
    file.read(0, static_cast<Index>(start.size()), start.data());
  }
  if (start == npy_magic) return open_npy(location);
  if (hdf5::is_hdf5(location.file)) return open_hdf5_tensor(location);
  if (location.file.extension() == ".safetensors") return open_safetensors(location);
  throw_input("'{}' is none of the files that tensors are read from: .npy, .safetensors, HDF5", shown);
}

net::TensorSource weight_source(const TensorLocation& location, const Shape& file_shape, bool is_transposed,
                                Index strip_rows) {
  Shape shape = file_shape;
  if (is_transposed) std::swap(shape[0], shape[1]);
  require(strip_rows >= 1, "weight_source: strips of at least one row");
  const auto weight = std::make_shared<OpenWeight>();
  return {shape, [=](Index first, Index count, float* out) {
            require(first >= 0 && count >= 0 && first + count <= shape[0], "tensor source: rows out of range");
            if (!weight->file) weight->file = open_tensor(location);
            if (weight->file->shape() != file_shape)
              throw_input("{} has shape {} now, and had {} before", weight->file->where(),
                          to_string(weight->file->shape()), to_string(file_shape));
            read_weight_rows(*weight, is_transposed, strip_rows, first, count, out);
          },
          [weight] { *weight = OpenWeight(); }};
}

}  // namespace gpfq::formats
