// SPDX-License-Identifier: Apache-2.0
// One tensor of a .safetensors file.
#include <fmt/format.h>

#include <vector>

#include "formats/safetensors_header.hpp"
#include "formats/tensor_readers.hpp"
#include "gpfq/base/error.hpp"
#include "gpfq/base/text.hpp"

namespace gpfq::formats {
namespace {

NumberFormat format_of(const std::string& type, const std::string& where) {
  if (type == "F16") return NumberFormat::float16;
  if (type == "BF16") return NumberFormat::bfloat16;
  if (type == "F32") return NumberFormat::float32;
  if (type == "F64") return NumberFormat::float64;
  throw_input("{} is of type {}; expected F16, BF16, F32 or F64", where, type);
}

[[noreturn]] void throw_missing(const SafetensorsHeader& header, const TensorLocation& location) {
  std::vector<std::string> names;
  for (const auto& [name, entry] : header.tensors) names.push_back(name);
  const std::string meant = nearest_word(location.tensor, names);
  throw_input("{} has no tensor '{}', of {}{}", location.file.string(), location.tensor, names.size(),
              meant.empty() ? "" : fmt::format("; did you mean '{}'?", meant));
}

}  // namespace

std::unique_ptr<TensorFile> open_safetensors(const TensorLocation& location) {
  auto file = std::make_unique<ByteFile>(location.file);
  const SafetensorsHeader header = read_safetensors_header(*file, location.file.string());
  const auto found = header.tensors.find(location.tensor);
  if (found == header.tensors.end()) throw_missing(header, location);
  const SafetensorsEntry& entry = found->second;
  const std::string where = location.file.string() + ":" + location.tensor;
  const NumberFormat format = format_of(entry.type, where);
  if (location.is_bfloat16 && format != NumberFormat::bfloat16)
    throw_input("{} is of type {}; the config says \"dtype\": \"bfloat16\"", where, entry.type);
  return std::make_unique<PackedTensor>(std::move(file), format, entry.shape, header.data_begin + entry.begin,
                                        header.data_begin + entry.end, where);
}

}  // namespace gpfq::formats
