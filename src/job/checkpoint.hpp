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
  std::vector<std::string> slabs;  ///< digests of the values, where whole
  std::vector<double> bounds;      ///< max|x| per channel, where whole
  std::string digest;              ///< activations_sha256, where whole

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& node& network& is_whole& frame& slabs& bounds& digest;
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

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& report& difference& reference& analog_sha256& quantized_sha256& radius& step;
  }
};

/// A tile in the middle of its path.
struct TileRecord {
  Index tile = 0;
  std::string file;  ///< of checkpoint/
  Index slot = 0;
  Index next_input = 0;
  double residual_bound = 0;
  std::vector<std::int32_t> saturated;
  std::string codes_sha256;
  std::map<Index, std::vector<std::string>> pieces;  ///< by chunk of rows: digests of its kept arrays

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& tile& file& slot& next_input& residual_bound& saturated& codes_sha256& pieces;
  }
};

/// The layer at work.
struct LayerProgress {
  RankReport report;                           ///< its finished tiles; seconds and bytes so far
  std::vector<OutputUnit> units;               ///< what finished tiles handed on
  std::array<std::vector<double>, 2> bounds;   ///< of it, by network
  std::vector<TileRecord> tiles;               ///< begun, not finished
  Index dead_counted = 0;                      ///< inputs whose dead directions are in the report

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& report& units& bounds[0] & bounds[1] & tiles& dead_counted;
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

  template <class Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& fingerprint& result& layers& tensors& progress& states& serial& restarts& ranks& seconds& time& scratch_peak_bytes;
  }
};

/// Version of these structures; another one is refused.
inline constexpr int checkpoint_version = 1;

[[nodiscard]] std::filesystem::path checkpoint_folder(const std::filesystem::path& output);
[[nodiscard]] std::filesystem::path manifest_of(const std::filesystem::path& output);

/// The manifest's bytes: a line of text with version, length and SHA-256, then the archive.
[[nodiscard]] std::string pack_checkpoint(const Checkpoint& checkpoint);
/// @throws Error (input) naming `where` and what is wrong. The archive is opened only when its digest is right.
[[nodiscard]] Checkpoint unpack_checkpoint(const std::string& bytes, const std::string& where);

/// Written beside, flushed, renamed. @throws Error (input)
void write_checkpoint(const std::filesystem::path& output, const Checkpoint& checkpoint);
/// @throws Error (input) as unpack_checkpoint()
[[nodiscard]] Checkpoint read_checkpoint(const std::filesystem::path& manifest);

/// True when the file begins as a manifest does.
[[nodiscard]] bool is_checkpoint(const std::filesystem::path& path);
/// What a manifest holds, in lines of text.
[[nodiscard]] std::string describe(const Checkpoint& checkpoint);

}  // namespace gpfq::job
