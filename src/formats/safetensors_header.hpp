// SPDX-License-Identifier: Apache-2.0
// The header of a .safetensors file: which tensor lies where.
#pragma once

#include <map>
#include <string>

#include "formats/byte_file.hpp"

namespace gpfq::formats {

/// One tensor as the header describes it. The bytes are counted from the end of the header.
struct SafetensorsEntry {
  std::string type;  ///< "F32", "BF16", ...
  Shape shape;
  Index begin = 0;
  Index end = 0;
};

struct SafetensorsHeader {
  std::map<std::string, SafetensorsEntry> tensors;
  Index data_begin = 0;  ///< byte of the file
};

/// Reads and checks the header: 8 bytes of length, then JSON. Memory: the header's text and one entry per tensor.
/// Format: huggingface.co/docs/safetensors, whose limit of 100 MB for the header holds here too.
/// @throws Error (input) naming the file: longer than the file or the limit, not JSON of that form, offsets that do
/// not lie in the file or overlap.
[[nodiscard]] SafetensorsHeader read_safetensors_header(const ByteFile& file, const std::string& where);

}  // namespace gpfq::formats
