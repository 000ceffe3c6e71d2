// SPDX-License-Identifier: Apache-2.0
// Tensors of an ONNX file: where their bytes are (raw, typed field, external file), checked against
// what is really there, and their conversion to float32.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "formats/byte_file.hpp"
#include "formats/float_check.hpp"
#include "formats/number_format.hpp"
#include "formats/onnx_file.hpp"
#include "formats/unsupported.hpp"
#include "gpfq/base/error.hpp"

namespace gpfq::formats::onnx_reader {

static_assert(std::endian::native == std::endian::little, "raw_data is little-endian and read as it is");

namespace fs = std::filesystem;

/// How one element is written. The wide forms are 16-bit floats in protobuf's int32_data.
enum class Encoding { float32, float64, float16, bfloat16, float16_wide, bfloat16_wide, int64, int32 };

struct TensorBytes {
  std::shared_ptr<const OnnxFile> file;  ///< keeps `embedded` alive
  std::string name;
  Encoding encoding = Encoding::float32;
  const char* embedded = nullptr;                ///< where the model holds the values, or
  std::shared_ptr<const ByteFile> external;      ///< the file that does,
  Index offset = 0;                              ///< from this byte on

  void read(Index first_byte, Index size, char* out) const {
    if (size == 0) return;  // an empty tensor has no memory to copy to
    if (external) {
      external->read(offset + first_byte, size, out);
    } else {
      std::memcpy(out, embedded + first_byte, static_cast<std::size_t>(size));
    }
  }
};

namespace {

constexpr Index most_values_held = Index{1} << 24;  // other than weights, which are never held
constexpr Index conversion_batch = 4096;  // elements converted at a time, on the stack of read()

Index size_of(Encoding encoding) {
  switch (encoding) {
    case Encoding::float64:
    case Encoding::int64:
      return 8;
    case Encoding::float16:
    case Encoding::bfloat16:
      return 2;
    default:
      return 4;
  }
}

Encoding encoding_of(const onnx::TensorProto& tensor) {
  const bool is_wide = tensor.data_location() != onnx::TensorProto::EXTERNAL && !tensor.has_raw_data();
  switch (tensor.data_type()) {
    case onnx::TensorProto::FLOAT:
      return Encoding::float32;
    case onnx::TensorProto::DOUBLE:
      return Encoding::float64;
    case onnx::TensorProto::FLOAT16:
      return is_wide ? Encoding::float16_wide : Encoding::float16;
    case onnx::TensorProto::BFLOAT16:
      return is_wide ? Encoding::bfloat16_wide : Encoding::bfloat16;
    case onnx::TensorProto::INT64:
      return Encoding::int64;
    case onnx::TensorProto::INT32:
      return Encoding::int32;
    default:
      throw_input("tensor '{}' is of data type {}; expected float32, float16, bfloat16 or float64", tensor.name(),
                  onnx::TensorProto::DataType_Name(static_cast<onnx::TensorProto::DataType>(tensor.data_type())));
  }
}

/// The file of external data, which must lie inside the model's folder, however it is named.
fs::path external_path(const fs::path& model, const std::string& location, const std::string& tensor) {
  const fs::path relative(location);
  const bool climbs = std::find(relative.begin(), relative.end(), fs::path("..")) != relative.end();
  if (location.empty() || relative.is_absolute() || climbs || location.find('\0') != std::string::npos) {
    throw_input("tensor '{}': external data lie at '{}'; expected a path inside the model's folder", tensor, location);
  }
  std::error_code code;
  const fs::path folder = fs::canonical(model.has_parent_path() ? model.parent_path() : fs::path("."), code);
  if (code) throw_input("the model's folder cannot be resolved: {}", code.message());
  const fs::path resolved = fs::canonical(folder / relative, code);
  if (code) throw_input("tensor '{}': external data '{}': {}", tensor, location, code.message());
  if (std::mismatch(folder.begin(), folder.end(), resolved.begin(), resolved.end()).first != folder.end()) {
    throw_input("tensor '{}': external data '{}' lead out of the model's folder", tensor, location);
  }
  if (!fs::is_regular_file(resolved)) throw_input("tensor '{}': external data '{}' are no file", tensor, location);
  return resolved;
}

Index parse_size(const std::string& text, const std::string& key, const std::string& tensor) {
  Index value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) {
    throw_input("tensor '{}': external data have the {} '{}'; expected a number of bytes", tensor, key, text);
  }
  return value;
}

void locate_external(const onnx::TensorProto& tensor, Index size, TensorBytes& bytes) {
  std::string location;
  Index length = size;
  for (const onnx::StringStringEntryProto& entry : tensor.external_data()) {
    if (entry.key() == "location") location = entry.value();
    if (entry.key() == "offset") bytes.offset = parse_size(entry.value(), "offset", tensor.name());
    if (entry.key() == "length") length = parse_size(entry.value(), "length", tensor.name());
  }
  if (length != size) {
    throw_input("tensor '{}': external data of {} bytes; its shape needs {}", tensor.name(), length, size);
  }
  const fs::path path = external_path(bytes.file->path, location, tensor.name());
  std::error_code code;
  const std::uintmax_t available = fs::file_size(path, code);
  if (code || static_cast<std::uintmax_t>(bytes.offset) > available ||
      static_cast<std::uintmax_t>(size) > available - static_cast<std::uintmax_t>(bytes.offset)) {
    throw_input("tensor '{}': needs bytes {} to {} of external data '{}', which has {}", tensor.name(), bytes.offset,
                static_cast<std::uintmax_t>(bytes.offset) + static_cast<std::uintmax_t>(size), location,
                code ? 0 : available);
  }
  bytes.external = std::make_shared<ByteFile>(path, "external data");
  bytes.file->external_files.insert(path);
}

/// The typed field of an embedded tensor; checks that it holds `count` values.
const char* typed_field(const onnx::TensorProto& tensor, Encoding encoding, Index count) {
  const auto begin_of = [&](const auto& field) {
    if (field.size() != count) {
      throw_input("tensor '{}' has {} values; its shape {} needs {}", tensor.name(), field.size(),
                  to_string(shape_of(tensor)), count);
    }
    return reinterpret_cast<const char*>(field.data());
  };
  switch (encoding) {
    case Encoding::float32:
      return begin_of(tensor.float_data());
    case Encoding::float64:
      return begin_of(tensor.double_data());
    case Encoding::int64:
      return begin_of(tensor.int64_data());
    default:
      return begin_of(tensor.int32_data());
  }
}

std::shared_ptr<const TensorBytes> locate(const std::shared_ptr<const OnnxFile>& file,
                                          const onnx::TensorProto& tensor) {
  auto bytes = std::make_shared<TensorBytes>();
  bytes->file = file;
  bytes->name = tensor.name();
  bytes->encoding = encoding_of(tensor);
  if (tensor.has_segment()) throw_input("tensor '{}' is split into segments, which is not supported", tensor.name());
  const Index count = element_count(shape_of(tensor));
  if (count > std::numeric_limits<Index>::max() / 16) throw_input("tensor '{}' claims {} values", tensor.name(), count);
  const Index size = count * size_of(bytes->encoding);
  if (tensor.data_location() == onnx::TensorProto::EXTERNAL) {
    locate_external(tensor, size, *bytes);
  } else if (tensor.has_raw_data()) {
    if (static_cast<Index>(tensor.raw_data().size()) != size) {
      throw_input("tensor '{}' has {} bytes; its shape {} needs {}", tensor.name(), tensor.raw_data().size(),
                  to_string(shape_of(tensor)), size);
    }
    bytes->embedded = tensor.raw_data().data();
  } else {
    bytes->embedded = typed_field(tensor, bytes->encoding, count);
  }
  return bytes;
}

void convert(Encoding encoding, const char* from, Index count, float* out) {
  const auto each = [&](auto&& element) {
    const Index step = size_of(encoding);
    for (Index i = 0; i < count; ++i) out[i] = element(from + i * step);
  };
  switch (encoding) {
    case Encoding::float32:
      std::memcpy(out, from, static_cast<std::size_t>(count) * sizeof(float));
      return;
    case Encoding::float64:
      return each([](const char* at) { return static_cast<float>(load<double>(at)); });
    case Encoding::float16:
      return each([](const char* at) { return from_float16(load<std::uint16_t>(at)); });
    case Encoding::bfloat16:
      return each([](const char* at) { return from_bfloat16(load<std::uint16_t>(at)); });
    case Encoding::float16_wide:
      return each([](const char* at) { return from_float16(load<std::uint32_t>(at) & 0xFFFFU); });
    case Encoding::bfloat16_wide:
      return each([](const char* at) { return from_bfloat16(load<std::uint32_t>(at) & 0xFFFFU); });
    case Encoding::int64:
    case Encoding::int32:
      throw_fault("integer tensors are not converted to float32");
  }
}

void scale(float* values, Index count, double factor) {
  if (factor == 1.0) return;
  for (Index i = 0; i < count; ++i) values[i] = static_cast<float>(factor * static_cast<double>(values[i]));
}

}  // namespace

Shape shape_of(const onnx::TensorProto& tensor) {
  for (const Index extent : tensor.dims()) {
    if (extent < 0) throw_input("tensor '{}' has an extent of {}", tensor.name(), extent);
  }
  return {tensor.dims().begin(), tensor.dims().end()};
}

bool is_floating(const onnx::TensorProto& tensor) { return is_floating_type(tensor.data_type()); }

bool is_floating_type(Index data_type) {
  switch (data_type) {
    case onnx::TensorProto::FLOAT:
    case onnx::TensorProto::DOUBLE:
    case onnx::TensorProto::FLOAT16:
    case onnx::TensorProto::BFLOAT16:
      return true;
    default:
      return false;
  }
}

TensorValues::TensorValues(const std::shared_ptr<const OnnxFile>& file, const onnx::TensorProto& tensor)
    : bytes_(locate(file, tensor)), shape_(shape_of(tensor)) {
  if (!is_floating(tensor)) throw_input("tensor '{}' holds integers; expected floating-point values", tensor.name());
}

void TensorValues::read_batch(Index first, Index count, float* out) const {
  const Index step = size_of(bytes_->encoding);
  char buffer[conversion_batch * 8];
  bytes_->read(first * step, count * step, buffer);
  convert(bytes_->encoding, buffer, count, out);
}

float TensorValues::first_value() const {
  require(element_count(shape_) > 0, "tensor without a value");
  float value = 0;
  read_batch(0, 1, &value);
  return value;
}

void TensorValues::read(Index first, Index count, float* out) const {
  for (Index done = 0; done < count; done += conversion_batch) {
    const Index batch = std::min(conversion_batch, count - done);
    read_batch(first + done, batch, out + done);
    require_finite({out + done, static_cast<std::size_t>(batch)}, first + done, shape_, bytes_->name,
                   bytes_->file->path.string());
  }
}

net::TensorSource matrix_source(const std::shared_ptr<const OnnxFile>& file, const Constant& constant, bool transpose,
                                double factor) {
  const TensorValues values(file, *constant.tensor);
  const Shape shape = constant.stored_shape();
  if (shape.size() != 2) {
    throw_input("tensor '{}' has shape {}; expected a matrix", constant.tensor->name(), to_string(shape));
  }
  const Index stored_rows = shape[0];
  const Index stored_columns = shape[1];
  if (transpose == constant.is_transposed) {
    return {shape, [=](Index first, Index count, float* out) {
              require(first >= 0 && count >= 0 && first + count <= stored_rows, "tensor source: rows out of range");
              values.read(first * stored_columns, count * stored_columns, out);
              scale(out, count * stored_columns, factor);
            }};
  }
  // Row r of the result is column r of what is stored: one strip of each stored row holds the rows asked for.
  return {{stored_columns, stored_rows}, [=](Index first, Index count, float* out) {
            require(first >= 0 && count >= 0 && first + count <= stored_columns, "tensor source: rows out of range");
            std::vector<float> strip(static_cast<std::size_t>(count));
            for (Index k = 0; k < stored_rows; ++k) {
              values.read(k * stored_columns + first, count, strip.data());
              for (Index r = 0; r < count; ++r) out[r * stored_rows + k] = strip[static_cast<std::size_t>(r)];
            }
            scale(out, count * stored_rows, factor);
          }};
}

net::TensorSource rows_source(const std::shared_ptr<const OnnxFile>& file, const Constant& constant) {
  const TensorValues values(file, *constant.tensor);
  const Shape shape = constant.stored_shape();
  if (constant.is_transposed || shape.empty()) throw Unsupported("with a transposed constant, or one number");
  const Index rows = shape.front();
  const Index row_size = element_count({shape.begin() + 1, shape.end()});
  return {shape, [=](Index first, Index count, float* out) {
            require(first >= 0 && count >= 0 && first + count <= rows, "tensor source: rows out of range");
            values.read(first * row_size, count * row_size, out);
          }};
}

std::vector<float> read_floats(const std::shared_ptr<const OnnxFile>& file, const onnx::TensorProto& tensor) {
  const TensorValues values(file, tensor);
  file->values_held += element_count(values.shape());
  if (file->values_held > most_values_held)
    throw_input("tensor '{}': biases, factors and statistics hold more than {} values in all", tensor.name(),
                most_values_held);
  std::vector<float> result(static_cast<std::size_t>(element_count(values.shape())));
  values.read(0, static_cast<Index>(result.size()), result.data());
  return result;
}

std::vector<Index> read_integers(const std::shared_ptr<const OnnxFile>& file, const onnx::TensorProto& tensor) {
  const std::shared_ptr<const TensorBytes> bytes = locate(file, tensor);
  const Index step = size_of(bytes->encoding);
  const Index count = element_count(shape_of(tensor));
  if (bytes->encoding != Encoding::int64 && bytes->encoding != Encoding::int32) {
    throw_input("tensor '{}' holds no integers", tensor.name());
  }
  std::vector<char> buffer(static_cast<std::size_t>(count * step));
  bytes->read(0, count * step, buffer.data());
  std::vector<Index> result(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < result.size(); ++i) {
    const char* at = buffer.data() + static_cast<Index>(i) * step;
    result[i] = step == 8 ? load<std::int64_t>(at) : load<std::int32_t>(at);
  }
  return result;
}

}  // namespace gpfq::formats::onnx_reader
