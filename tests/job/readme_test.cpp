// SPDX-License-Identifier: Apache-2.0
// The README's table of config keys is the program's: one table in the code makes both.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "gpfq/job/config.hpp"

TEST(Readme, HoldsTheTableOfConfigKeysAsTheProgramPrintsIt) {
  std::ifstream file(GPFQ_README);
  ASSERT_TRUE(file) << GPFQ_README;
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_NE(text.str().find(gpfq::job::config_markdown()), std::string::npos) << "replace the table in the README by\n"
                                                                              << gpfq::job::config_markdown();
}
