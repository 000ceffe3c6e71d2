// SPDX-License-Identifier: Apache-2.0
// The job's config: one table of keys makes parser, help and documentation.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "gpfq/base/types.hpp"
#include "gpfq/formats/tensor_file.hpp"

namespace gpfq::job {

/// One key as users see it.
struct ConfigKey {
  std::string name;           ///< dotted
  std::string type;           ///< "string", "integer", "number", "numbers", "boolean", "size", "objects"
  std::string default_value;  ///< as in JSON; "required" where there is none
  std::string unit;
  std::string help;
};

/// All keys, in the order of the documentation.
[[nodiscard]] const std::vector<ConfigKey>& config_keys();
/// The table as text for `gpfq quantize --help`.
[[nodiscard]] std::string config_help();
/// The table as Markdown, as it stands in the README.
[[nodiscard]] std::string config_markdown();

enum class Method { gpfq, spfq, optq, qronos, msq };
enum class FormChoice { automatic, residual, gram };
enum class RadiusKind { median, max, value, search };
enum class Sparsity { soft, hard };

/// How the radius r of an alphabet is found.
struct RadiusRule {
  RadiusKind kind = RadiusKind::search;
  std::optional<double> scale;  ///< C; default_scale() where not given
  double value = 0;             ///< for RadiusKind::value
  bool per_neuron = true;
  bool is_given = false;        ///< by rule, scale, value or per; then median per layer unless they say otherwise
  int candidates = 5;           ///< for RadiusKind::search: radii tried, a geometric sequence down from C·max|w|
  double span = 4;              ///< ... the largest over the smallest
};

/// What quantizes one layer.
struct LayerSettings {
  bool skip = false;
  Method method = Method::gpfq;
  int levels = 3;
  RadiusRule radius;
  FormChoice form = FormChoice::automatic;
  std::optional<int> given_sweeps;
  int sweeps = 0;                  ///< at most, after the path
  bool orders_by_activation = false;
  double threshold = 0;            ///< λ of the sparse path, in steps
  Sparsity sparsity = Sparsity::soft;
  double damping = 0.01;           ///< of optq and qronos, in units of the mean of H's diagonal
  std::uint64_t seed = 0;          ///< of spfq
  std::optional<bool> given_bias_correction;
  bool corrects_bias = false;

  /// Fills what was left open: settings for a user who names levels alone, or the published rule's.
  void complete();
  /// True for methods that need N×N matrices of a layer.
  [[nodiscard]] bool diffuses() const { return method == Method::optq || method == Method::qronos; }
  /// True for the sparse path whose levels are shifted by λ.
  [[nodiscard]] bool shifts_levels() const { return threshold > 0 && sparsity == Sparsity::hard; }
  /// Radii tried.
  [[nodiscard]] int candidates() const { return radius.kind == RadiusKind::search ? radius.candidates : 1; }
  /// C as given, else the paper's best for median (3 up to 4 levels, 4 up to 8, 5 beyond), 1 for max.
  [[nodiscard]] double scale() const;
};

/// Samples of one dataset.
struct DataSource {
  std::filesystem::path file;
  std::string inputs;
  std::string labels;                         ///< evaluation only
  Index samples = 0;                          ///< 0: all
  std::optional<std::uint64_t> shuffle_seed;  ///< unset: the first ones in file order
};

enum class Layout { nchw, nhwc, nhw, flat };

/// From stored numbers to what the network takes: (x·scale − mean) / std, per channel, then transposed.
struct Preprocess {
  double scale = 1;
  std::vector<double> mean;
  std::vector<double> deviation;
  Layout layout = Layout::flat;
  bool reverse_channels = false;  ///< before mean and std
};

/// A layer without a network: its weights and the activations of its inputs.
struct LayerSource {
  std::string name;
  formats::TensorLocation weight;
  bool is_transposed = false;  ///< the weights lie as inputs × neurons
  formats::TensorLocation inputs;                           ///< X, samples × inputs
  std::optional<formats::TensorLocation> quantized_inputs;  ///< Xq; unset: X
  Index samples = 0;                                        ///< 0: all
};

/// Ranks of a layer in residual form: groups of neurons times groups of rows.
struct RankGrid {
  int neurons = 0;  ///< 0: chosen per layer
  int samples = 0;
};

/// How blocks of inputs reach the ranks. Changes no number.
struct StreamSettings {
  int ranks_per_node = 0;  ///< ranks that share one copy of a block; 0: all of a node
  bool exchange = true;    ///< nodes read a share of a block each and exchange them; else each reads everything
};

/// Most threads of a rank, and inputs of a block.
inline constexpr Index most_threads = 4096;
inline constexpr Index widest_block = 4096;

/// A whole config, checked but for what only the files can tell.
struct Config {
  std::filesystem::path model;
  DataSource calibration;
  std::vector<LayerSource> layers;  ///< instead of model and calibration, which are empty then
  std::optional<DataSource> evaluation;
  Preprocess preprocess;
  std::filesystem::path output;
  std::filesystem::path scratch;
  Index memory_per_rank = 0;  ///< bytes
  double checkpoint_seconds = 600;  ///< between checkpoints inside a layer
  int threads = 0;  ///< 0: left to choose_threads
  Index block = 0;  ///< 0: chosen per layer
  RankGrid grid;
  StreamSettings stream;
  bool channelwise = false;
  double patch_fraction = 1;
  std::uint64_t patch_seed = 0;
  bool fold_batch_norm = true;
  std::string text;  ///< the JSON that it was made from, overrides applied

  [[nodiscard]] bool has_network() const { return layers.empty(); }

  /// Settings of a layer: the defaults, then every rule that matches its whole name, in order.
  [[nodiscard]] LayerSettings settings_for(const std::string& layer) const;

  struct Rule {
    std::string match;
    std::string settings;  ///< JSON of the other keys
  };
  std::string quantization;  ///< JSON of the defaults
  std::vector<Rule> rules;
};

/// Reads the file and applies `key=value` overrides; returns JSON text. @throws Error (input)
[[nodiscard]] std::string load_config_text(const std::filesystem::path& path, const std::vector<std::string>& overrides);

/// Parses and checks. Relative paths are taken from `folder`. @throws Error (input) naming the key, and
/// for an unknown key the nearest known one.
[[nodiscard]] Config parse_config(const std::string& text, const std::filesystem::path& folder, const std::string& where);

[[nodiscard]] std::string method_name(Method method);
[[nodiscard]] std::string radius_name(const LayerSettings& settings);

}  // namespace gpfq::job
