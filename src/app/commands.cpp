// SPDX-License-Identifier: Apache-2.0
// Subcommands and options, by CLI11.
#include "app/commands.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <sstream>

#include "gpfq/base/error.hpp"
#include "gpfq/base/text.hpp"
#include "gpfq/demo/sample.hpp"
#include "gpfq/job/config.hpp"

namespace gpfq::app {
namespace {

/// A finite number above zero. The parser's own check lets nan pass and names a bound of 300 digits.
const CLI::Validator positive(
    [](std::string& text) {
      char* end = nullptr;
      const double value = std::strtod(text.c_str(), &end);
      const bool is_positive = !text.empty() && *end == '\0' && std::isfinite(value) && value > 0;
      return is_positive ? std::string() : fmt::format("'{}' is not a positive number", text);
    },
    "POSITIVE");

void add_config_options(CLI::App& command, Request& request) {
  command.add_option("--set", request.job.overrides, "key=value: overrides a config key (dotted); may be repeated")
      ->allow_extra_args(false);
}

/// In place of what is measured here.
void add_rate_options(CLI::App& command, job::GivenRates& rates) {
  const auto add = [&](const char* name, auto& value, const char* help) {
    command.add_option(name, value, help)->check(positive);
  };
  add("--gflops", rates.gflops, "rate of a core, single-precision product (default: measured here, as all rates)");
  add("--memory-gb", rates.memory_gb, "memory copied by a node, GB/s");
  add("--read-gb", rates.read_gb, "read by a rank from files, GB/s");
  add("--write-gb", rates.write_gb, "written by a rank to files, GB/s");
  add("--cores", rates.cores, "cores of a node");
  add("--latency-us", rates.latency_us, "several nodes: between them, microseconds (default, as of the next three: as in scale)");
  add("--network-gb", rates.network_gb, "several nodes: network of a node, GB/s");
  add("--files-gb", rates.files_gb, "several nodes: file system, GB/s");
  add("--node-files-gb", rates.node_files_gb, "several nodes: file system to one node, GB/s");
}

/// A layer's shape, a cluster's rates and a design: no files.
void add_scale_options(CLI::App& command, Request& request) {
  const auto add = [&](const char* name, auto& value, const char* help) {
    command.add_option(name, value, help)->check(positive)->capture_default_str();
  };
  job::ScaleShape& shape = request.scale_shape;
  add("--inputs", shape.inputs, "N");
  add("--neurons", shape.neurons, "n");
  add("--samples", shape.samples, "m");
  command.add_flag("--shared", shape.shared, "X = Xq (a network's first quantized layer)");
  command.add_option("--block", shape.block, "inputs per block; 0 chooses as the plan does")
      ->check(CLI::Range(Index{0}, job::widest_block))
      ->capture_default_str();
  job::ScaleMachine& machine = request.scale_machine;
  add("--gflops", machine.gflops, "of a core, single-precision product");
  add("--cores", machine.cores_per_node, "of a node, one rank each");
  add("--node-memory-gb", machine.node_memory_gb, "memory of a node, GB");
  add("--memory-gb", machine.memory_gb, "memory bandwidth of a node, GB/s");
  add("--latency-us", machine.latency_us, "between nodes, microseconds");
  add("--node-latency-us", machine.node_latency_us, "inside a node, microseconds");
  add("--network-gb", machine.network_gb, "network of a node, GB/s");
  add("--files-gb", machine.files_gb, "file system, GB/s");
  add("--node-files-gb", machine.node_files_gb, "file system to one node, GB/s");
  add("--digest-gb", machine.digest_gb, "SHA-256 by a core, GB/s");
  using Reading = job::ScaleDesign::Reading;
  using Products = job::ScaleDesign::Products;
  command.add_option("--read", request.scale_design.reading, "blocks: each (node reads all) or once (then exchanged)")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, Reading>{{"each", Reading::each_node}, {"once", Reading::once}}));
  command.add_option("--products", request.scale_design.products, "G and C are formed by each rank, each node, or all ranks")
      ->transform(CLI::CheckedTransformer(std::map<std::string, Products>{
          {"rank", Products::each_rank}, {"node", Products::node}, {"all", Products::all_ranks}}));
  command.add_flag("--read-ahead,!--no-read-ahead", request.scale_design.read_ahead, "reading hides behind computing");
  command.add_flag("--model-copy,!--no-model-copy", request.scale_design.copies_model,
                   "ranks copy the weights to scratch first, as of layers without a network");
  command.add_flag("--json", request.plan.json, "print JSON");
}

void add_commands(CLI::App& app, Request& request) {
  const auto chosen = [&request](Command command) { return [&request, command] { request.command = command; }; };

  CLI::App* demo = app.add_subcommand("demo", "write the embedded sample: a network, data and a config");
  demo->add_option("--out", request.output, "folder to write to")->required();
  demo->callback(chosen(Command::demo));

  CLI::App* import_model = app.add_subcommand("import", "turn an ONNX or Keras model into the native format");
  import_model->add_option("FILE", request.input, "model.onnx, or a Keras whole-model .h5")->required();
  import_model->add_option("-o,--output", request.output, "native model to write")->required();
  import_model->callback(chosen(Command::import_model));

  CLI::App* plan = app.add_subcommand("plan", "show what a job will do and cost: work, time, memory; no ranks needed");
  plan->add_option("CONFIG", request.job.config, "config (JSON)")->required();
  plan->add_option("--ranks", request.plan.ranks, "ranks to plan for")->check(CLI::Range(1, 1 << 20));
  plan->add_option("--nodes", request.plan.nodes, "nodes that they run on (default: one core per thread)")
      ->check(CLI::Range(1, 1 << 20));
  plan->add_flag("--json", request.plan.json, "print JSON");
  add_rate_options(*plan, request.plan.rates);
  add_config_options(*plan, request);
  plan->callback(chosen(Command::plan));

  CLI::App* scale = app.add_subcommand("scale", "predict a dense layer's time on 2 to 4096 ranks from its shape alone");
  add_scale_options(*scale, request);
  scale->callback(chosen(Command::scale));

  CLI::App* bench = app.add_subcommand("bench", "time a synthetic layer: mpirun -n P gpfq bench --inputs N ...");
  request.bench.shape = {4096, 4096, 4096};
  bench->add_option("--inputs", request.bench.shape.inputs, "N")->check(positive)->capture_default_str();
  bench->add_option("--neurons", request.bench.shape.neurons, "n")->check(positive)->capture_default_str();
  bench->add_option("--samples", request.bench.shape.samples, "m")->check(positive)->capture_default_str();
  bench->add_flag("--shared", request.bench.shape.shared, "both networks have the same inputs");
  bench->add_option("--block", request.bench.shape.block, "inputs per block; 0 chooses")
      ->check(CLI::Range(Index{0}, job::widest_block));
  bench->add_option("--levels", request.bench.levels, "levels of the alphabet")->check(CLI::Range(2, 256));
  bench->add_option("--threads", request.bench.threads, "threads per rank")
      ->check(CLI::Range(Index{1}, job::most_threads));
  bench->add_option("--repeat", request.bench.repeat, "runs: their median and spread are told")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  bench->add_option("--memory-per-rank", request.bench.memory_per_rank, "as in a config")->capture_default_str();
  bench->add_option("--folder", request.bench.folder, "an existing folder, for its files while it runs");
  bench->callback(chosen(Command::bench));

  CLI::App* quantize = app.add_subcommand("quantize", "quantize a network: mpirun -n P gpfq quantize CONFIG");
  quantize->add_option("CONFIG", request.job.config, "config (JSON)")->required();
  add_config_options(*quantize, request);
  quantize->add_flag("--overwrite", request.job.overwrite, "replace what the output folder holds of another run");
  quantize->add_flag("--resume", request.job.resume, "go on from the checkpoint in the output folder; afresh without one")
      ->excludes("--overwrite");
  quantize->add_option("--progress", request.job.progress, "file to make as soon as --resume goes on with this run, changed with every checkpoint (for scripts)");
  quantize->add_option("--log-level", request.job.log_level, "info, or debug: details in OUTPUT/log, and a file per rank beside it")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, job::LogLevel>{{"info", job::LogLevel::info}, {"debug", job::LogLevel::debug}}));
  quantize->footer(job::config_help());
  quantize->callback(chosen(Command::quantize));

  CLI::App* evaluate = app.add_subcommand("evaluate", "accuracy of a model: mpirun -n P gpfq evaluate MODEL --config CONFIG");
  evaluate->add_option("MODEL", request.input, "native (float or quantized), ONNX or Keras model")->required();
  evaluate->add_option("--config", request.job.config, "config with evaluation and preprocess")->required();
  add_config_options(*evaluate, request);
  evaluate->callback(chosen(Command::evaluate));

  CLI::App* inspect = app.add_subcommand("inspect", "show what is in a model or an HDF5 file");
  inspect->add_option("FILE", request.input, "file to look into")->required();
  inspect->callback(chosen(Command::inspect));
}

/// "gpfq quantise": names the word, which the parser's own message does not. Empty where the command is known.
std::string unknown_command(const CLI::App& app, int argc, const char* const* argv) {
  const std::string word = argc > 1 ? argv[1] : "";
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  if (word.empty() || word.front() == '-' || std::find(names.begin(), names.end(), word) != names.end()) return "";
  const std::string meant = nearest_word(word, names);
  return fmt::format("unknown command '{}'{}\nRun with --help for more information.\n", word,
                     meant.empty() ? "" : fmt::format("; did you mean '{}'?", meant));
}

}  // namespace

ParseResult parse_command_line(int argc, const char* const* argv) {
  ParseResult result;
  CLI::App app("gpfq: quantizes trained networks by greedy path following, on MPI ranks", "gpfq");
  app.set_version_flag("--version", "gpfq " GPFQ_VERSION);
  app.require_subcommand(1);
  add_commands(app, result.request);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out;
    std::ostringstream problem;
    const bool is_help = app.exit(error, out, problem) == 0;
    result.exit_code = is_help ? 0 : 2;
    const std::string unknown = unknown_command(app, argc, argv);
    result.text = is_help ? out.str() : "gpfq: " + (unknown.empty() ? problem.str() : unknown);
    result.request.command = Command::none;
  }
  return result;
}

std::string run_serial(const Request& request) {
  switch (request.command) {
    case Command::demo: {
      const demo::SampleFiles files = demo::write_sample(request.output);
      return fmt::format("{}\n{}\n{}\n", files.model.string(), files.data.string(), files.config.string());
    }
    case Command::import_model:
      return job::import_model(request.input, request.output);
    case Command::plan:
      return job::plan_job(request.job, request.plan);
    case Command::scale:
      return (request.plan.json ? job::scale_json : job::scale_table)(request.scale_shape, request.scale_machine,
                                                                      request.scale_design);
    case Command::inspect:
      return job::inspect(request.input);
    default:
      throw_fault("run_serial: this command runs on ranks");
  }
}

bool reads_foreign_files(Command command) { return command == Command::import_model || command == Command::inspect; }

void try_files(const Request& request) {
  if (request.command == Command::quantize) job::try_files(request.job, {});
  if (request.command == Command::evaluate) job::try_files(request.job, request.input);
}

bool needs_ranks(Command command) {
  return command == Command::quantize || command == Command::evaluate || command == Command::bench;
}

std::string run_on_ranks(const Request& request, const mpi::Communicator& comm) {
  if (request.command == Command::bench) return job::bench(comm, request.bench);
  if (request.command == Command::quantize) return job::quantize(comm, request.job);
  return job::evaluate_model(comm, request.input, request.job);
}

}  // namespace gpfq::app
