// SPDX-License-Identifier: Apache-2.0
// Samples and labels by index from files of users' own making.
#include "gpfq/store/sample_file.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <numeric>

#include "support/data_files.hpp"
#include "support/errors.hpp"
#include "support/temp_folder.hpp"

namespace gpfq::store {
namespace {

using test::input_error;
using test::mentions;
using test::TempFolder;

constexpr Index sample_count = 11;
constexpr Index sample_size = 6;

/// Value j of sample i is 10·i + j in every type.
template <class T>
std::vector<T> numbered() {
  std::vector<T> values;
  for (Index i = 0; i < sample_count; ++i)
    for (Index j = 0; j < sample_size; ++j) values.push_back(static_cast<T>(10 * i + j));
  return values;
}

void expect_samples(const SampleFile& file, const std::vector<Index>& indexes) {
  std::vector<float> values(indexes.size() * static_cast<std::size_t>(sample_size), -1);
  file.read(indexes, values.data());
  for (std::size_t i = 0; i < indexes.size(); ++i)
    for (Index j = 0; j < sample_size; ++j)
      EXPECT_EQ(values[i * static_cast<std::size_t>(sample_size) + static_cast<std::size_t>(j)],
                static_cast<float>(10 * indexes[i] + j))
          << "sample " << indexes[i];
}

TEST(SampleFile, ReadsRunsAndScatteredSamplesOfEveryType) {
  const TempFolder folder;
  const auto path = folder / "data.h5";
  test::write_dataset(path, "train/bytes", {sample_count, 2, 3}, numbered<std::uint8_t>());
  test::write_dataset(path, "train/ints", {sample_count, 2, 3}, numbered<std::int32_t>());
  test::write_dataset(path, "train/floats", {sample_count, 2, 3}, numbered<float>());
  test::write_dataset(path, "train/doubles", {sample_count, 2, 3}, numbered<double>());
  for (const char* name : {"train/bytes", "train/ints", "train/floats", "train/doubles"}) {
    const SampleFile file(path, name);
    EXPECT_EQ(file.sample_count(), sample_count);
    EXPECT_EQ(file.sample_shape(), (Shape{2, 3}));
    std::vector<Index> all(static_cast<std::size_t>(sample_count));
    std::iota(all.begin(), all.end(), Index{0});
    expect_samples(file, all);
    expect_samples(file, {});
    expect_samples(file, {10});
    expect_samples(file, {0, 2, 4, 10});
    expect_samples(file, {1, 2, 3, 7, 8, 10});
  }
}

TEST(SampleFile, DoublesRoundToTheNearestFloat) {
  const TempFolder folder;
  test::write_dataset(folder / "data.h5", "x", {1, 2}, std::vector<double>{0.1, 1e-3});
  const SampleFile file(folder / "data.h5", "x");
  std::vector<float> values(2);
  file.read(std::vector<Index>{0}, values.data());
  EXPECT_EQ(values, (std::vector<float>{0.1F, 1e-3F}));
}

TEST(SampleFile, LabelsAreIntegersOfAnyWidth) {
  const TempFolder folder;
  const auto path = folder / "data.h5";
  test::write_dataset(path, "narrow", {4}, std::vector<std::uint8_t>{3, 0, 255, 9});
  test::write_dataset(path, "wide", {4, 1}, std::vector<std::int32_t>{3, -1, 100000, 9});
  EXPECT_EQ(SampleFile(path, "narrow").read_labels(std::vector<Index>{0, 2, 3}), (std::vector<Index>{3, 255, 9}));
  EXPECT_EQ(SampleFile(path, "wide").read_labels(std::vector<Index>{1, 2}), (std::vector<Index>{-1, 100000}));
}

TEST(SampleFile, RefusesWhatIsNotThere) {
  const TempFolder folder;
  const auto path = folder / "data.h5";
  test::write_dataset(path, "train/images", {2, 2}, std::vector<float>(4));
  EXPECT_TRUE(mentions(input_error([&] { SampleFile{folder / "none.h5", "x"}; }), "none.h5"));
  const std::string wrong = input_error([&] { SampleFile{path, "train/imagse"}; });
  EXPECT_TRUE(mentions(wrong, "train/imagse"));
  EXPECT_TRUE(mentions(wrong, "images"));  // what is there instead
  EXPECT_TRUE(mentions(input_error([&] { SampleFile{path, "train"}; }), "train"));
}

TEST(SampleFile, RefusesWhatAreNotSamples) {
  const TempFolder folder;
  const auto path = folder / "data.h5";
  test::write_dataset(path, "none", {0, 3}, std::vector<float>());
  EXPECT_TRUE(mentions(input_error([&] { SampleFile{path, "none"}; }), "0x3"));
  test::write_dataset(path, "reals", {3}, std::vector<float>(3));
  EXPECT_TRUE(
      mentions(input_error([&] { static_cast<void>(SampleFile(path, "reals").read_labels(std::vector<Index>{0})); }),
               "integer label"));
  test::write_dataset(path, "pairs", {3, 2}, std::vector<std::int32_t>(6));
  EXPECT_TRUE(
      mentions(input_error([&] { static_cast<void>(SampleFile(path, "pairs").read_labels(std::vector<Index>{0})); }),
               "one integer label per sample"));
}

TEST(SampleFile, RefusesTruncatedData) {
  const TempFolder folder;
  test::write_dataset(folder / "data.h5", "x", {sample_count, sample_size}, numbered<float>());
  const Index size = static_cast<Index>(std::filesystem::file_size(folder / "data.h5"));
  for (const Index length : {Index{0}, Index{100}, size / 2, size - 1}) {
    test::copy_head(folder / "data.h5", folder / "cut.h5", length);
    EXPECT_TRUE(mentions(input_error([&] { SampleFile{folder / "cut.h5", "x"}; }), "cut.h5"));
  }
}

}  // namespace
}  // namespace gpfq::store
