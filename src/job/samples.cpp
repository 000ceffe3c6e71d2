// SPDX-License-Identifier: Apache-2.0
// Selection by counter-based random numbers, scaling per channel, NCHW to NHWC and back.
#include "job/samples.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "gpfq/base/error.hpp"
#include "gpfq/base/random.hpp"

namespace gpfq::job {
namespace {

/// `count` of `total` indexes, ascending: the first ones, or a random subset.
std::vector<Index> select(Index total, Index count, const std::optional<std::uint64_t>& seed) {
  if (seed) return random_subset(total, count, *seed);
  std::vector<Index> indexes(static_cast<std::size_t>(count));
  std::iota(indexes.begin(), indexes.end(), Index{0});
  return indexes;
}

/// A picture's shape with its channels at the other end.
Shape turned(Shape shape, bool channels_last) {
  std::rotate(shape.begin(), channels_last ? shape.end() - 1 : shape.begin() + 1, shape.end());
  return shape;
}

/// Extents other than 1: pictures that have the same ones in the same order hold their values in the same order.
Shape without_ones(Shape shape) {
  std::erase(shape, Index{1});
  return shape;
}

const char* layout_name(Layout layout) {
  return layout == Layout::nchw ? "NCHW" : layout == Layout::nhwc ? "NHWC" : layout == Layout::nhw ? "NHW" : "flat";
}

}  // namespace

Samples::Samples(const DataSource& source, const Preprocess& preprocess, const Shape& input_shape)
    : file_(source.file, source.inputs), preprocess_(preprocess), input_shape_(input_shape) {
  const Index total = file_.sample_count();
  const Index count = source.samples == 0 ? total : source.samples;
  if (count > total) throw_input("{} holds {} samples, the config asks for {}", file_.where(), total, count);
  indexes_ = select(total, count, source.shuffle_seed);
  check_shapes();
}

void Samples::check_shapes() {
  const Shape stored = file_.sample_shape();
  const std::size_t rank = stored.size();
  const bool has_channels = preprocess_.layout == Layout::nchw || preprocess_.layout == Layout::nhwc;
  const std::size_t expected_rank = has_channels ? 3 : (preprocess_.layout == Layout::nhw ? 2 : rank);
  if (rank != expected_rank)
    throw_input("{} has samples of shape {}, 'preprocess.layout' says {} dimensions", file_.where(), to_string(stored),
                expected_rank);
  stored_last_ = preprocess_.layout == Layout::nhwc;
  channels_ = has_channels ? (stored_last_ ? stored.back() : stored.front()) : 1;
  const Index size = element_count(stored);
  positions_ = channels_ == 0 ? 0 : size / channels_;
  check_order(stored);
  if (size != element_count(input_shape_))
    throw_input("{} has samples of shape {}, the network takes {}", file_.where(), to_string(stored),
                to_string(input_shape_));
  for (const auto* values : {&preprocess_.mean, &preprocess_.deviation}) {
    const Index given = static_cast<Index>(values->size());
    if (given != 1 && given != channels_)
      throw_input("config: 'preprocess.{}' has {} values, expected 1 or {} (channels)",
                  values == &preprocess_.mean ? "mean" : "std", given, channels_);
  }
}

/// Where both sides have dimensions, they must be the same ones: equal numbers of values are not enough.
void Samples::check_order(const Shape& stored) {
  network_last_ = stored_last_;
  if (input_shape_ == stored || element_count(stored) != element_count(input_shape_)) return;
  const bool has_channels = preprocess_.layout == Layout::nchw || preprocess_.layout == Layout::nhwc;
  if (has_channels && input_shape_.size() == 3) {
    network_last_ = !stored_last_;
    if (input_shape_ == turned(stored, stored_last_)) return;
    throw_input("{} has samples of shape {}, the network takes {}: with 'preprocess.layout' {} expected {} or {}",
                file_.where(), to_string(stored), to_string(input_shape_), layout_name(preprocess_.layout),
                to_string(input_shape_), to_string(turned(input_shape_, !stored_last_)));
  }
  const Shape found = without_ones(stored);
  const Shape expected = without_ones(input_shape_);
  if (!has_channels && found.size() > 1 && expected.size() > 1 && found != expected)
    throw_input("{} has samples of shape {}, the network takes {}: with 'preprocess.layout' {} expected {}",
                file_.where(), to_string(stored), to_string(input_shape_), layout_name(preprocess_.layout),
                to_string(input_shape_));
}

void Samples::prepare(const float* stored, float* out) const {
  for (Index c = 0; c < channels_; ++c) {
    const auto pick = [c](const std::vector<double>& values) {
      return values[values.size() == 1 ? 0 : static_cast<std::size_t>(c)];
    };
    const double mean = pick(preprocess_.mean);
    const double deviation = pick(preprocess_.deviation);
    const Index from = preprocess_.reverse_channels ? channels_ - 1 - c : c;
    for (Index p = 0; p < positions_; ++p) {
      const double x = stored[stored_last_ ? p * channels_ + from : from * positions_ + p];
      out[network_last_ ? p * channels_ + c : c * positions_ + p] =
          static_cast<float>((x * preprocess_.scale - mean) / deviation);
    }
  }
}

net::Batch Samples::read(Index first, Index count) const {
  require(first >= 0 && count >= 0 && first + count <= this->count(), "Samples::read: out of range");
  net::Batch batch(count, input_shape_);
  const Index size = batch.sample_size();
  const std::span<const Index> indexes(indexes_.data() + first, static_cast<std::size_t>(count));
  std::vector<float> stored(static_cast<std::size_t>(count * size));
  file_.read(indexes, stored.data());
  for (Index i = 0; i < count; ++i) {
    const float* sample = stored.data() + i * size;
    for (Index j = 0; j < size; ++j)
      if (!std::isfinite(sample[j]))
        throw_input("{} holds {} in sample {}, value {}: expected finite numbers", file_.where(), sample[j],
                    indexes[static_cast<std::size_t>(i)], j);
    float* prepared = batch.values.data() + i * size;
    prepare(sample, prepared);
    for (Index j = 0; j < size; ++j)
      if (!std::isfinite(prepared[j]))
        throw_input("{}: sample {}, value {} becomes {} by 'preprocess': expected finite numbers", file_.where(),
                    indexes[static_cast<std::size_t>(i)], j, prepared[j]);
  }
  return batch;
}

store::SampleFile Samples::label_file(const DataSource& source) const {
  store::SampleFile labels(source.file, source.labels);
  if (labels.sample_count() != file_.sample_count())
    throw_input("{} holds {} labels, {} holds {} samples", labels.where(), labels.sample_count(), file_.where(),
                file_.sample_count());
  labels.require_labels();
  return labels;
}

std::vector<Index> Samples::labels(const DataSource& source) const {
  return label_file(source).read_labels(indexes_);
}

}  // namespace gpfq::job
