// SPDX-License-Identifier: Apache-2.0
// The config's `layers`: layers that come without a network.
#pragma once

#include "job/config_values.hpp"

namespace gpfq::job {

/// The entries of `layers`, none where the config has a network. @param root  with its keys checked
/// @throws Error (input) naming entry and key; `layers` empty or beside keys that need a network.
[[nodiscard]] std::vector<LayerSource> parse_layers(const Json& root, const std::filesystem::path& folder);

}  // namespace gpfq::job
