// SPDX-License-Identifier: Apache-2.0
// The main job. Root, the coordinator, reads the config and the graph, plans, and gathers what the
// ranks report; every rank, root included, works on its shard.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "gpfq/base/digest.hpp"
#include "gpfq/base/system.hpp"
#include "gpfq/base/text.hpp"
#include "gpfq/job/job.hpp"
#include "gpfq/store/model_copy.hpp"
#include "job/bias.hpp"
#include "job/blas.hpp"
#include "job/checkpoint_check.hpp"
#include "job/checkpointer.hpp"
#include "job/estimate.hpp"
#include "job/evaluation.hpp"
#include "job/layer_path.hpp"
#include "job/layer_list.hpp"
#include "job/msq.hpp"
#include "job/propagation.hpp"
#include "job/report.hpp"
#include "job/resume.hpp"
#include "job/run_log.hpp"
#include "job/session.hpp"
#include "job/subject.hpp"
#include "job/tile_states.hpp"
#include "job/workspace.hpp"

namespace gpfq::job {
namespace {

std::vector<store::QuantizedLayer> result_layers(const net::Graph& graph, const JobPlan& plan, const Config& config) {
  std::vector<store::QuantizedLayer> layers;
  for (const LayerPlan* layer : plan.quantized_layers())
    layers.push_back({layer->name, graph.node(layer->node).source_name, layer->tensor,
                      config.settings_for(layer->name).levels, graph.tensor_shape(layer->tensor),
                      layer->corrects_bias ? graph.node(layer->node).parameters.at("bias") : "", layer->shifts_levels,
                      layer->shifts_levels ? layer->threshold : 0});
  return layers;
}

// Work that is not thrown away with a job that its input ends.
constexpr double least_kept_seconds = 60;

// What may stay with the allocator between two steps: a part of a rank's memory, and never much.
constexpr Index small_share = 16;
constexpr Index most_kept = Index{64} << 20;

/// "layer 'conv1': 4 tiles; path 1.234 s, read 0.010 s; 12 MiB read, 4 MiB written; peak memory 80 MiB"
std::string layer_text(const std::string& name, const RankReport& rank) {
  std::string times;
  for (const auto& [phase, seconds] : rank.seconds) times += fmt::format("{}{} {:.3f} s", times.empty() ? "" : ", ", phase, seconds);
  return fmt::format("layer '{}': {} tiles; {}; {} read, {} written; peak memory {}", name, rank.tiles.size(), times,
                     format_bytes(rank.bytes_read), format_bytes(rank.bytes_written), format_bytes(rank.peak_memory));
}

/// The job's state on one rank, and its steps in order.
class QuantizeJob {
 public:
  QuantizeJob(const mpi::Communicator& comm, const JobOptions& options)
      : comm_(comm),
        options_(options),
        session_(comm, options),
        log_(comm.rank(), options.log_level),
        checkpointer_(comm, session_.config().output, session_.config().checkpoint_seconds),
        dealer_(comm, session_.config().checkpoint_seconds) {}

  ~QuantizeJob() { checkpointer_.wait(); }  // before the workspace removes files
  QuantizeJob(const QuantizeJob&) = delete;
  QuantizeJob& operator=(const QuantizeJob&) = delete;

  std::string run();

 private:
  void prepare();
  void copy_weights(const std::string& path);
  [[nodiscard]] std::string finished_run() const;
  void read_checkpoint(const net::Graph* graph);
  void open_result();
  void start_activations();
  void save();
  void begin_progress() const;
  void tell_progress() const;
  void estimate(const net::Graph& graph, bool is_imported, int nodes);
  void run_layers();
  void run_layer(std::size_t index);
  void write_alphabets(const LayerPlan& layer, RankReport& report);
  void load_layer(const LayerPlan& layer);
  void make_propagation(const JobPlan& plan);
  void quantize_shard(const LayerPlan& layer, const LayerSettings& settings, OutputCollector* outputs, RankReport& report);
  void record_quantized(const LayerPlan& layer, bool hands_on_outputs, const RankReport& mine);
  [[nodiscard]] std::optional<LayerError> error_of_products(const LayerPlan& layer, const RankReport& mine) const;
  void report_layer(const LayerPlan& layer, const RankReport& mine, const LayerError& error);
  void add_to_report(const LayerPlan& layer, const LayerRecord& record);
  void evaluate_networks();
  void check_codes(const std::string& layer, const TileReport& tile) const;
  void hash_codes();
  std::string finish();

  const mpi::Communicator& comm_;
  const JobOptions& options_;
  Session session_;
  RunLog log_;
  Stopwatch elapsed_;
  Checkpointer checkpointer_;
  WorkDealer dealer_;
  bool is_resumed_ = false;
  double earlier_seconds_ = 0;  // of runs that this one goes on from
  std::string finished_;        // what to say when there is nothing to do
  LayerAlphabets alphabets_;  // of the layer at work
  Index read_before_ = 0;     // bytes of the store, before it
  Index written_before_ = 0;
  JobPlan plan_;
  JobReport report_;
  std::unique_ptr<Workspace> workspace_;  // root only; before the files below, so that they are closed first
  std::string scratch_;
  std::unique_ptr<store::ModelFile> model_;
  std::unique_ptr<store::QuantizedFile> result_;
  std::unique_ptr<store::ActivationStore> store_;
  JobPlan layer_plan_;  // of the one layer at work, without a network
  std::unique_ptr<Propagation> propagation_;
};

/// What the job should take, for the report; a job without one is as good.
void QuantizeJob::estimate(const net::Graph& graph, bool is_imported, int nodes) {
  const Config& config = session_.config();
  try {
    const MachineRates rates = machine_rates(scratch_, machine_cache());
    report_.estimate = estimate_job(plan_, graph, config, rates, {comm_.size(), nodes, rates.cores},
                                    {evaluation_samples(config, graph), is_imported});
  } catch (const std::exception& error) {
    log_.note(fmt::format("no estimate: {}", error.what()));
  }
}

/// With --resume: what there is to say of a run that needs nothing any more; else empty. On root.
/// @throws Error (input) when the finished run is another one than the config's
std::string QuantizeJob::finished_run() const {
  const Config& config = session_.config();
  const std::filesystem::path report = config.output / "report.json";
  std::error_code code;
  if (!options_.resume || workspace_->overwrites() || !std::filesystem::exists(report, code) ||
      std::filesystem::exists(config.output / "quantized.h5.partial", code))
    return "";
  const FinishedRun run = read_finished_run(report);
  const std::string others = differences(run.fingerprint, checkpointer_.state().fingerprint);
  if (!others.empty())
    throw_input("{} holds a finished run of something else: --overwrite replaces it{}", config.output.string(), others);
  checkpointer_.remove_all();
  workspace_->release_earlier(config.scratch);
  return fmt::format("{} holds this run, finished: codes_sha256 {}\n", config.output.string(), run.codes_sha256);
}

/// Root reads the manifest, compares, and tells the others. @param graph  on root
void QuantizeJob::read_checkpoint(const net::Graph* graph) {
  const std::filesystem::path manifest = manifest_of(session_.config().output);
  const Fingerprint now = checkpointer_.state().fingerprint;
  comm_.agree([&] {
    std::error_code code;
    if (!comm_.is_root() || !options_.resume || !std::filesystem::exists(manifest, code)) return;
    Checkpoint found = job::read_checkpoint(manifest);
    const std::string others = differences(found.fingerprint, now);
    if (!others.empty())
      throw_input("{} is a checkpoint of something else: --overwrite begins anew{}", manifest.string(), others);
    validate(found, plan_, *graph, manifest.string());
    ++found.restarts;
    if (found.evaluation != evaluation_text(session_.config())) found.evaluations = {};  // its keys may change between two starts
    found.evaluation = evaluation_text(session_.config());
    checkpointer_.state() = std::move(found);
    is_resumed_ = true;
    workspace_->keep();
  });
  comm_.broadcast(is_resumed_);
  comm_.broadcast(checkpointer_.state());
  earlier_seconds_ = checkpointer_.state().seconds;
}

/// Layers without a network: each rank brings rows of their weights to scratch.
void QuantizeJob::copy_weights(const std::string& path) {
  net::Model listed;
  comm_.agree([&] { listed = read_layer_list(session_.config(), comm_.size()).model; });
  store::write_model(comm_, path, listed);
}

/// Root checks everything that can be checked before anything is written, then makes the folders.
void QuantizeJob::prepare() {
  std::string model_path;
  const int nodes = comm_.node_count();
  std::optional<Subject> subject;
  comm_.agree([&] {
    if (!comm_.is_root()) return;
    const Config& config = session_.config();
    subject = open_subject(config);
    if (config.evaluation) check_evaluation(*config.evaluation, config.preprocess, subject->graph());
    plan_ = subject->plan;
    for (const LayerPlan* layer : plan_.quantized_layers())
      static_cast<void>(choose_grid(*layer, config, comm_.size()));  // a grid of other ranks ends the job here
    checkpointer_.state().fingerprint = fingerprint_of(
        config, subject->imported ? subject->imported->other_files : std::set<std::filesystem::path>());
    checkpointer_.state().evaluation = evaluation_text(config);
    workspace_ = std::make_unique<Workspace>(config.output, options_.resume      ? Earlier::resume
                                                            : options_.overwrite ? Earlier::overwrite
                                                                                 : Earlier::refuse);
    begin_progress();
    finished_ = finished_run();
  });
  comm_.broadcast(finished_);
  if (!finished_.empty()) return;
  read_checkpoint(subject ? &subject->graph() : nullptr);
  comm_.agree([&] {
    if (!comm_.is_root()) return;
    const Config& config = session_.config();
    workspace_->make_scratch(config.scratch, plan_.output_bytes + checkpoint_bytes(plan_, config, comm_.size()), plan_.store_bytes + plan_.model_copy_bytes);
    scratch_ = workspace_->scratch().string();
    model_path = config.model.string();
    if (subject->imported) model_path = (workspace_->scratch() / "model.h5").string();
    if (subject->imported && config.has_network()) store::write_model(model_path, *subject->imported);
    log_.open(config.output, is_resumed_);
    estimate(subject->graph(), subject->imported.has_value(), nodes);
    if (workspace_->lock_stands_in())
      log_.line(fmt::format("{} is on a file system without locks: the file .lock.held there stands in for one", config.output.string()));
    if (subject->folded > 0)
      log_.line(fmt::format("{} BatchNormalization nodes folded into the layers before them", subject->folded));
  });
  comm_.broadcast(plan_);
  comm_.broadcast(model_path);
  if (!session_.config().has_network()) copy_weights(model_path);
  if (subject && subject->imported) {
    std::error_code ignored;
    report_.scratch_peak_bytes = static_cast<Index>(std::filesystem::file_size(model_path, ignored));
  }
  subject.reset();
  comm_.broadcast(scratch_);
  comm_.agree([&] {
    if (!comm_.is_root()) log_.open(session_.config().output, is_resumed_);
    model_ = std::make_unique<store::ModelFile>(model_path);
  });
  log_.debug(fmt::format("rank {} of {}: process {} on {}", comm_.rank(), comm_.size(), ::getpid(), host_name()));
  log_.line(fmt::format("{}: {} layers to quantize, {} calibration samples, {} ranks x {} threads, {}",
                        subject_name(session_.config()), plan_.quantized_layers().size(), plan_.samples, comm_.size(),
                        session_.config().threads, blas_core()));
  checkpointer_.on_save([this, is_first = true](double seconds) mutable {
    if (workspace_) workspace_->keep();
    if (workspace_ && std::exchange(is_first, false)) workspace_->drop_earlier();
    tell_progress();
    log_.debug(fmt::format("checkpoint written in {:.3f} s", seconds));
  });
  if (is_resumed_)
    log_.line(resume_text(checkpointer_.state(), plan_, comm_.size()));
  else if (options_.resume)
    log_.line("nothing to resume: beginning afresh");
}

/// For scripts, on root. Without the file the next start would overwrite this run; else it is worth no job's end.
void QuantizeJob::begin_progress() const {
  std::error_code code;
  if (options_.progress.empty() || std::filesystem::exists(options_.progress, code)) return;
  if (!std::ofstream(options_.progress) && options_.overwrite)
    throw_output("cannot write {}: {}", options_.progress.string(), std::strerror(errno));
}

void QuantizeJob::tell_progress() const {
  if (workspace_ && !options_.progress.empty()) std::ofstream(options_.progress) << position_of(checkpointer_.state()) << '\n';
}

/// A new result, or the one that an earlier run began.
void QuantizeJob::open_result() {
  const Config& config = session_.config();
  std::vector<store::QuantizedLayer> layers = result_layers(model_->graph(), plan_, config);
  const std::filesystem::path path = config.output / "quantized.h5";
  if (is_resumed_) {
    result_ = std::make_unique<store::QuantizedFile>(comm_, path, model_->graph(), std::move(layers),
                                                     checkpointer_.state().result);
    restore_result(comm_, model_->graph(), plan_, checkpointer_.state(), *result_);
    return;
  }
  result_ = std::make_unique<store::QuantizedFile>(comm_, path, *model_, std::move(layers));
  result_->flush();
  comm_.agree([&] {
    if (comm_.is_root()) checkpointer_.state().result = result_->frame();
  });
}

void QuantizeJob::make_propagation(const JobPlan& plan) {
  propagation_ = std::make_unique<Propagation>(comm_, model_->graph(), plan, session_.config(), *model_, *result_,
                                               *store_, checkpointer_, dealer_);
}

/// The calibration samples at the first layer, or what an earlier run had stored.
void QuantizeJob::start_activations() {
  const Config& config = session_.config();
  store_ = std::make_unique<store::ActivationStore>(comm_, std::filesystem::path(scratch_) / "activations", is_resumed_);
  if (!config.has_network()) return;
  make_propagation(plan_);
  if (is_resumed_) propagation_->restore();
  if (propagation_->has_started() || !checkpointer_.state().layers.empty()) return;
  std::unique_ptr<Samples> calibration;
  comm_.agree([&] {
    calibration = std::make_unique<Samples>(config.calibration, config.preprocess, model_->graph().node(0).shape);
  });
  log_.progress("reading calibration samples");
  propagation_->start(*calibration, plan_.quantized_layers().front()->node);
  save();
}

/// A checkpoint between two layers, or before the first.
void QuantizeJob::save() {
  static_cast<void>(checkpointer_.is_due());
  std::vector<std::filesystem::path> files = propagation_->record();
  if (comm_.is_root()) checkpointer_.state().scratch_peak_bytes = std::max(
      checkpointer_.state().scratch_peak_bytes, store_->peak_disk_bytes());
  checkpointer_.save_behind(std::move(files));
  checkpointer_.stop_if_asked();
}

/// Without a network: brings the layer's activations from its files, and only them, to the store.
void QuantizeJob::load_layer(const LayerPlan& layer) {
  layer_plan_ = plan_alone(model_->graph(), layer);
  make_propagation(layer_plan_);
  const std::vector<TensorRecord>& tensors = checkpointer_.state().tensors;
  const bool is_there = std::ranges::any_of(tensors, [](const TensorRecord& record) { return record.is_whole; });
  if (comm_.max(is_there ? Index{1} : Index{0}) > 0) return propagation_->restore();  // an earlier run brought them
  const std::vector<LayerSource>& sources = session_.config().layers;
  std::unique_ptr<LayerSamples> samples;
  comm_.agree([&] {
    const auto source = std::find_if(sources.begin(), sources.end(),
                                     [&](const LayerSource& candidate) { return candidate.name == layer.name; });
    require(source != sources.end(), "load_layer: the plan's layers are the config's");
    samples = std::make_unique<LayerSamples>(*source, layer);
  });
  propagation_->load_inputs(layer, [&](store::Network network, Range inputs, float* values) {
    samples->read(network, inputs, values);
  });
  save();
}

/// Each rank those of its share of the neurons.
void QuantizeJob::write_alphabets(const LayerPlan& layer, RankReport& report) {
  const Range share = radius_share(layer, comm_);
  comm_.agree([&] {
    std::vector<float> steps;
    for (Index j = share.begin; j < share.end; ++j)
      steps.push_back(alphabets_.alphabets[static_cast<std::size_t>(j)].step());
    const std::span<const float> radii(alphabets_.radius);
    if (!share.empty())
      result_->write_alphabets(layer.name, share.begin,
                               radii.subspan(static_cast<std::size_t>(share.begin), steps.size()), steps);
  });
  const auto [smallest, largest] = std::minmax_element(alphabets_.radius.begin(), alphabets_.radius.end());
  report.smallest_radius = *smallest;
  report.largest_radius = *largest;
}

void QuantizeJob::quantize_shard(const LayerPlan& layer, const LayerSettings& settings, OutputCollector* outputs,
                                 RankReport& report) {
  Stopwatch radius;
  alphabets_ = find_alphabets(comm_, layer, settings, *model_, session_.config().threads);
  report.radius_fell_back = alphabets_.fell_back;
  report.seconds["radius"] += radius.seconds();
  LayerTask task{comm_,
                 model_->graph(),
                 layer,
                 alphabets_,
                 *model_,
                 *store_,
                 *result_,
                 checkpointer_,
                 dealer_,
                 choose_grid(layer, session_.config(), comm_.size()),
                 session_.config().stream,
                 session_.config().threads,
                 session_.config().memory_per_rank,
                 nullptr,
                 outputs,
                 read_before_,
                 written_before_};
  if (layer.corrects_bias)
    task.correct_bias = [&](const TileBox& box, const quant::Tile& tile, const RankReport& so_far) {
      return correct_tile_bias(model_->graph(), layer, *model_, *result_, box, tile, so_far.column_sums);
    };
  const int input = model_->graph().node(layer.node).inputs.front();
  if (layer.form == Form::gram)
    quantize_by_gram(task, propagation_->bounds(input, store::Network::quantized),
                     propagation_->bounds(input, store::Network::analog), report);
  else if (layer.form == Form::residual)
    quantize_by_path(task, report);  // not within agree(): it has collectives of its own
  else
    comm_.agree([&] { quantize_by_rounding(task, report); });
  write_alphabets(layer, report);
  if (layer.corrects_bias && outputs == nullptr) {
    result_->flush();
    const Range share = radius_share(layer, comm_);
    comm_.agree([&] {
      correct_stored_bias(model_->graph(), layer, *model_, *result_, share, report.column_sums);
    });
  }
}

/// What the checkpoint tells of a layer from here on. Where its outputs are still to come, they begin from this.
void QuantizeJob::record_quantized(const LayerPlan& layer, bool hands_on_outputs, const RankReport& mine) {
  LayerProgress& progress = checkpointer_.state().progress;
  const std::vector<RankReport> reports = comm_.gather(mine);
  comm_.agree([&] {
    if (!comm_.is_root()) return;
    if (!hands_on_outputs) {
      progress = {};
      progress.report = merge_reports(reports);
      progress.is_quantized = true;
      checkpointer_.state().states.clear();
    }
    progress.radius = alphabets_.radius;
    progress.step.clear();
    for (const quant::Alphabet& alphabet : alphabets_.alphabets) progress.step.push_back(alphabet.step());
    if (!layer.corrects_bias) return;
    progress.bias.resize(static_cast<std::size_t>(layer.neurons));
    result_->read_rows(bias_of(model_->graph(), layer), 0, layer.neurons, progress.bias.data());
  });
}

/// What the tiles' products say, on root. None where those of some tile do not: the outputs have to be looked at. Collective.
std::optional<LayerError> QuantizeJob::error_of_products(const LayerPlan& layer, const RankReport& mine) const {
  if (!layer.error_from_products) return std::nullopt;
  LayerError error;
  for (const TileReport& tile : merge_reports(comm_.gather(mine)).tiles) {
    error.difference += tile.difference;
    error.reference += tile.reference;
  }
  bool is_known = std::isfinite(error.difference) && std::isfinite(error.reference);
  comm_.broadcast(is_known);
  return is_known ? std::optional(error) : std::nullopt;
}

void QuantizeJob::run_layer(std::size_t index) {
  const std::vector<const LayerPlan*> layers = plan_.quantized_layers();
  const LayerPlan& layer = *layers[index];
  const bool is_last = index + 1 == layers.size() || !session_.config().has_network();
  const LayerSettings settings = session_.config().settings_for(layer.name);
  read_before_ = store_->bytes_read();
  written_before_ = store_->bytes_written();
  log_.progress(fmt::format("layer {} of {}: '{}', {} x {}", index + 1, layers.size(), layer.name, layer.neurons,
                            layer.inputs));
  const Index kept = std::min(most_kept, session_.config().memory_per_rank / small_share);
  release_free_memory(kept);
  const Stopwatch loading;
  if (!session_.config().has_network()) {
    load_layer(layer);
    release_free_memory(kept);
  }
  const double load_seconds = loading.seconds();
  std::unique_ptr<OutputCollector> outputs;
  if (layer.path.keeps_outputs) outputs = propagation_->collect(layer, !is_last);
  RankReport report;
  if (comm_.is_root()) report = checkpointer_.state().progress.report;  // of an earlier run
  if (!checkpointer_.state().progress.is_quantized) {
    quantize_shard(layer, settings, outputs.get(), report);
    release_free_memory(kept);
    result_->flush();
    record_quantized(layer, outputs != nullptr, report);
  }
  const Stopwatch propagating;
  std::optional<LayerError> error = error_of_products(layer, report);
  if (error) {
    propagation_->end(layer);
  } else {
    log_.progress(fmt::format("layer {} of {}: '{}', propagating", index + 1, layers.size(), layer.name));
    error = outputs ? propagation_->take(layer, *outputs, !is_last) : propagation_->advance(layer, !is_last);
  }
  report.seconds["propagate"] = propagating.seconds();
  if (!session_.config().has_network()) report.seconds["load"] += load_seconds;
  report.bytes_read += store_->bytes_read() - read_before_;
  report.bytes_written += store_->bytes_written() - written_before_;
  report.peak_memory = peak_memory_bytes();
  log_.debug(layer_text(layer.name, report));
  report_layer(layer, report, *error);
  checkpointer_.state().progress = {};
  checkpointer_.state().states.clear();
  save();
}

void QuantizeJob::report_layer(const LayerPlan& layer, const RankReport& mine, const LayerError& error) {
  const std::vector<RankReport> reports = comm_.gather(mine);
  comm_.agree([&] {
    if (!comm_.is_root()) return;
    const int input = model_->graph().node(layer.node).inputs.front();
    LayerRecord record;
    record.report = join_reports(layer, reports);
    record.difference = error.difference;
    record.reference = error.reference;
    record.analog_sha256 = propagation_->digest(input, store::Network::analog);
    record.quantized_sha256 = propagation_->digest(input, store::Network::quantized);
    record.radius = checkpointer_.state().progress.radius;
    record.step = checkpointer_.state().progress.step;
    record.bias = checkpointer_.state().progress.bias;
    add_to_report(layer, record);
    const LayerReport& report = report_.layers.back();
    log_.line(fmt::format("layer '{}': {} x {}, {} levels, relative error {}", layer.name, layer.neurons, layer.inputs,
                          report.settings.levels,
                          error.reference > 0 ? fmt::format("{:.4f}", report.relative_error()) : "-"));
    if (report.all.copies_blocks)
      log_.note(fmt::format("layer '{}': /dev/shm is too small to share blocks of inputs, each rank keeps a copy", layer.name));
    if (layer.lacks_rows())
      log_.note(fmt::format("layer '{}': 'quantization.patch_fraction' leaves {} rows for {} inputs: many codes fit them "
                            "equally well, more positions choose better",
                            layer.name, layer.path.samples, layer.path.inputs));
    if (report.all.radius_fell_back)
      log_.note(fmt::format("layer '{}': a median of |W| was 0, that of the nonzero weights was taken", layer.name));
    checkpointer_.state().layers.push_back(std::move(record));
  });
}

void QuantizeJob::add_to_report(const LayerPlan& layer, const LayerRecord& record) {
  LayerReport& report = report_.layers.emplace_back();
  report.plan = layer;
  report.settings = session_.config().settings_for(layer.name);
  report.kind = net::op_name(model_->graph().node(layer.node).op);
  report.shown_kind = layer.groups == 1                                    ? report.kind
                      : model_->graph().tensor_shape(layer.tensor)[1] == 1 ? "depthwise conv"
                                                                           : "grouped conv";
  report.all = record.report;
  report.error = {record.difference, record.reference};
  if (layer.is_conv) report.positions = net::conv_geometry(model_->graph(), model_->graph().node(layer.node)).positions();
  report.analog_sha256 = record.analog_sha256;
  report.quantized_sha256 = record.quantized_sha256;
  report_.bytes_read += report.all.bytes_read;
  report_.bytes_written += report.all.bytes_written;
}

/// @throws Error (fault) when a tile's codes are not in the file as its rank computed them
void QuantizeJob::check_codes(const std::string& layer, const TileReport& tile) const {
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(tile.neurons * tile.inputs));
  result_->read_codes(layer, {tile.first_neuron, tile.neurons, tile.first_input, tile.inputs}, codes.data());
  if (sha256(codes.data(), static_cast<Index>(codes.size())) != tile.codes_sha256)
    throw_fault("layer '{}': the codes of neurons {} to {} are not in the file as they were computed", layer,
                tile.first_neuron, tile.first_neuron + tile.neurons - 1);
}

/// SHA-256 over the codes of all layers as they lie in the file, by root, in order; each tile is compared with what its
/// rank said, meanwhile by the other ranks, where there are some.
void QuantizeJob::hash_codes() {
  constexpr Index slab_bytes = Index{4} << 20;
  std::vector<std::vector<TileReport>> tiles;
  for (const LayerReport& layer : report_.layers) tiles.push_back(layer.all.tiles);
  comm_.broadcast(tiles);
  const std::vector<const LayerPlan*> layers = plan_.quantized_layers();
  comm_.agree([&] {
    const auto others = static_cast<std::size_t>(std::max(1, comm_.size() - 1));
    for (std::size_t i = 0; i < layers.size(); ++i)
      for (std::size_t tile = 0; tile < tiles[i].size(); ++tile)
        if (comm_.size() == 1 || tile % others + 1 == static_cast<std::size_t>(comm_.rank()))
          check_codes(layers[i]->name, tiles[i][tile]);
    if (!comm_.is_root()) return;
    Sha256 all;
    std::vector<std::uint8_t> codes;
    for (const LayerReport& layer : report_.layers) {
      const Index rows = std::max<Index>(1, slab_bytes / layer.plan.inputs);
      for (Index first = 0; first < layer.plan.neurons; first += rows) {
        const Index count = std::min(rows, layer.plan.neurons - first);
        codes.resize(static_cast<std::size_t>(count * layer.plan.inputs));
        result_->read_codes(layer.plan.name, {first, count, 0, layer.plan.inputs}, codes.data());
        all.update(codes.data(), static_cast<Index>(codes.size()));
      }
    }
    report_.codes_sha256 = all.finish();
  });
}

void QuantizeJob::evaluate_networks() {
  const Config& config = session_.config();
  if (!config.evaluation) return;
  std::unique_ptr<Samples> samples;
  std::vector<Index> labels;
  comm_.agree([&] {
    samples = std::make_unique<Samples>(*config.evaluation, config.preprocess, model_->graph().node(0).shape);
    labels = samples->labels(*config.evaluation);
  });
  const EvaluationData data{*samples, labels};
  const MsqParameters msq(*model_, *result_);
  log_.progress("evaluating");
  AccuracyReport accuracy;
  const std::array<const net::Parameters*, 3> networks{model_.get(), result_.get(), &msq};
  const std::array<Accuracy*, 3> places{&accuracy.analog, &accuracy.quantized, &accuracy.msq};
  constexpr std::array names{"float", "quantized", "MSQ"};
  for (std::size_t i = 0; i < networks.size(); ++i) {
    const EvaluationKeeper keeper{checkpointer_, i};
    *places[i] = evaluate(comm_, model_->graph(), plan_, config, *networks[i], data, dealer_, &keeper);
    if (const std::string text = unusable_text(model_->graph(), *places[i]); !text.empty())
      log_.line(fmt::format("{} network: {}", names[i], text));
  }
  report_.accuracy = accuracy;
}

std::string QuantizeJob::finish() {
  const Config& config = session_.config();
  checkpointer_.settle();
  propagation_.reset();
  report_.scratch_peak_bytes += std::max(checkpointer_.state().scratch_peak_bytes, store_->peak_disk_bytes());
  store_.reset();
  result_->finish();
  result_.reset();
  const Index peak = comm_.max(peak_memory_bytes());
  std::string table;
  comm_.agree([&] {
    if (!comm_.is_root()) return;
    report_.config_text = config.text;
    report_.output = config.output.string();
    report_.ranks = comm_.size();
    report_.threads = config.threads;
    report_.memory_per_rank = config.memory_per_rank;
    report_.peak_memory = peak;
    report_.seconds = earlier_seconds_ + elapsed_.seconds();
    report_.restarts = checkpointer_.state().restarts;
    report_.checkpoint_seconds = checkpointer_.seconds();
    report_.fingerprint = checkpointer_.state().fingerprint;
    write_file_atomically(config.output / "report.csv", report_csv(report_));
    write_file_atomically(config.output / "report.json", report_json(report_));
    table = report_table(report_);
    log_.line(fmt::format("done in {:.2f} s, at most {} in scratch, codes_sha256 {}", report_.seconds,
                          format_bytes(report_.scratch_peak_bytes), report_.codes_sha256));
    publish_logs(config.output);
    checkpointer_.remove_all();
    workspace_->release();
  });
  return table;
}

std::string QuantizeJob::run() {
  try {
    prepare();
    if (!finished_.empty()) return comm_.is_root() ? finished_ : "";
    open_result();
    start_activations();
    run_layers();
    hash_codes();
    evaluate_networks();
    return finish();
  } catch (const Error& error) {
    log_.note(error.what());
    if (error.kind() == ErrorKind::output && workspace_ && dynamic_cast<const mpi::AgreedError*>(&error) != nullptr)
      throw mpi::AgreedError(error.kind(), error.what() + workspace_->full_disks());
    // What the model or the data forbid, they forbid the next time as well; a file server that is down, perhaps not.
    if (error.kind() == ErrorKind::input && workspace_ && !is_resumed_ && elapsed_.seconds() < least_kept_seconds)
      workspace_->forget();
    throw;
  }
}

/// Those that an earlier run has not finished.
void QuantizeJob::run_layers() {
  const std::vector<const LayerPlan*> layers = plan_.quantized_layers();
  const std::size_t first = checkpointer_.state().layers.size();
  if (comm_.is_root())
    for (std::size_t index = 0; index < first; ++index) add_to_report(*layers[index], checkpointer_.state().layers[index]);
  for (std::size_t index = first; index < layers.size(); ++index) run_layer(index);
}

}  // namespace

std::string quantize(const mpi::Communicator& comm, const JobOptions& options) {
  return QuantizeJob(comm, options).run();
}

}  // namespace gpfq::job
