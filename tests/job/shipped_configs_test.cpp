// SPDX-License-Identifier: Apache-2.0
// The configs that users copy are valid: keys, values and rules, without the files that they name.
#include <gtest/gtest.h>

#include <filesystem>

#include "gpfq/job/config.hpp"

namespace gpfq::job {
namespace {

TEST(ShippedConfigs, AreValid) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(GPFQ_CONFIGS)) {
    if (entry.path().extension() != ".json") continue;
    SCOPED_TRACE(entry.path().filename().string());
    EXPECT_NO_THROW({
      const Config config = parse_config(load_config_text(entry.path(), {}), GPFQ_CONFIGS, entry.path().filename().string());
      EXPECT_GE(config.settings_for("any").levels, 2);
    });
    ++count;
  }
  EXPECT_GE(count, 6);
}

}  // namespace
}  // namespace gpfq::job
