// SPDX-License-Identifier: Apache-2.0
// The products that all neurons share against plain double sums, and the checks that keep values
// out which single precision cannot multiply.
#include "gpfq/quant/input_block.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "path_data.hpp"
#include "support/errors.hpp"

namespace gpfq::quant {
namespace {

/// Σ_i a_i b_i in double and the rounding bound of the float product: of m + 2 roundings (m products and sums in any
/// order, the result as float), each relative to Σ|a_i b_i|.
void expect_product(float found, const Eigen::VectorXf& a, const Eigen::VectorXf& b, const std::string& where) {
  const double expected = a.cast<double>().dot(b.cast<double>());
  const double scale = a.cast<double>().cwiseAbs().dot(b.cast<double>().cwiseAbs());
  EXPECT_NEAR(found, expected, static_cast<double>(a.size() + 2) * 0x1p-24 * scale) << where;
}

/// Blocks of 5 over 13 inputs: two full ones and one of 3, through one InputBlock. Samples are no multiple of 16, so
/// padding rows lie between the columns.
TEST(InputBlock, ProductsMatchDouble) {
  for (const bool shared : {false, true}) {
    for (const Index samples : {1, 15, 16, 75, 100}) {
      for (const Index chunk : {16, 32, 2048}) {
        const PathData data = random_data(samples, 13, 1, 3, shared, 41);
        Cut cut;
        cut.block_width = 5;
        cut.sample_chunk = chunk;
        InputBlock block(path_shape(data, cut));
        for (Index first = 0; first < 13; first += 5) {
          const Index count = std::min<Index>(5, 13 - first);
          fill_block(data, first, count, block);
          block.form_products(1);
          ASSERT_EQ(block.count(), count);
          for (Index t = 0; t < count; ++t) {
            const Eigen::VectorXf Xq = data.Xq.col(first + t);
            for (Index s = 0; s <= t; ++s) {
              const std::string where = fmt::format("samples {}, chunk {}, {}, {}", samples, chunk, first + t, s);
              expect_product(block.G()[t * count + s], Xq, data.Xq.col(first + s), "G, " + where);
              expect_product(block.C()[t * count + s], Xq, data.X.col(first + s), "C, " + where);
            }
            EXPECT_EQ(block.quantized_bound(t), Xq.cwiseAbs().maxCoeff());
            EXPECT_EQ(block.analog_bound(t), data.X.col(first + t).cwiseAbs().maxCoeff());
            const float norm = block.G()[t * count + t];
            EXPECT_EQ(block.inverse_norm()[t], norm > 0 ? 1.0F / norm : 0.0F);
          }
        }
      }
    }
  }
}

TEST(InputBlock, SharedMeansOneSetOfValues) {
  const PathData shared = random_data(20, 4, 1, 3, true, 42);
  InputBlock block(path_shape(shared, {}));
  fill_block(shared, 0, 4, block);
  EXPECT_EQ(block.analog(), block.quantized());
  block.form_products(1);
  EXPECT_EQ(block.C(), block.G());
  const PathData apart = random_data(20, 4, 1, 3, false, 42);
  InputBlock two(path_shape(apart, {}));
  fill_block(apart, 0, 4, two);
  EXPECT_EQ(two.analog() - two.quantized(), 4 * two.shape().stride());
  EXPECT_LT(InputBlock::bytes(block.shape()), InputBlock::bytes(two.shape()));
}

/// Small chunks and wide blocks: threads spend about as long adding to the shared sum as on their products.
TEST(InputBlock, ThreadsDoNotChangeABit) {
  constexpr Index width = 48;
  const PathData data = random_data(6400, width, 1, 3, false, 43);
  const PathShape shape = path_shape(data, {width, 16, 16, 1});  // 400 chunks
  InputBlock one(shape);
  fill_block(data, 0, width, one);
  one.form_products(1);
  for (int trial = 0; trial < 10; ++trial) {
    InputBlock several(shape);
    fill_block(data, 0, width, several);
    several.form_products(4);
    for (Index i = 0; i < width * width; ++i) {
      ASSERT_EQ(several.G()[i], one.G()[i]) << "trial " << trial;
      ASSERT_EQ(several.C()[i], one.C()[i]) << "trial " << trial;
    }
  }
}

/// Columns of very different size in one block: each entry is as accurate as its own columns allow.
TEST(InputBlock, WideRangesKeepTheirAccuracy) {
  PathData data = random_data(60, 6, 1, 3, false, 44);
  const float scales[] = {1e-15F, 1.0F, 1e14F, 1e-8F, 3e7F, 1e-3F};
  for (Index t = 0; t < 6; ++t) {
    data.Xq.col(t) *= scales[t];
    data.X.col(t) *= scales[5 - t];
  }
  Cut cut;
  cut.block_width = 6;
  cut.sample_chunk = 16;
  InputBlock block(path_shape(data, cut));
  fill_block(data, 0, 6, block);
  block.form_products(1);
  for (Index t = 0; t < 6; ++t) {
    for (Index s = 0; s <= t; ++s) {
      expect_product(block.G()[t * 6 + s], data.Xq.col(t), data.Xq.col(s), fmt::format("G {}, {}", t, s));
      expect_product(block.C()[t * 6 + s], data.Xq.col(t), data.X.col(s), fmt::format("C {}, {}", t, s));
    }
  }
}

TEST(InputBlock, FindsUnusableValuesWhereTheyAre) {
  for (const bool shared : {false, true}) {
    const PathData data = random_data(37, 4, 1, 3, shared, 45);
    InputBlock block(path_shape(data, {}));
    const Index stride = block.shape().stride();
    const auto found_with = [&](float* values, Index sample, Index input, float value) {
      values[input * stride + sample] = value;
      return block.find_unusable();
    };
    for (const float bad : {std::nanf(""), HUGE_VALF, -HUGE_VALF, 1.1e15F, -3e38F}) {
      for (const Index sample : {0, 15, 16, 36}) {
        for (Index input = 0; input < 4; ++input) {
          fill_block(data, 0, 4, block);
          EXPECT_EQ(block.find_unusable(), std::nullopt);
          EXPECT_EQ(found_with(block.quantized(), sample, input, bad), (std::pair{sample, input})) << bad;
          fill_block(data, 0, 4, block);
          EXPECT_EQ(found_with(block.analog(), sample, input, bad), (std::pair{sample, input})) << bad;
        }
      }
    }
    fill_block(data, 0, 4, block);
    EXPECT_EQ(found_with(block.quantized(), 3, 2, 1e15F), std::nullopt);  // the largest that is allowed
    EXPECT_EQ(found_with(block.quantized(), 3, 2, 0.0F), std::nullopt);
    found_with(block.quantized(), 30, 1, HUGE_VALF);
    EXPECT_EQ(found_with(block.quantized(), 9, 1, std::nanf("")), (std::pair<Index, Index>{9, 1})) << "the first";
  }
}

/// A shorter block leaves old values behind its columns: they are not looked at.
TEST(InputBlock, ForgetsTheColumnsOfALongerBlock) {
  const PathData data = random_data(20, 5, 1, 3, false, 46);
  InputBlock block(path_shape(data, {}));
  fill_block(data, 0, 5, block);
  block.quantized()[4 * block.shape().stride()] = std::nanf("");
  block.analog()[4 * block.shape().stride()] = std::nanf("");
  fill_block(data, 0, 2, block);
  EXPECT_EQ(block.find_unusable(), std::nullopt);
  block.form_products(1);
  for (Index i = 0; i < 4; ++i) EXPECT_TRUE(std::isfinite(block.G()[i]) && std::isfinite(block.C()[i]));
}

TEST(InputBlock, CountsDeadDirections) {
  PathData data = random_data(20, 7, 1, 3, false, 47);
  data.Xq.col(1).setZero();
  data.Xq.col(4).setConstant(-0.0F);
  data.Xq.col(5).setConstant(1e-25F);  // its squared norm is below float32
  data.Xq.col(6).setConstant(1e-20F);  // its squared norm 2e-39 is not, but one over it is beyond
  data.X.col(2).setZero();             // X alone does not make it dead
  InputBlock block(path_shape(data, {}));
  fill_block(data, 0, 7, block);
  block.form_products(1);
  EXPECT_EQ(block.dead_count(), 4);
  for (const Index dead : {1, 4, 5, 6}) EXPECT_EQ(block.inverse_norm()[dead], 0.0F) << dead;
  for (const Index live : {0, 2, 3}) EXPECT_GT(block.inverse_norm()[live], 0.0F) << live;
  fill_block(data, 2, 2, block);
  block.form_products(1);
  EXPECT_EQ(block.dead_count(), 0);
}

TEST(InputBlock, ChecksItsShape) {
  PathShape shape;
  shape.samples = 10;
  shape.inputs = 3;
  shape.block_width = 2;
  InputBlock block(shape);
  test::fault([&] { block.begin(3); });
  test::fault([&] { block.begin(0); });
  shape.samples = 0;
  test::fault([&] { InputBlock empty(shape); });
}

}  // namespace
}  // namespace gpfq::quant
