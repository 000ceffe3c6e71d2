// SPDX-License-Identifier: Apache-2.0
// A whole job on a synthetic layer, beside the rate of matrix products of the same cores in the same run.
#include <Eigen/Core>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "gpfq/base/error.hpp"
#include "gpfq/base/parallel.hpp"
#include "gpfq/base/random.hpp"
#include "gpfq/base/system.hpp"
#include "gpfq/base/text.hpp"
#include "gpfq/quant/tile.hpp"
#include "gpfq/job/job.hpp"
#include "job/blas.hpp"

namespace gpfq::job {
namespace {

using OrderedJson = nlohmann::ordered_json;
constexpr Index product_order = 2048;

/// Best rate of a product by every thread of every rank at the same time, flops per second of all together.
double product_rate(const mpi::Communicator& comm, int threads) {
  const Eigen::MatrixXf A = Eigen::MatrixXf::Constant(product_order, product_order, 0.5F);
  std::vector<Eigen::MatrixXf> results(static_cast<std::size_t>(threads), A);
  double slowest = HUGE_VAL;
  for (int repeat = 0; repeat < 4; ++repeat) {
    comm.barrier();
    const Stopwatch watch;
    parallel_for(threads, threads, [&](Index i) { results[static_cast<std::size_t>(i)].noalias() = A * A; });
    slowest = std::min(slowest, comm.max(watch.seconds()));
  }
  return 2 * std::pow(static_cast<double>(product_order), 3) * threads * comm.size() / slowest;
}

/// Numbers in [−1, 1) by position.
float uniform(std::uint64_t seed, Index position) {
  return static_cast<float>(random_bits(seed, static_cast<std::uint64_t>(position)) >> 40U) * 0x1p-23F - 1.0F;
}

/// A .npy file (version 1.0) of rows × columns float32, row by row.
template <class Value>
void write_npy(const std::filesystem::path& path, Index rows, Index columns, const Value& value) {
  std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, columns);
  header.resize(static_cast<std::size_t>(round_up(static_cast<Index>(header.size()) + 11, 64)) - 10, ' ');
  header.back() = '\n';
  std::ofstream file(path, std::ios::binary);
  file.write("\x93NUMPY\x01\x00", 8);
  file.put(static_cast<char>(header.size() % 256)).put(static_cast<char>(header.size() / 256)) << header;
  std::vector<float> row(static_cast<std::size_t>(columns));
  for (Index i = 0; i < rows; ++i) {
    for (Index j = 0; j < columns; ++j) row[static_cast<std::size_t>(j)] = value(i * columns + j);
    file.write(reinterpret_cast<const char*>(row.data()), static_cast<std::streamsize>(row.size() * sizeof(float)));
    if (!file) break;
  }
  file.close();
  if (!file) throw_output("bench: cannot write {}", path.string());
}

/// Files of the layer, their copy in scratch, the result: refused before any of it is written.
void check_extents(const BenchOptions& options) {
  static_cast<void>(parse_bytes(options.memory_per_rank, "bench: --memory-per-rank: "));
  std::error_code code;
  const std::filesystem::space_info space = std::filesystem::space(options.folder, code);
  if (code) throw_input("bench: --folder: {}: {}", options.folder.string(), code.message());
  const ScaleShape& shape = options.shape;
  const double inputs = static_cast<double>(shape.inputs);
  const double codes = inputs * static_cast<double>(shape.neurons);
  const double values = codes + (shape.shared ? 1 : 2) * inputs * static_cast<double>(shape.samples);
  const double bytes = 2 * sizeof(float) * values + codes;
  if (bytes > static_cast<double>(space.available))
    throw_input("bench: --inputs {} --neurons {} --samples {} need {:.4g} GiB in {}, where {} are free", shape.inputs,
                shape.neurons, shape.samples, bytes * 0x1p-30, std::filesystem::absolute(options.folder).string(),
                format_bytes(static_cast<Index>(space.available)));
}

/// Activations like a trained network's: rectified, those of the quantized network a little off.
void write_layer(const std::filesystem::path& folder, const BenchOptions& options) {
  const auto analog = [](Index at) { return std::max(0.0F, uniform(1, at)); };
  write_npy(folder / "weights.npy", options.shape.neurons, options.shape.inputs,
            [](Index at) { return uniform(2, at); });
  write_npy(folder / "inputs.npy", options.shape.samples, options.shape.inputs, analog);
  OrderedJson layer = {{"name", "synthetic"}, {"weight", {{"file", "weights.npy"}}}, {"inputs", {{"file", "inputs.npy"}}}};
  if (!options.shape.shared) {
    write_npy(folder / "quantized_inputs.npy", options.shape.samples, options.shape.inputs,
              [&](Index at) { return std::max(0.0F, analog(at) + 0.1F * uniform(3, at)); });
    layer["quantized_inputs"] = {{"file", "quantized_inputs.npy"}};
  }
  const OrderedJson config = {{"layers", {layer}},
                              {"quantization", {{"preset", "paper"}, {"levels", options.levels}, {"block", options.shape.block}}},
                              {"memory_per_rank", options.memory_per_rank},
                              {"threads", options.threads},
                              {"output", "run"}};
  std::ofstream(folder / "bench.json") << config;
}

/// Flops of the path alone, as usually credited: what forming G and C of blocks takes is not in them.
double credited_flops(const ScaleShape& shape, bool is_gram) {
  const double m = static_cast<double>(shape.samples);
  const double N = static_cast<double>(shape.inputs);
  const double n = static_cast<double>(shape.neurons);
  if (is_gram) return (shape.shared ? 1 : 2) * N * N * (m + n);
  return (shape.shared ? 4 : 6) * m * N * n;
}

/// Seconds that the block kernel takes on one core for the whole layer: a tile through all inputs, times the tiles.
double kernel_seconds(const ScaleShape& shape, Index block, Index width, int levels) {
  std::vector<quant::Alphabet> alphabets(static_cast<std::size_t>(width), quant::Alphabet(levels, 0.1F));
  quant::Tile tile(shape.inputs, block, width, std::move(alphabets));
  for (Index at = 0; float& weight : tile.weights()) weight = uniform(4, at++);
  AlignedBuffer<float> G(block * block);  // of unit columns that are not far from orthogonal
  for (Index i = 0; i < block * block; ++i) G[i] = i % (block + 1) == 0 ? 1.0F : 0.05F * uniform(5, i);
  AlignedBuffer<float> inverse_norm(block);
  std::fill_n(inverse_norm.data(), block, 1.0F);
  AlignedBuffer<float> P(block * width);
  const Stopwatch watch;
  for (Index first = 0; first < shape.inputs; first += block) {
    std::fill_n(P.data(), P.size(), 0.0F);
    tile.quantize_next(std::min(block, shape.inputs - first), G.data(), G.data(), inverse_norm.data(), P.data());
  }
  return watch.seconds() * static_cast<double>(ceil_div(shape.neurons, width));
}

/// What one run of the job says.
struct Run {
  double seconds = 0;  ///< from the store to the codes, without copying the files to it
  OrderedJson report;
};

/// Removes the folder of a benchmark however it ends.
struct Folder {
  std::filesystem::path path;
  ~Folder() {
    std::error_code ignored;
    if (!path.empty()) std::filesystem::remove_all(path, ignored);
  }
};

Run read_run(const std::filesystem::path& path) {
  Run run{0, OrderedJson::parse(std::ifstream(path))};
  for (const auto& [phase, value] : run.report.at("layers").at(0).at("seconds").items())
    if (phase != "load") run.seconds += value.get<double>();
  return run;
}

/// The line of the run of median time; the rate of products being the best of several, the best run's share beside it.
std::string line_of(std::vector<Run> runs, double rate, const BenchOptions& options, int ranks) {
  std::sort(runs.begin(), runs.end(), [](const Run& a, const Run& b) { return a.seconds < b.seconds; });
  const OrderedJson& report = runs[runs.size() / 2].report;
  const OrderedJson& layer = report.at("layers").at(0);
  const double seconds = runs[runs.size() / 2].seconds;
  const double spread = runs.back().seconds - runs.front().seconds;
  const ScaleShape& shape = options.shape;
  const double flops = credited_flops(shape, layer.at("form") == "gram");
  const double kernel = kernel_seconds(shape, layer.at("block"), layer.at("tile"), options.levels) / (ranks * options.threads);
  const OrderedJson line = {{"benchmark", "layer"},
                            {"version", GPFQ_VERSION},
                            {"inputs", shape.inputs},
                            {"neurons", shape.neurons},
                            {"samples", shape.samples},
                            {"shared", shape.shared},
                            {"levels", options.levels},
                            {"form", layer.at("form")},
                            {"block", layer.at("block")},
                            {"tile", layer.at("tile")},
                            {"ranks", ranks},
                            {"threads", options.threads},
                            {"repeats", runs.size()},
                            {"seconds", seconds},
                            {"seconds_spread", spread},
                            {"seconds_least", runs.front().seconds},
                            {"kernel_seconds", kernel},
                            {"phases", layer.at("seconds")},
                            {"estimated_seconds", layer.at("estimated").at("seconds_total")},
                            {"seconds_of_job", report.at("seconds")},
                            {"gflops", flops / seconds * 1e-9},
                            {"sgemm_gflops", rate * 1e-9},
                            {"share_of_sgemm", flops / seconds / rate},
                            {"share_of_sgemm_at_best", flops / runs.front().seconds / rate},
                            {"peak_memory", report.at("peak_memory")},
                            {"codes_sha256", report.at("codes_sha256")}};
  return line.dump() + "\n";
}

}  // namespace

std::string bench(const mpi::Communicator& comm, const BenchOptions& options) {
  Folder folder;
  std::string path;
  comm.agree([&] {
    if (!comm.is_root()) return;
    check_extents(options);
    folder.path = std::filesystem::absolute(options.folder) / fmt::format("gpfq_bench_{}", getpid());
    std::error_code code;
    std::filesystem::create_directories(folder.path, code);
    if (code) throw_input("bench: cannot make {}: {}", folder.path.string(), code.message());
    path = folder.path.string();
    write_layer(folder.path, options);
  });
  comm.broadcast(path);
  make_blas_serial();
  double rate = product_rate(comm, options.threads);
  std::vector<Run> runs;
  for (int repeat = 0; repeat < options.repeat; ++repeat) {
    static_cast<void>(quantize(comm, {std::filesystem::path(path) / "bench.json", {}, true}));
    rate = std::max(rate, product_rate(comm, options.threads));
    comm.agree([&] {
      if (comm.is_root()) runs.push_back(read_run(folder.path / "run/report.json"));
      if (comm.is_root() && runs.back().report.at("codes_sha256") != runs.front().report.at("codes_sha256"))
        throw_fault("bench: run {} of {} gave other codes than the first", repeat + 1, options.repeat);
    });
  }
  return comm.is_root() ? line_of(std::move(runs), rate, options, comm.size()) : "";
}

}  // namespace gpfq::job
