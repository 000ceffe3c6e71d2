// SPDX-License-Identifier: Apache-2.0
// Radius rules over weights that lie on many ranks, against sorting all of them in one place.
#include "job/radius_rule.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "support/mpi_main.hpp"
#include "support/networks.hpp"

namespace gpfq::job {
namespace {

using test::world;

/// One weight matrix in memory.
class Matrix : public net::Parameters {
 public:
  Matrix(Index inputs, std::vector<float> values) : inputs_(inputs), values_(std::move(values)) {}
  void read_rows(const std::string&, Index first, Index count, float* out) const override {
    std::copy_n(values_.data() + first * inputs_, count * inputs_, out);
  }
  [[nodiscard]] Index neurons() const { return static_cast<Index>(values_.size()) / inputs_; }
  [[nodiscard]] Index inputs() const { return inputs_; }
  [[nodiscard]] std::vector<float> row(Index neuron) const {
    return {values_.begin() + neuron * inputs_, values_.begin() + (neuron + 1) * inputs_};
  }
  [[nodiscard]] const std::vector<float>& all() const { return values_; }

 private:
  Index inputs_;
  std::vector<float> values_;
};

/// Median of |w| by sorting; of the nonzero ones where it is 0.
double sorted_median(std::vector<float> values) {
  for (float& value : values) value = std::abs(value);
  for (int attempt = 0; attempt < 2 && !values.empty(); ++attempt) {
    std::sort(values.begin(), values.end());
    const std::size_t half = values.size() / 2;
    const double median =
        values.size() % 2 == 1 ? values[half] : 0.5 * (static_cast<double>(values[half - 1]) + values[half]);
    if (median > 0) return median;
    std::erase(values, 0.0F);
  }
  return 0;
}

double sorted_max(const std::vector<float>& values) {
  double largest = 0;
  for (const float value : values) largest = std::max(largest, std::abs(static_cast<double>(value)));
  return largest;
}

LayerAlphabets alphabets_of(const Matrix& matrix, const LayerSettings& settings, int threads = 1) {
  LayerPlan plan;
  plan.name = "fc";
  plan.tensor = "fc.weight";
  plan.neurons = matrix.neurons();
  plan.inputs = matrix.inputs();
  plan.tile_width = 16;
  const mpi::Communicator& comm = world();
  return find_alphabets(comm, plan, settings, matrix, threads);
}

LayerSettings settings_of(RadiusKind kind, double scale, bool per_neuron, int levels = 3) {
  LayerSettings settings;
  settings.levels = levels;
  settings.radius.kind = kind;
  settings.radius.scale = scale;
  settings.radius.per_neuron = per_neuron;
  return settings;
}

class Weights : public testing::TestWithParam<std::pair<Index, Index>> {
 protected:
  Matrix make(std::uint64_t seed) const {
    test::Random random(seed);
    return {GetParam().second, random.normals(GetParam().first * GetParam().second, 0.3)};
  }
};

TEST_P(Weights, MedianOfTheLayerIsExact) {
  const Matrix matrix = make(1);
  const LayerAlphabets found = alphabets_of(matrix, settings_of(RadiusKind::median, 2.5, false));
  const double radius = 2.5 * sorted_median(matrix.all());
  EXPECT_EQ(static_cast<Index>(found.alphabets.size()), matrix.neurons());
  for (std::size_t i = 0; i < found.alphabets.size(); ++i) {
    EXPECT_EQ(found.radius[i], static_cast<float>(radius));
    EXPECT_EQ(found.alphabets[i].step(), static_cast<float>(radius / 2));
    EXPECT_EQ(found.alphabets[i].levels(), 3);
  }
}

TEST(LayerMedian, IsTheSameByAnyNumberOfThreads) {
  test::Random random(5);
  const Matrix matrix{1031, random.normals(Index{1031} * 2003, 0.3)};
  EXPECT_EQ(counters_of(1031 * 2003, 3), 3);
  EXPECT_EQ(counters_of(1031 * 2003, 1000), 8);
  EXPECT_EQ(counters_of(1031, 1000), 1);
  const LayerAlphabets one = alphabets_of(matrix, settings_of(RadiusKind::median, 2.5, false));
  EXPECT_EQ(one.radius.front(), static_cast<float>(2.5 * sorted_median(matrix.all())));
  for (const int threads : {2, 3, 8})
    EXPECT_EQ(alphabets_of(matrix, settings_of(RadiusKind::median, 2.5, false), threads).radius, one.radius) << threads;
}

TEST_P(Weights, RulesPerNeuron) {
  const Matrix matrix = make(2);
  for (const RadiusKind kind : {RadiusKind::median, RadiusKind::max}) {
    const LayerAlphabets found = alphabets_of(matrix, settings_of(kind, 1.25, true, 16));
    for (std::size_t i = 0; i < found.alphabets.size(); ++i) {
      const std::vector<float> row = matrix.row(static_cast<Index>(i));
      const double radius = 1.25 * (kind == RadiusKind::median ? sorted_median(row) : sorted_max(row));
      EXPECT_EQ(found.alphabets[i].step(), static_cast<float>(radius / 15));
    }
  }
}

TEST_P(Weights, MaxOfTheLayerIsKnownToAll) {
  const Matrix matrix = make(3);
  const LayerAlphabets found = alphabets_of(matrix, settings_of(RadiusKind::max, 1, false));
  for (const float radius : found.radius) EXPECT_EQ(radius, static_cast<float>(sorted_max(matrix.all())));
}

TEST_P(Weights, AValueIsTakenAsItIs) {
  LayerSettings settings = settings_of(RadiusKind::value, 7, false);
  settings.radius.value = 0.3;
  const LayerAlphabets found = alphabets_of(make(4), settings);
  for (const quant::Alphabet& alphabet : found.alphabets) EXPECT_EQ(alphabet.step(), static_cast<float>(0.15));
}

INSTANTIATE_TEST_SUITE_P(EvenAndOddCounts, Weights,
                         testing::Values(std::pair<Index, Index>{1, 1}, std::pair<Index, Index>{2, 1},
                                         std::pair<Index, Index>{33, 7}, std::pair<Index, Index>{100, 30},
                                         std::pair<Index, Index>{17, 2}));

TEST(ZeroMedian, TakesTheNonzeroWeights) {
  // 40 neurons × 3: two of three weights are 0, the third is the neuron's number.
  std::vector<float> values;
  for (int neuron = 1; neuron <= 40; ++neuron) values.insert(values.end(), {0, static_cast<float>(-neuron), 0});
  const Matrix matrix(3, values);
  const LayerAlphabets layer = alphabets_of(matrix, settings_of(RadiusKind::median, 1, false));
  for (const float radius : layer.radius) EXPECT_EQ(radius, 20.5F);
  EXPECT_TRUE(layer.fell_back);
  const LayerAlphabets neuron = alphabets_of(matrix, settings_of(RadiusKind::median, 1, true));
  for (std::size_t i = 0; i < neuron.radius.size(); ++i)
    EXPECT_EQ(neuron.radius[i], static_cast<float>(i + 1));
}

TEST(ZeroMedian, OfZerosIsZero) {
  for (const bool per_neuron : {false, true})
    for (const RadiusKind kind : {RadiusKind::median, RadiusKind::max}) {
      const LayerAlphabets found = alphabets_of(Matrix(4, std::vector<float>(80)), settings_of(kind, 3, per_neuron));
      for (const quant::Alphabet& alphabet : found.alphabets) EXPECT_EQ(alphabet.step(), 0);
    }
}

TEST(Radius, TooLargeForFloatFailsOnAllRanks) {
  // Only the first neuron's radius overflows; every rank is told.
  std::vector<float> values(60, 1);
  values[0] = 3e38F;
  EXPECT_THROW(static_cast<void>(alphabets_of(Matrix(1, values), settings_of(RadiusKind::max, 3, true))),
               mpi::AgreedError);
}

}  // namespace
}  // namespace gpfq::job
