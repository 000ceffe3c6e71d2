// SPDX-License-Identifier: Apache-2.0
// What a job keeps so that it can go on: a manifest, which says what of the other files is valid. Result and activations
// are files of fixed layout in which only values are written, so a job that dies leaves them readable, and what the
// manifest does not vouch for is written again.
#pragma once

#include <boost/serialization/array.hpp>
#include <boost/serialization/map.hpp>
#include <boost/serialization/string.hpp>
#include <boost/serialization/vector.hpp>

#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "gpfq/quant/tile_path.hpp"
#include "gpfq/store/file_frame.hpp"
#include "job/fingerprint.hpp"
#include "job/messages.hpp"
#include "job/output_collector.hpp"

namespace gpfq::job {

/// A tensor of the activation store.
struct TensorRecord {
  int node = 0;
  int network = 0;   ///< a store::Network
  bool is_whole = false;  ///< written by all; else it grows, and finished tiles' outputs vouch for their parts
  store::FileFrame frame;
  std::vector<double> bounds;  ///< max|x| per channel, where whole
  std::string digest;          ///< activations_sha256, where whole

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& node& network& is_whole& frame& bounds& digest;
  }
};

/// A finished layer.
struct LayerRecord {
  RankReport report;
  double difference = 0;
  double reference = 0;
  std::string analog_sha256;
  std::string quantized_sha256;
  std::vector<float> radius;  ///< per neuron, as written to the result
  std::vector<float> step;
  std::vector<float> bias;    ///< where it was corrected

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& report& difference& reference& analog_sha256& quantized_sha256& radius& step& bias;
  }
};

/// A tile in the middle of its path, with one of the alphabets that are tried.
struct TileRecord {
  Index tile = 0;
  Index candidate = 0;
  std::string file;  ///< of checkpoint/
  Index slot = 0;
  int pass = 0;      ///< a TilePosition's
  quant::PathState state;
  std::string codes_sha256;
  std::map<Index, std::vector<std::string>> pieces;  ///< by chunk of rows: digests of its kept arrays

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& tile& candidate& file& slot& pass& state& codes_sha256& pieces;
  }
};

/// What all ranks know alike of a layer at work.
struct PathKnowledge {
  Index counted = 0;  ///< inputs whose dead directions and sums are in report and column_sums
  std::vector<std::vector<double>> column_sums;  ///< as RankReport's
  std::vector<int> chosen;     ///< candidate by neuron; -1 not yet
  std::vector<Index> scored;   ///< tiles that a search for the whole layer is done with
  std::vector<double> scores;  ///< ... and what it found, as CandidateScores has it

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& counted& column_sums& chosen& scored& scores;
  }
};

/// Sums of the Gram form over some of the rows.
struct SumsRecord {
  std::string file;                    ///< of checkpoint/, a slot for each problem; empty: none
  std::vector<std::string> digests;    ///< by slot
  std::map<Index, Index> done;         ///< chunks of rows: begin and end of runs that are in them

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& file& digests& done;
  }
};

/// A unit of samples that went through a layer, or through what is before the first one.
struct UnitRecord {
  double difference = 0;  ///< its part of LayerError
  double reference = 0;
  std::vector<std::string> digests;  ///< of what is stored of it, by tensor in the order of their nodes and networks

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& difference& reference& digests;
  }
};

/// Samples on their way to the next cut.
struct PropagationRecord {
  std::map<Index, UnitRecord> units;        ///< done
  std::vector<std::vector<double>> bounds;  ///< of them, by tensor

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& units& bounds;
  }
};

/// The layer at work.
struct LayerProgress {
  RankReport report;                           ///< its finished tiles; seconds and bytes so far
  std::vector<OutputUnit> units;               ///< what finished tiles handed on
  std::array<std::vector<double>, 2> bounds;   ///< of it, by network
  std::vector<TileRecord> tiles;               ///< begun, not finished
  PathKnowledge known;
  SumsRecord sums;
  bool is_quantized = false;  ///< all tiles are finished, and what follows stands
  std::vector<float> radius;  ///< per neuron, as written to the result
  std::vector<float> step;
  std::vector<float> bias;    ///< where it was corrected
  PropagationRecord propagation;

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& report& units& bounds[0] & bounds[1] & tiles& known& sums& is_quantized& radius& step& bias& propagation;
  }
};

/// How far the evaluation of one of the networks is.
struct EvaluationRecord {
  std::array<std::int64_t, 3> counts{};  ///< right, among the first five, without a usable score
  Index first_unusable = -1;             ///< sample of the last of these, the first of its kind
  std::map<Index, Index> done;           ///< units of samples: begin and end of runs that are counted

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& counts[0] & counts[1] & counts[2] & first_unusable& done;
  }
};

/// Everything.
struct Checkpoint {
  Fingerprint fingerprint;
  store::FileFrame result;
  std::vector<LayerRecord> layers;
  std::vector<TensorRecord> tensors;
  LayerProgress progress;
  std::map<std::string, store::FileFrame> states;  ///< state files by name
  Index serial = 0;                                ///< of the last state file
  Index restarts = 0;
  int ranks = 0;  ///< that wrote it
  double seconds = 0;
  std::int64_t time = 0;  ///< when it was written, seconds since 1970
  Index scratch_peak_bytes = 0;
  std::string evaluation;  ///< what the records below are of
  std::array<EvaluationRecord, 3> evaluations;  ///< analog, quantized, msq

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& fingerprint& result& layers& tensors& progress& states& serial& restarts& ranks& seconds& time& scratch_peak_bytes&
        evaluation& evaluations[0] & evaluations[1] & evaluations[2];
  }
};

/// Numbers below `count` that are not in the runs `done`, in order.
[[nodiscard]] std::vector<Index> missing_from(const std::map<Index, Index>& done, Index count);
/// How many numbers are in runs.
[[nodiscard]] Index count_of(const std::map<Index, Index>& runs);
/// Puts runs of the ranks with those that are done; runs that adjoin become one.
void add_runs(const std::vector<std::map<Index, Index>>& ranks, std::map<Index, Index>& done);

/// Version of these structures; another one is refused.
inline constexpr int checkpoint_version = 8;

[[nodiscard]] std::filesystem::path checkpoint_folder(const std::filesystem::path& output);
[[nodiscard]] std::filesystem::path manifest_of(const std::filesystem::path& output);

/// The manifest's bytes: a line of text with version, length and SHA-256, then the archive.
/// How far a run is, in numbers that nothing but work on it changes: one line, for scripts.
[[nodiscard]] std::string position_of(const Checkpoint& checkpoint);

[[nodiscard]] std::string pack_checkpoint(const Checkpoint& checkpoint);
/// @throws Error (input) naming `where` and what is wrong. The archive is opened only when its digest is right.
[[nodiscard]] Checkpoint unpack_checkpoint(const std::string& bytes, const std::string& where);

/// A packed checkpoint becomes the manifest of `output`: written beside, flushed, renamed. @throws Error (output)
void write_manifest(const std::filesystem::path& output, const std::string& bytes);
/// @throws Error (input) as unpack_checkpoint()
[[nodiscard]] Checkpoint read_checkpoint(const std::filesystem::path& manifest);

/// True when the file begins as a manifest does.
[[nodiscard]] bool is_checkpoint(const std::filesystem::path& path);
/// What a manifest holds, in lines of text.
[[nodiscard]] std::string describe(const Checkpoint& checkpoint);

}  // namespace gpfq::job
