// SPDX-License-Identifier: Apache-2.0
// What the program has in memory beside what its plan says, in each form. Whole programs, since a test's own process holds
// more than they do.
#include <gtest/gtest.h>

#include "app/program.hpp"
#include "support/sanitizer.hpp"
#include "support/tensor_files.hpp"

namespace gpfq::app {
namespace {

using Json = nlohmann::json;

/// A layer by its files.
class LayerFolder {
 public:
  LayerFolder(Index samples, Index inputs, Index neurons) {
    test::Random random(1);
    write("w", neurons, inputs, random);
    write("x", samples, inputs, random);
    write("xq", samples, inputs, random);
  }
  /// The layer in the report of a run on `ranks` ranks.
  [[nodiscard]] Json run(int ranks, const Json& quantization, bool is_shared) const {
    Json layer = {{"name", "layer"}, {"weight", {{"file", "w.npy"}}}, {"inputs", {{"file", "x.npy"}}}};
    if (!is_shared) layer["quantized_inputs"] = {{"file", "xq.npy"}};
    Json config = {{"layers", {layer}}, {"threads", 1}, {"quantization", {{"preset", "paper"}, {"levels", 15}}}};
    config["quantization"].merge_patch(quantization);
    test::write_text(folder_ / "job.json", config.dump());
    const test::CommandResult result = run_program(ranks, {"quantize", (folder_ / "job.json").string(), "--overwrite"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return Json::parse(test::read_text(folder_ / "run/report.json"))["layers"][0];
  }

 private:
  void write(const std::string& name, Index rows, Index columns, test::Random& random) const {
    test::write_npy(folder_ / (name + ".npy"), test::npy_header("<f4", {rows, columns}),
                    test::packed("f4", random.normals(rows * columns, 1)));
  }
  test::TempFolder folder_;
};

/// Resident memory is within `tolerance` of the plan's, the share of it at most what the plan has.
void expect_memory(const Json& layer, double tolerance) {
  const auto resident = layer["peak_memory"].get<double>();
  EXPECT_NEAR(layer["estimated"]["peak_memory"].get<double>() / resident, 1, tolerance) << resident / (1 << 20) << " MiB";
  EXPECT_LE(layer["proportional_memory"].get<double>(),
            (1 + tolerance) * layer["estimated"]["proportional_memory"].get<double>());
}

TEST(Memory, OfResidualFormIsAsEstimated) {
  if (test::has_address_sanitizer()) GTEST_SKIP() << "the sanitizer takes memory of its own";
  // Two blocks of 128 inputs take 40 MiB, which the ranks of a node share; tiles 80 MiB and more.
  const LayerFolder folder(20000, 256, 512);
  for (const int ranks : {1, 2}) {
    SCOPED_TRACE(ranks);
    expect_memory(folder.run(ranks, {{"form", "residual"}}, false), 0.15);
  }
}

TEST(Memory, OfGramFormIsAsEstimatedByItsLargestPhase) {
  if (test::has_address_sanitizer()) GTEST_SKIP() << "the sanitizer takes memory of its own";
  constexpr double gram_tolerance = 0.35;  // the allocator keeps more or less of what a phase has freed
  const LayerFolder folder(4096, 1536, 64);
  const Json gram = {{"form", "gram"}};
  for (const int ranks : {1, 2}) {
    SCOPED_TRACE(ranks);
    expect_memory(folder.run(ranks, gram, false), gram_tolerance);
  }
  Json more = gram;
  more["refine"]["sweeps"] = 1;
  expect_memory(folder.run(1, more, false), gram_tolerance);
  more = gram;
  more["method"] = "qronos";
  expect_memory(folder.run(1, more, false), gram_tolerance);
}

}  // namespace
}  // namespace gpfq::app
