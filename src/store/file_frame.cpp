// SPDX-License-Identifier: Apache-2.0
#include "gpfq/store/file_frame.hpp"

#include <algorithm>
#include <fstream>
#include <system_error>

#include "gpfq/base/digest.hpp"
#include "gpfq/base/error.hpp"

namespace gpfq::store {
namespace {

constexpr Index piece_bytes = Index{1} << 20;

Index size_of(const std::filesystem::path& path) {
  std::error_code code;
  const std::uintmax_t size = std::filesystem::file_size(path, code);
  if (code) throw_input("{} cannot be read: {}", path.string(), code.message());
  return static_cast<Index>(size);
}

std::string digest_outside(const std::filesystem::path& path, Index size, const std::vector<FileRange>& holes) {
  std::ifstream file(path, std::ios::binary);
  Sha256 digest;
  std::vector<char> piece(static_cast<std::size_t>(std::min(size, piece_bytes)));
  const auto add = [&](Index begin, Index end) {
    file.seekg(begin);
    for (; begin < end && file; begin += piece_bytes) {
      const Index bytes = std::min(piece_bytes, end - begin);
      file.read(piece.data(), bytes);
      if (file) digest.update(piece.data(), bytes);
    }
  };
  Index at = 0;
  for (const FileRange& hole : holes) {
    add(at, std::clamp(hole.begin, at, size));
    at = std::clamp(hole.begin + hole.bytes, at, size);
  }
  add(at, size);
  if (!file) throw_input("{} cannot be read", path.string());
  return digest.finish();
}

}  // namespace

FileFrame take_frame(const std::filesystem::path& path, std::vector<FileRange> holes) {
  std::sort(holes.begin(), holes.end(), [](const FileRange& a, const FileRange& b) { return a.begin < b.begin; });
  FileFrame frame{size_of(path), std::move(holes), ""};
  frame.sha256 = digest_outside(path, frame.size, frame.holes);
  return frame;
}

void check_frame(const std::filesystem::path& path, const FileFrame& frame) {
  const Index size = size_of(path);
  if (size != frame.size)
    throw_input("{} has {} bytes, the checkpoint expects {}: it was truncated or written to", path.string(), size,
                frame.size);
  const std::string digest = digest_outside(path, size, frame.holes);
  if (digest != frame.sha256)
    throw_input("{} is damaged: its headers have SHA-256 {:.12}, the checkpoint expects {:.12}", path.string(), digest,
                frame.sha256);
}

}  // namespace gpfq::store
