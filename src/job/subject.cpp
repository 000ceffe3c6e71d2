// SPDX-License-Identifier: Apache-2.0
// The checks that need the files but no ranks.
#include "job/subject.hpp"

#include "gpfq/base/error.hpp"
#include "gpfq/net/fold.hpp"
#include "job/bias.hpp"
#include "job/layer_list.hpp"
#include "job/model_source.hpp"
#include "job/samples.hpp"
#include "job/session.hpp"

namespace gpfq::job {
namespace {

/// The float network that the config names, folded where it says so.
Subject open_network(const Config& config) {
  Subject subject;
  subject.imported = import_unless_native(config.model);
  const std::string shown = config.model.string();
  if (!subject.imported) subject.native = std::make_unique<store::ModelFile>(config.model);
  if (subject.native && !subject.native->quantized_layers().empty())
    throw_input("model: {} is quantized already, expected a float model", shown);
  if (!subject.graph().is_network())
    throw_input("model: {} holds layers without a network; the config's 'layers' takes such", shown);
  net::Model changed = subject.imported ? *subject.imported : as_model(*subject.native);
  if (config.fold_batch_norm) subject.folded = net::fold_batch_norms(changed);
  if (subject.folded + add_missing_biases(changed, config) > 0) subject.imported = std::move(changed);
  return subject;
}

}  // namespace

Subject open_subject(const Config& config) {
  if (!config.has_network()) {
    LayerList list = read_layer_list(config, 1);
    Subject subject;
    subject.plan = make_layers_plan(list.model.graph, config, list.inputs);
    subject.plan.model_copy_bytes = model_file_bytes(list.model.graph);
    subject.imported = std::move(list.model);
    return subject;
  }
  Subject subject = open_network(config);
  const net::Graph& graph = subject.graph();
  const Samples calibration(config.calibration, config.preprocess, graph.node(0).shape);
  static_cast<void>(evaluation_samples(config, graph));  // fit the network
  subject.plan = make_plan(graph, config, calibration.count());
  if (subject.imported) subject.plan.model_copy_bytes = model_file_bytes(graph);
  return subject;
}

std::string subject_name(const Config& config) {
  return config.has_network() ? config.model.string() : "layers without a network";
}

}  // namespace gpfq::job
