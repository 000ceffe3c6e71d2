// SPDX-License-Identifier: Apache-2.0
// Sources over memory: rows come as asked for, and never from outside.
#include "gpfq/net/tensor_source.hpp"

#include <gtest/gtest.h>

#include <numeric>

#include "support/errors.hpp"

namespace gpfq::net {
namespace {

std::vector<float> counting(std::size_t count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), 1.0F);
  return values;
}

TEST(TensorSource, ReadsRowsOfTheFirstDimension) {
  const TensorSource source = make_source({4, 3, 2}, counting(24));
  std::vector<float> rows(12);
  source.read_rows(1, 2, rows.data());
  for (std::size_t i = 0; i < 12; ++i) EXPECT_EQ(rows[i], static_cast<float>(7 + i));
  EXPECT_EQ(read_all(source), counting(24));
}

TEST(TensorSource, VectorsAndScalarsHaveRowsOfOne) {
  const TensorSource vector = make_source({5}, counting(5));
  float value = 0;
  vector.read_rows(3, 1, &value);
  EXPECT_EQ(value, 4.0F);
  EXPECT_EQ(read_all(make_source({}, {7.0F})), std::vector<float>{7.0F});
  EXPECT_TRUE(read_all(make_source({0, 3}, {})).empty());
}

TEST(TensorSource, RefusesRowsOutsideAndWrongCounts) {
  const TensorSource source = make_source({4, 2}, counting(8));
  std::vector<float> room(100);
  test::fault([&] { source.read_rows(3, 2, room.data()); });
  test::fault([&] { source.read_rows(-1, 1, room.data()); });
  test::fault([&] { source.read_rows(0, -1, room.data()); });
  EXPECT_NO_THROW(source.read_rows(4, 0, room.data()));
  test::fault([] { (void)make_source({2, 3}, counting(5)); });
}

}  // namespace
}  // namespace gpfq::net
