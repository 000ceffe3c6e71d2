// SPDX-License-Identifier: Apache-2.0
// The main of serial tests. Its exit code tells CTest of skipped tests, but never instead of failed ones.
#include <gtest/gtest.h>

int main(int argc, char** argv) {
  constexpr int skip_code = 77;  // SKIP_RETURN_CODE in tests/CMakeLists.txt
  testing::InitGoogleTest(&argc, argv);
  const int result = RUN_ALL_TESTS();
  if (result != 0) return result;
  return testing::UnitTest::GetInstance()->skipped_test_count() > 0 ? skip_code : 0;
}
