// SPDX-License-Identifier: Apache-2.0
// The result as it grows: shards of codes written by their ranks, read by the others after a
// flush, whole and under its final name only at the end.
#include "gpfq/store/quantized_file.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "gpfq/base/shard_plan.hpp"
#include "gpfq/store/model_copy.hpp"
#include "support/data_files.hpp"
#include "support/errors.hpp"
#include "support/mpi_main.hpp"
#include "support/networks.hpp"
#include "support/temp_folder.hpp"

namespace gpfq::store {
namespace {

using test::SharedFolder;
using test::world;

constexpr Index neurons = 23;
constexpr Index inputs = 9;
constexpr int levels = 16;

std::uint8_t code_at(Index neuron, Index input) { return static_cast<std::uint8_t>((neuron * 5 + input * 3) % levels); }
float step_of(Index neuron) { return 0.125F * static_cast<float>(neuron + 1); }

/// Two layers, of which "fc1" gets codes and "fc2" stays float; written by root.
net::Model model_of_two() {
  test::Random random(4);
  return test::ChainBuilder({inputs})
      .dense("fc1", neurons, random.normals(neurons * inputs, 1), random.normals(neurons, 1))
      .node("relu", net::Op::relu)
      .dense("fc2", 4, random.normals(4 * neurons, 1))
      .build();
}

std::vector<std::uint8_t> codes_of(Range range) {
  std::vector<std::uint8_t> codes;
  for (Index neuron = range.begin; neuron < range.end; ++neuron)
    for (Index input = 0; input < inputs; ++input) codes.push_back(code_at(neuron, input));
  return codes;
}

TEST(ModelCopy, EveryRankReleasesTheSourcesThatItRead) {
  const mpi::Communicator& comm = world();
  const SharedFolder folder(comm);
  net::Model model = model_of_two();
  int reads = 0;
  std::set<std::string> held;
  std::map<std::string, std::vector<float>> values;
  for (auto& [name, source] : model.tensors) {
    values[name] = net::read_all(source);
    source.read_rows = [&reads, &held, of = name, read = source.read_rows](Index first, Index count, float* out) {
      ++reads;
      held.insert(of);
      read(first, count, out);
    };
    source.release = [&held, of = name] { held.erase(of); };
  }
  write_model(comm, folder / "copy.h5", model);
  EXPECT_GT(reads, 0);
  EXPECT_TRUE(held.empty()) << *held.begin();
  comm.barrier();
  {
    const ModelFile copy(folder / "copy.h5");
    for (const auto& [name, expected] : values) {
      std::vector<float> found(expected.size());
      copy.read_rows(name, 0, copy.graph().tensor_shape(name).front(), found.data());
      EXPECT_EQ(found, expected) << name;
    }
  }
  comm.barrier();
}

TEST(QuantizedFile, ShardsOfAllRanksMakeOneModel) {
  const mpi::Communicator& comm = world();
  const SharedFolder folder(comm);
  const net::Model model = model_of_two();
  comm.agree([&] {
    if (comm.is_root()) write_model(folder / "model.h5", model);
  });
  const ModelFile source(folder / "model.h5");
  const QuantizedLayer layer{"fc1", "/fc1/MatMul", "fc1.weight", levels, {neurons, inputs}};
  QuantizedFile result(comm, folder / "q.h5", source, {layer});
  comm.barrier();
  EXPECT_EQ(test::listing(folder.path()), "model.h5 q.h5.partial");

  const ShardPlan plan(neurons, 4, comm.size());
  const Range pieces = plan.pieces_of(comm.rank());
  for (Index piece = pieces.begin; piece < pieces.end; ++piece) {
    const Range range = plan.piece(piece);
    std::vector<float> steps;
    std::vector<float> radii;
    for (Index neuron = range.begin; neuron < range.end; ++neuron) {
      steps.push_back(step_of(neuron));
      radii.push_back(step_of(neuron) * (levels - 1));
    }
    result.write_codes("fc1", {range.begin, range.size(), 0, inputs}, codes_of(range).data());
    result.write_alphabets("fc1", range.begin, radii, steps);
  }
  result.flush();

  // Every rank reads what others wrote.
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(neurons * inputs));
  result.read_codes("fc1", {0, neurons, 0, inputs}, codes.data());
  EXPECT_EQ(codes, codes_of({0, neurons}));
  const std::vector<quant::Alphabet> alphabets = result.read_alphabets("fc1", 2, neurons - 2);
  for (std::size_t i = 0; i < alphabets.size(); ++i) {
    EXPECT_EQ(alphabets[i].step(), step_of(static_cast<Index>(i) + 2));
    EXPECT_EQ(alphabets[i].shift(), 0);
  }
  const auto expect_rows = [&](const net::Parameters& parameters) {
    std::vector<float> values(static_cast<std::size_t>((neurons - 5) * inputs));
    parameters.read_rows("fc1.weight", 5, neurons - 5, values.data());
    for (Index neuron = 5; neuron < neurons; ++neuron)
      for (Index input = 0; input < inputs; ++input)
        EXPECT_EQ(values[static_cast<std::size_t>((neuron - 5) * inputs + input)],
                  static_cast<float>(2 * code_at(neuron, input) - (levels - 1)) * step_of(neuron));
    for (const char* tensor : {"fc1.bias", "fc2.weight"}) {
      const std::vector<float> expected = net::read_all(model.tensors.at(tensor));
      std::vector<float> found(expected.size());
      parameters.read_rows(tensor, 0, model.graph.tensor_shape(tensor).front(), found.data());
      EXPECT_EQ(found, expected) << tensor;
    }
  };
  expect_rows(result);
  comm.barrier();
  EXPECT_FALSE(std::filesystem::exists(folder / "q.h5"));
  comm.barrier();

  result.finish();
  comm.barrier();
  EXPECT_EQ(test::listing(folder.path()), "model.h5 q.h5");
  const ModelFile finished(folder / "q.h5");
  EXPECT_EQ(finished.quantized_layers().size(), 1U);
  EXPECT_EQ(finished.quantized_layers().at(0).source_name, "/fc1/MatMul");
  EXPECT_EQ(finished.quantized_layers().at(0).shape, (Shape{neurons, inputs}));
  expect_rows(finished);
  const std::vector<double> radius = test::read_dataset(folder / "q.h5", "layers/fc1/radius");
  EXPECT_EQ(static_cast<Index>(radius.size()), neurons);
  EXPECT_EQ(radius.at(3), static_cast<double>(step_of(3)) * (levels - 1));
  comm.barrier();
}

/// λ = 3 steps: the shift is one step, and codes stand for 0 and ±(2i + 1) steps.
TEST(QuantizedFile, LevelsMayBeShifted) {
  const mpi::Communicator& comm = world();
  const SharedFolder folder(comm);
  comm.agree([&] {
    if (comm.is_root()) write_model(folder / "model.h5", model_of_two());
  });
  const ModelFile source(folder / "model.h5");
  QuantizedLayer layer{"fc1", "/fc1/MatMul", "fc1.weight", 5, {neurons, inputs}};
  layer.is_shifted = true;
  layer.threshold_steps = 3;
  QuantizedFile result(comm, folder / "q.h5", source, {layer});
  const std::vector<float> steps(static_cast<std::size_t>(neurons), 0.125F);
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(neurons * inputs));
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>(i % 5);
  if (comm.is_root()) {
    result.write_codes("fc1", {0, neurons, 0, inputs}, codes.data());
    result.write_alphabets("fc1", 0, steps, steps);
  }
  result.flush();
  EXPECT_EQ(result.read_alphabets("fc1", 0, 1).front().shift(), 0.125F);
  result.finish();
  comm.barrier();
  std::vector<float> values(codes.size());
  const std::vector<float> expected = {-0.625F, -0.375F, 0, 0.375F, 0.625F};
  {
    const ModelFile model(folder / "q.h5");
    EXPECT_TRUE(model.quantized_layers().front().is_shifted);
    model.read_rows("fc1.weight", 0, neurons, values.data());
  }
  for (std::size_t i = 0; i < codes.size(); ++i) EXPECT_EQ(values[i], expected[codes[i]]);
  comm.barrier();
  if (comm.is_root()) {
    test::write_dataset(folder / "q.h5", "layers/fc1/shift", {neurons}, std::vector<float>(static_cast<std::size_t>(neurons), -1.0F));
    const ModelFile damaged(folder / "q.h5");
    EXPECT_TRUE(test::mentions(test::input_error([&] { damaged.read_rows("fc1.weight", 0, 1, values.data()); }), "shift -1"));
  }
  comm.barrier();
}

TEST(QuantizedFile, ReplacesALeftOverAndAnOlderResult) {
  const mpi::Communicator& comm = world();
  const SharedFolder folder(comm);
  comm.agree([&] {
    if (!comm.is_root()) return;
    write_model(folder / "model.h5", model_of_two());
    test::write_text(folder / "q.h5.partial", "left by a job that died");
    test::write_text(folder / "q.h5", "an older result");
  });
  const ModelFile source(folder / "model.h5");
  QuantizedFile result(comm, folder / "q.h5", source, {});
  comm.barrier();
  EXPECT_EQ(test::read_text(folder / "q.h5"), "an older result");
  comm.barrier();
  result.finish();
  comm.barrier();
  EXPECT_TRUE(is_model_file(folder / "q.h5"));
  comm.barrier();
}

TEST(QuantizedFile, APlaceThatCannotBeWrittenFailsOnAllRanks) {
  const mpi::Communicator& comm = world();
  const SharedFolder folder(comm);
  comm.agree([&] {
    if (comm.is_root()) write_model(folder / "model.h5", model_of_two());
  });
  const ModelFile source(folder / "model.h5");
  EXPECT_THROW(QuantizedFile(comm, "/dev/null/q.h5", source, {}), mpi::AgreedError);
  comm.barrier();
}

TEST(QuantizedFile, AnUnknownLayerIsAFault) {
  const mpi::Communicator& comm = world();
  const SharedFolder folder(comm);
  comm.agree([&] {
    if (comm.is_root()) write_model(folder / "model.h5", model_of_two());
  });
  const ModelFile source(folder / "model.h5");
  QuantizedFile result(comm, folder / "q.h5", source, {});
  const std::uint8_t code = 0;
  EXPECT_THROW(result.write_codes("fc1", {0, 1, 0, 1}, &code), Error);
  result.finish();
  comm.barrier();
}

TEST(ModelCopy, IsBroughtByAllRanksAndReadsAsWritten) {
  const mpi::Communicator& comm = world();
  const SharedFolder folder(comm);
  const net::Model model = model_of_two();
  net::Model watched = model;
  Index rows = 0;
  const net::TensorSource& source = model.tensors.at("fc1.weight");
  watched.tensors["fc1.weight"] = {source.shape, [&](Index first, Index count, float* out) {
                                     rows += count;
                                     source.read_rows(first, count, out);
                                   }};
  write_model(comm, folder / "model.h5", watched);
  EXPECT_LE(rows, ceil_div(neurons, Index{comm.size()}));  // no rank reads more than its share
  EXPECT_EQ(comm.sum(rows), neurons);
  EXPECT_EQ(test::listing(folder.path()), "model.h5");
  const ModelFile copy(folder / "model.h5");
  for (const auto& [name, shape] : model.graph.tensors) {
    std::vector<float> found(static_cast<std::size_t>(element_count(shape)));
    std::vector<float> expected(found.size());
    copy.read_rows(name, 0, shape.front(), found.data());
    model.tensors.at(name).read_rows(0, shape.front(), expected.data());
    EXPECT_EQ(found, expected) << name;
  }
  comm.barrier();
  // What one rank cannot read, none takes for written.
  watched.tensors["fc1.weight"].read_rows = [](Index first, Index count, float* out) {
    std::fill_n(out, count * inputs, 0.0F);
    if (first + count == neurons) throw_input("the last row is missing");
  };
  EXPECT_THROW(write_model(comm, folder / "damaged.h5", watched), mpi::AgreedError);
  EXPECT_FALSE(std::filesystem::exists(folder / "damaged.h5"));
  comm.barrier();
}

}  // namespace
}  // namespace gpfq::store
