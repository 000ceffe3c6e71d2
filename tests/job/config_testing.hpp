// SPDX-License-Identifier: Apache-2.0
// Configs as tests write them, in JSON.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "gpfq/job/config.hpp"
#include "support/errors.hpp"

namespace gpfq::job {

[[nodiscard]] inline Config parse(const nlohmann::json& json) { return parse_config(json.dump(), "/here", "job.json"); }

/// The message for a bad config; it always names the file.
[[nodiscard]] inline std::string refusal(const nlohmann::json& json) {
  const std::string text = test::input_error([&] { static_cast<void>(parse(json)); });
  EXPECT_TRUE(test::mentions(text, "job.json"));
  return text;
}

/// A config for plans and estimates, with `more` merged in (null removes a key).
[[nodiscard]] inline Config config_with(const nlohmann::json& more = nlohmann::json::object()) {
  nlohmann::json json = {{"model", "m"},
                         {"calibration", {{"file", "d"}, {"inputs", "x"}}},
                         {"memory_per_rank", "1TiB"},
                         {"threads", 1},
                         {"quantization", {{"preset", "paper"}}}};
  json.merge_patch(more);
  return parse(json);
}

}  // namespace gpfq::job
