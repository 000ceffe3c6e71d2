// SPDX-License-Identifier: Apache-2.0
// The user's data on its way into the network: order of dimensions, scaling per channel, selection.
#include "job/samples.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>

#include "support/data_files.hpp"
#include "support/errors.hpp"
#include "support/temp_folder.hpp"

namespace gpfq::job {
namespace {

using test::input_error;
using test::mentions;

Preprocess plain(Layout layout) { return {1, {0}, {1}, layout}; }

/// A file of four samples whose value j is 100·sample + j.
class NumberedData : public testing::Test {
 protected:
  static constexpr Index samples = 4;

  DataSource make(const Shape& sample_shape) const {
    Shape shape{samples};
    shape.insert(shape.end(), sample_shape.begin(), sample_shape.end());
    std::vector<float> values;
    for (Index i = 0; i < samples; ++i)
      for (Index j = 0; j < element_count(sample_shape); ++j) values.push_back(static_cast<float>(100 * i + j));
    test::write_dataset(folder_ / "data.h5", "x", shape, values);
    return {folder_ / "data.h5", "x", "y", 0, std::nullopt};
  }
  static std::vector<float> sample(const Samples& source, Index index) {
    const net::Batch batch = source.read(index, 1);
    return {batch.values.data(), batch.values.data() + batch.sample_size()};
  }
  test::TempFolder folder_;
};

TEST_F(NumberedData, ChannelsFirstStayOrMoveLast) {
  // Stored (C=2, H=1, W=3): channel 0 is 0 1 2, channel 1 is 3 4 5.
  const DataSource source = make({2, 1, 3});
  EXPECT_EQ(sample(Samples(source, plain(Layout::nchw), {2, 1, 3}), 0), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(sample(Samples(source, plain(Layout::nchw), {1, 3, 2}), 0), (std::vector<float>{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(sample(Samples(source, plain(Layout::nchw), {6}), 1), (std::vector<float>{100, 101, 102, 103, 104, 105}));
}

TEST_F(NumberedData, ChannelsLastStayOrMoveFirst) {
  // Stored (H=1, W=3, C=2): channel 0 is 0 2 4, channel 1 is 1 3 5.
  const DataSource source = make({1, 3, 2});
  EXPECT_EQ(sample(Samples(source, plain(Layout::nhwc), {1, 3, 2}), 0), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(sample(Samples(source, plain(Layout::nhwc), {2, 1, 3}), 0), (std::vector<float>{0, 2, 4, 1, 3, 5}));
}

TEST_F(NumberedData, OneChannelNeedsNoOrder) {
  const DataSource picture = make({2, 3});
  const std::vector<float> third{200, 201, 202, 203, 204, 205};
  for (const Shape& network : {Shape{2, 3}, Shape{1, 2, 3}, Shape{2, 3, 1}, Shape{6}})
    EXPECT_EQ(sample(Samples(picture, plain(Layout::nhw), network), 2), third);
  const DataSource flat = make({6});
  EXPECT_EQ(sample(Samples(flat, plain(Layout::flat), {2, 3}), 2), third);
}

TEST_F(NumberedData, ScalesThenCentresPerChannel) {
  // (x·0.5 − mean_c) / std_c with channel 0 = 0 1 2: (0, 0.5, 1) − 1 over 2; channel 1 = 3 4 5: (1.5, 2, 2.5) + 2
  // over 4.
  const Preprocess preprocess{0.5, {1, -2}, {2, 4}, Layout::nchw};
  EXPECT_EQ(sample(Samples(make({2, 1, 3}), preprocess, {2, 1, 3}), 0),
            (std::vector<float>{-0.5F, -0.25F, 0, 0.875F, 1, 1.125F}));
  // The same picture for a network that takes channels last.
  EXPECT_EQ(sample(Samples(make({2, 1, 3}), preprocess, {1, 3, 2}), 0),
            (std::vector<float>{-0.5F, 0.875F, -0.25F, 1, 0, 1.125F}));
  // One value serves all channels.
  EXPECT_EQ(sample(Samples(make({2, 1, 3}), {1, {3}, {2}, Layout::nchw}, {2, 1, 3}), 0),
            (std::vector<float>{-1.5F, -1, -0.5F, 0, 0.5F, 1}));
}

TEST_F(NumberedData, BytesAreRoundedOnce) {
  test::write_dataset(folder_ / "data.h5", "x", {1, 2}, std::vector<std::uint8_t>{255, 77});
  const double scale = 1.0 / 255;
  const Samples samples_of({folder_ / "data.h5", "x", "", 0, std::nullopt}, {scale, {0.1}, {0.3}, Layout::flat}, {2});
  EXPECT_EQ(sample(samples_of, 0), (std::vector<float>{static_cast<float>((255 * scale - 0.1) / 0.3),
                                                       static_cast<float>((77 * scale - 0.1) / 0.3)}));
}

TEST_F(NumberedData, FirstSamplesInFileOrder) {
  DataSource source = make({1});
  source.samples = 3;
  const Samples three(source, plain(Layout::flat), {1});
  EXPECT_EQ(three.count(), 3);
  const net::Batch batch = three.read(1, 2);
  EXPECT_EQ(batch.values[0], 100);
  EXPECT_EQ(batch.values[1], 200);
  source.samples = 0;
  EXPECT_EQ(Samples(source, plain(Layout::flat), {1}).count(), samples);
}

/// The samples that a seed draws from 1000, each holding its own number.
std::vector<float> drawn(const std::filesystem::path& file, Index count, std::optional<std::uint64_t> seed) {
  const Samples samples({file, "x", "", count, seed}, plain(Layout::flat), {1});
  const net::Batch batch = samples.read(0, samples.count());
  return {batch.values.data(), batch.values.data() + batch.samples};
}

TEST(Shuffle, DrawsTheSameSubsetForTheSameSeed) {
  const test::TempFolder folder;
  std::vector<float> numbers(1000);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i);
  test::write_dataset(folder / "data.h5", "x", {1000, 1}, numbers);
  const std::vector<float> first = drawn(folder / "data.h5", 200, 7);
  EXPECT_EQ(first, drawn(folder / "data.h5", 200, 7));
  EXPECT_NE(first, drawn(folder / "data.h5", 200, 8));
  EXPECT_NE(first, drawn(folder / "data.h5", 200, std::nullopt));
  // Without repetition, in file order, spread over the file.
  EXPECT_EQ(std::set<float>(first.begin(), first.end()).size(), 200U);
  EXPECT_TRUE(std::is_sorted(first.begin(), first.end()));
  for (int quarter = 0; quarter < 4; ++quarter) {
    const auto in_quarter = [&](float x) {
      return x >= 250.0F * static_cast<float>(quarter) && x < 250.0F * static_cast<float>(quarter + 1);
    };
    // 200 draws of 1000 without replacement: 50 per quarter with a deviation of 5.5; five of those either way.
    const auto count = std::count_if(first.begin(), first.end(), in_quarter);
    EXPECT_NEAR(static_cast<double>(count), 50, 28);
  }
  // More samples with the same seed keep those drawn before.
  const std::vector<float> more = drawn(folder / "data.h5", 300, 7);
  EXPECT_TRUE(std::includes(more.begin(), more.end(), first.begin(), first.end()));
  EXPECT_EQ(drawn(folder / "data.h5", 0, 7), numbers);
}

TEST(Shuffle, LabelsFollowTheirSamples) {
  const test::TempFolder folder;
  std::vector<float> numbers(50);
  std::vector<std::int32_t> labels(50);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = static_cast<float>(i);
    labels[i] = static_cast<std::int32_t>(3 * i);
  }
  test::write_dataset(folder / "data.h5", "x", {50, 1}, numbers);
  test::write_dataset(folder / "data.h5", "y", {50}, labels);
  const DataSource source{folder / "data.h5", "x", "y", 20, 3};
  const Samples samples(source, plain(Layout::flat), {1});
  const net::Batch batch = samples.read(0, 20);
  const std::vector<Index> drawn_labels = samples.labels(source);
  ASSERT_EQ(drawn_labels.size(), 20U);
  for (std::size_t i = 0; i < drawn_labels.size(); ++i)
    EXPECT_EQ(static_cast<float>(drawn_labels[i]), 3 * batch.values[static_cast<Index>(i)]);
}

TEST_F(NumberedData, ErrorsNameFileAndShapes) {
  DataSource source = make({2, 3});
  const auto refused = [&](const Preprocess& preprocess, const Shape& network) {
    return input_error([&] { static_cast<void>(Samples(source, preprocess, network)); });
  };
  EXPECT_TRUE(mentions(refused(plain(Layout::nhw), {2, 4}), "2x3, the network takes 2x4"));
  EXPECT_TRUE(mentions(refused(plain(Layout::nchw), {2, 3}), "'preprocess.layout' says 3 dimensions"));
  EXPECT_TRUE(mentions(refused({1, {1, 2}, {1}, Layout::nhw}, {2, 3}), "'preprocess.mean' has 2 values"));
  EXPECT_TRUE(mentions(refused({1, {0}, {1, 2, 3}, Layout::nhw}, {2, 3}), "'preprocess.std' has 3 values"));
  source.samples = 5;
  EXPECT_TRUE(mentions(refused(plain(Layout::nhw), {2, 3}), "holds 4 samples, the config asks for 5"));
  source.samples = 0;
  source.inputs = "z";
  EXPECT_TRUE(mentions(refused(plain(Layout::nhw), {2, 3}), "'z'"));
}

TEST_F(NumberedData, TheOrderOfDimensionsMustBeTheNetworks) {
  const auto refused = [&](const Shape& stored, Layout layout, const Shape& network) {
    const DataSource source = make(stored);
    return input_error([&] { static_cast<void>(Samples(source, plain(layout), network)); });
  };
  // The right number of values in the wrong order: each would give wrong numbers without a word.
  EXPECT_TRUE(mentions(refused({4, 5, 3}, Layout::nchw, {3, 4, 5}),
                       "4x5x3, the network takes 3x4x5: with 'preprocess.layout' NCHW expected 3x4x5 or 5x3x4"));
  EXPECT_TRUE(
      mentions(refused({3, 4, 5}, Layout::nhwc, {4, 5, 3}), "with 'preprocess.layout' NHWC expected 4x5x3 or 5x3x4"));
  EXPECT_TRUE(mentions(refused({3, 5, 4}, Layout::nchw, {3, 4, 5}), "expected 3x4x5 or 5x3x4"));
  EXPECT_TRUE(mentions(refused({1, 4, 6}, Layout::nchw, {2, 3, 4}), "expected 2x3x4"));
  EXPECT_TRUE(mentions(refused({4, 6}, Layout::nhw, {1, 6, 4}), "'preprocess.layout' NHW expected 1x6x4"));
  EXPECT_TRUE(mentions(refused({4, 5, 3}, Layout::flat, {3, 4, 5}), "'preprocess.layout' flat expected 3x4x5"));
  for (const Shape& network : {Shape{1, 4, 5}, Shape{4, 5, 1}, Shape{20}})
    EXPECT_NO_THROW(static_cast<void>(Samples(make({4, 5, 1}), plain(Layout::flat), network)));
}

TEST_F(NumberedData, NumberOfLabelsMustFit) {
  const DataSource source = make({2});
  test::write_dataset(folder_ / "data.h5", "y", {5}, std::vector<std::int32_t>(5));
  const Samples samples_of(source, plain(Layout::flat), {2});
  EXPECT_TRUE(mentions(input_error([&] { static_cast<void>(samples_of.labels(source)); }), "5 labels"));
}

TEST_F(NumberedData, NonFiniteValuesAreNamed) {
  for (const float bad : {std::nanf(""), HUGE_VALF}) {
    test::write_dataset(folder_ / "data.h5", "x", {3, 2}, std::vector<float>{0, 1, 2, 3, 4, bad});
    const Samples samples_of({folder_ / "data.h5", "x", "", 0, std::nullopt}, plain(Layout::flat), {2});
    EXPECT_NO_THROW(static_cast<void>(samples_of.read(0, 2)));
    EXPECT_TRUE(mentions(input_error([&] { static_cast<void>(samples_of.read(1, 2)); }), "in sample 2, value 1"));
  }
}

TEST_F(NumberedData, ValuesThatOverflowAreNamed) {
  test::write_dataset(folder_ / "data.h5", "x", {1, 2}, std::vector<float>{1, 3e38F});
  const Samples samples_of({folder_ / "data.h5", "x", "", 0, std::nullopt}, {10, {0}, {1}, Layout::flat}, {2});
  EXPECT_TRUE(mentions(input_error([&] { static_cast<void>(samples_of.read(0, 1)); }), "sample 0, value 1"));
}

}  // namespace
}  // namespace gpfq::job
