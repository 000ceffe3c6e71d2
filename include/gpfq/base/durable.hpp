// SPDX-License-Identifier: Apache-2.0
// What must outlive a power cut: a file's bytes, and its name in its folder.
#pragma once

#include <filesystem>

namespace gpfq {

/// The system may begin to bring a file's bytes to disk, so that sync_file() has less to wait for.
void start_sync(const std::filesystem::path& file);
/// The bytes of a file are on disk. @throws Error (output) when the system says that they cannot be
void sync_file(const std::filesystem::path& file);
/// Names made, renamed or removed in a folder are on disk, where the file system can say so.
void sync_folder(const std::filesystem::path& folder);
/// Both, around a rename. @throws Error (output)
void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace gpfq
