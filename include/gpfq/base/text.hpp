// SPDX-License-Identifier: Apache-2.0
// Text that several rooms read or print: sizes in bytes and the name that somebody meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "gpfq/base/types.hpp"

namespace gpfq {

/// The candidate nearest to `word` by edit distance; empty when none is near (more than half of it differs).
[[nodiscard]] std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates);

/// The text, or its beginning and "..." where it is longer: for messages that quote files.
[[nodiscard]] std::string excerpt(std::string_view text, std::size_t most_bytes = 120);

/// "4GiB", "512 MiB", "1.5GB", "1048576" in bytes.
/// @param prefix  of the message: what the text is
/// @throws Error (input) quoting the text.
[[nodiscard]] Index parse_bytes(const std::string& text, const std::string& prefix = "");

/// "4.0 GiB".
[[nodiscard]] std::string format_bytes(Index bytes);

}  // namespace gpfq
