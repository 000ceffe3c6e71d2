// SPDX-License-Identifier: Apache-2.0
// Start of a job on ranks, and its planning without them.
#include "job/session.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/serialization/map.hpp>
#include <boost/serialization/string.hpp>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>

#include "gpfq/base/error.hpp"
#include "gpfq/base/system.hpp"
#include "gpfq/formats/tensor_file.hpp"
#include "gpfq/store/model_file.hpp"
#include "gpfq/store/sample_file.hpp"
#include "job/blas.hpp"
#include "job/estimate.hpp"
#include "job/evaluation.hpp"
#include "job/model_source.hpp"
#include "job/msq.hpp"
#include "job/subject.hpp"
#include "job/workspace.hpp"

namespace gpfq::job {
namespace {

std::filesystem::path folder_of(const std::filesystem::path& config) {
  return std::filesystem::absolute(config).parent_path();
}

/// OMP_NUM_THREADS, or 0.
int asked_threads() {
  int threads = 0;
  const char* asked = std::getenv("OMP_NUM_THREADS");
  if (asked != nullptr) std::from_chars(asked, asked + std::strlen(asked), threads);
  return std::clamp(threads, 0, static_cast<int>(most_threads));
}

/// OMP_NUM_THREADS, else this rank's share of the processors that it may run on.
int choose_threads(const mpi::Communicator& comm) {
  if (asked_threads() > 0) return asked_threads();
  int processors = 1;
  const std::string mine = processor_set(processors);
  const mpi::Communicator node = comm.split_node();
  std::map<std::string, int> ranks;  // by their processors
  for (const std::string& set : node.gather(mine)) ++ranks[set];
  node.broadcast(ranks);
  return std::max(1, processors / ranks.at(mine));
}

}  // namespace

void try_files(const JobOptions& options, const std::filesystem::path& model) {
  Config config;
  const auto tries = [](const std::function<void()>& action) {
    try {
      action();
    } catch (const std::exception&) {  // the job will say it
    }
  };
  tries([&] {
    const std::string text = load_config_text(options.config, options.overrides);
    config = parse_config(text, folder_of(options.config), options.config.string());
  });
  const std::filesystem::path used = model.empty() ? config.model : model;
  if (hdf5::is_hdf5(used) && !import_unless_native(used)) static_cast<void>(store::ModelFile(used));
  const auto try_samples = [&](const DataSource& source) {
    constexpr Index most_values = Index{1} << 22;
    const store::SampleFile samples(source.file, source.inputs);
    const Index size = element_count(samples.sample_shape());
    if (size > most_values) return;
    const std::vector<Index> last{samples.sample_count() - 1};
    std::vector<float> values(static_cast<std::size_t>(size));
    samples.read(last, values.data());
    if (!source.labels.empty()) static_cast<void>(store::SampleFile(source.file, source.labels).read_labels(last));
  };
  tries([&] { try_samples(config.calibration); });
  tries([&] {
    if (config.evaluation) try_samples(*config.evaluation);
  });
  for (const LayerSource& layer : config.layers) {
    tries([&] { static_cast<void>(formats::open_tensor(layer.weight)); });
    tries([&] { static_cast<void>(formats::open_tensor(layer.inputs)); });
    tries([&] {
      if (layer.quantized_inputs) static_cast<void>(formats::open_tensor(*layer.quantized_inputs));
    });
  }
}

Session::Session(const mpi::Communicator& comm, const JobOptions& options) {
  std::string text;
  std::string folder;
  comm.agree([&] {
    if (!comm.is_root()) return;
    text = load_config_text(options.config, options.overrides);
    folder = folder_of(options.config).string();
    static_cast<void>(parse_config(text, folder, options.config.string()));
  });
  comm.broadcast(text);
  comm.broadcast(folder);
  comm.agree([&] { config_ = parse_config(text, folder, options.config.string()); });
  const int threads = choose_threads(comm);
  if (config_.threads == 0) config_.threads = threads;
  make_blas_serial();
  agree_on_blas_core(comm);
}

void check_evaluation(const DataSource& source, const Preprocess& preprocess, const net::Graph& graph) {
  const Samples samples(source, preprocess, graph.node(0).shape);
  const Index classes = element_count(graph.node(graph.output).shape);
  const std::vector<Index> labels = samples.labels(source);
  for (std::size_t i = 0; i < labels.size(); ++i)
    if (labels[i] < 0 || labels[i] >= classes)
      throw_input("{}:{} holds label {} for sample {}, the network has {} classes", source.file.string(), source.labels,
                  labels[i], i, classes);
}

Index evaluation_samples(const Config& config, const net::Graph& graph) {
  if (!config.evaluation) return 0;
  const Samples samples(*config.evaluation, config.preprocess, graph.node(0).shape);
  samples.check_labels(*config.evaluation);
  return samples.count();
}

std::string plan_job(const JobOptions& options, const PlanOptions& plan) {
  if (plan.nodes > plan.ranks)
    throw_input("plan: --nodes is {}, --ranks is {}: expected at least one rank on every node", plan.nodes, plan.ranks);
  Config config =
      parse_config(load_config_text(options.config, options.overrides), folder_of(options.config), options.config.string());
  if (config.threads == 0) config.threads = std::max(1, asked_threads());  // where it will run is not known here
  const Subject subject = open_subject(config);
  const MachineRates rates = with_given(machine_rates(config.scratch, machine_cache()), plan.rates);
  const Placement placement = place_ranks(plan.ranks, plan.nodes, config.threads, rates.cores);
  const JobEstimate estimate = estimate_job(subject.plan, subject.graph(), config, rates, placement,
                                            {evaluation_samples(config, subject.graph()), subject.imported.has_value()});
  if (plan.json) return estimate_json(subject.plan, estimate, config, placement, rates);
  return printable(plan_table(subject.plan, config, plan.ranks, placement.nodes) +
                   estimate_table(subject.plan, estimate, config, placement));
}

std::string evaluate_model(const mpi::Communicator& comm, const std::filesystem::path& path, const JobOptions& options) {
  const Session session(comm, options);
  const Config& config = session.config();
  std::unique_ptr<TemporaryFolder> folder;
  std::string model_path = path.string();
  comm.agree([&] {
    if (!comm.is_root()) return;
    if (!config.evaluation) throw_input("config: 'evaluation' is missing: evaluate needs its file, inputs and labels");
    const std::optional<net::Model> imported = import_unless_native(path);
    const net::Graph graph = imported ? imported->graph : store::ModelFile(path).graph();
    if (!graph.is_network())
      throw_input("{} holds layers without a network: there is nothing to run from end to end", path.string());
    check_evaluation(*config.evaluation, config.preprocess, graph);
    if (!imported) return;
    const std::string own = fmt::format("evaluation-{}-{}", host_name(), ::getpid());  // others may look at the same output
    folder = std::make_unique<TemporaryFolder>(scratch_of(config.scratch, config.output / own));
    model_path = (folder->path() / "model.h5").string();
    store::write_model(model_path, *imported);
  });
  comm.broadcast(model_path);
  std::unique_ptr<store::ModelFile> model;
  std::unique_ptr<Samples> samples;
  std::vector<Index> labels;
  JobPlan plan;
  comm.agree([&] {
    model = std::make_unique<store::ModelFile>(model_path);
    plan = plan_propagation(model->graph(), config);
    samples = std::make_unique<Samples>(*config.evaluation, config.preprocess, model->graph().node(0).shape);
    labels = samples->labels(*config.evaluation);
  });
  WorkDealer dealer(comm, std::numeric_limits<double>::infinity());  // there is nothing to keep
  const Accuracy accuracy = evaluate(comm, model->graph(), plan, config, *model, {*samples, labels}, dealer);
  model.reset();
  comm.barrier();
  if (!comm.is_root()) return "";
  return fmt::format("top-1 {:.4f} ({} of {})  top-5 {:.4f} ({})  {}\n", accuracy.top1_fraction(), accuracy.top1,
                     accuracy.samples, accuracy.top5_fraction(), accuracy.top5, path.string());
}

}  // namespace gpfq::job
