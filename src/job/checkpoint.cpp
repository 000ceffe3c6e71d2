// SPDX-License-Identifier: Apache-2.0
#include "job/checkpoint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <fstream>
#include <sstream>
#include <system_error>

#include "gpfq/base/digest.hpp"
#include "gpfq/base/durable.hpp"
#include "gpfq/base/error.hpp"
#include "gpfq/base/packing.hpp"
#include "gpfq/base/system.hpp"
#include "gpfq/base/text.hpp"

namespace gpfq::job {
namespace {

constexpr const char* magic = "gpfq-checkpoint";
constexpr Index most_bytes = Index{4} << 30;
constexpr Index most_header_bytes = 256;

struct Header {
  int version = 0;
  Index bytes = 0;
  std::string sha256;
};

std::string header_text(const Header& header) {
  return fmt::format("{} {} {} {}\n", magic, header.version, header.bytes, header.sha256);
}

Header parse_header(const std::string& line, const std::string& where) {
  std::istringstream text(line);
  std::string word;
  Header header;
  if (!(text >> word >> header.version >> header.bytes >> header.sha256) || word != magic)
    throw_input("{} is not a checkpoint: expected it to begin with '{}'", where, magic);
  if (header.version != checkpoint_version)
    throw_input("{} is a checkpoint of version {}, this program reads {}", where, header.version, checkpoint_version);
  return header;
}

/// Files that a manifest names lie beside it.
void check_names(const Checkpoint& checkpoint) {
  const auto check = [](const std::string& name) {
    const bool is_number =
        name.find_first_not_of("0123456789", 6) == name.size() - std::min<std::size_t>(name.size(), 3);
    if (name.size() < 10 || name.compare(0, 6, "state-") != 0 || !name.ends_with(".h5") || !is_number)
      throw_input("it names the state file '{}', expected such as state-1.h5", excerpt(name));
  };
  for (const auto& [name, frame] : checkpoint.states) check(name);
  for (const TileRecord& tile : checkpoint.progress.tiles) check(tile.file);
  if (!checkpoint.progress.sums.file.empty()) check(checkpoint.progress.sums.file);
}

}  // namespace

std::filesystem::path checkpoint_folder(const std::filesystem::path& output) { return output / "checkpoint"; }
std::filesystem::path manifest_of(const std::filesystem::path& output) { return checkpoint_folder(output) / "job.ckpt"; }

std::vector<Index> missing_from(const std::map<Index, Index>& done, Index count) {
  std::vector<Index> missing;
  for (Index item = 0; item < count; ++item) {
    const auto after = done.upper_bound(item);
    if (after == done.begin() || std::prev(after)->second <= item) missing.push_back(item);
  }
  return missing;
}

Index count_of(const std::map<Index, Index>& runs) {
  Index count = 0;
  for (const auto& [begin, end] : runs) count += end - begin;
  return count;
}

void add_runs(const std::vector<std::map<Index, Index>>& ranks, std::map<Index, Index>& done) {
  for (const std::map<Index, Index>& runs : ranks) done.insert(runs.begin(), runs.end());
  for (auto run = done.begin(); run != done.end();) {  // runs that adjoin become one
    const auto next = std::next(run);
    if (next != done.end() && next->first <= run->second) {
      run->second = std::max(run->second, next->second);
      done.erase(next);
    } else {
      run = next;
    }
  }
}

std::string position_of(const Checkpoint& checkpoint) {
  const LayerProgress& progress = checkpoint.progress;
  Index passes = 0;
  Index inputs = 0;
  for (const TileRecord& tile : progress.tiles) {
    passes += tile.pass;
    inputs += tile.state.next_input;
  }
  Index evaluated = 0;
  for (const EvaluationRecord& record : checkpoint.evaluations) evaluated += count_of(record.done);
  return fmt::format("{} layers, {} tiles, {} begun at pass {} and input {} in all, {} scored, {} chunks summed, {} units handed on, "
                     "{} propagated, {} evaluated",
                     checkpoint.layers.size(), progress.report.tiles.size(), progress.tiles.size(), passes, inputs,
                     progress.known.scored.size(), count_of(progress.sums.done), progress.units.size(),
                     progress.propagation.units.size(), evaluated);
}

std::string pack_checkpoint(const Checkpoint& checkpoint) {
  const std::string archive = pack(checkpoint);
  const auto bytes = static_cast<Index>(archive.size());
  return header_text({checkpoint_version, bytes, sha256(archive.data(), bytes)}) + archive;
}

Checkpoint unpack_checkpoint(const std::string& bytes, const std::string& where) {
  const std::size_t end = bytes.substr(0, most_header_bytes).find('\n');
  const Header header = parse_header(bytes.substr(0, end == std::string::npos ? 0 : end), where);
  const std::string archive = bytes.substr(end + 1);
  const auto found = static_cast<Index>(archive.size());
  if (found != header.bytes)
    throw_input("{} holds {} bytes after its header, expected {}: it was truncated", where, found, header.bytes);
  const std::string digest = sha256(archive.data(), found);
  if (digest != header.sha256)
    throw_input("{} is damaged: its SHA-256 is {:.12}, expected {:.12}", where, digest, header.sha256);
  try {
    Checkpoint checkpoint;
    unpack(archive, checkpoint);
    check_names(checkpoint);
    return checkpoint;
  } catch (const std::exception& error) {
    throw_input("{} cannot be read: {}", where, error.what());
  }
}

void write_manifest(const std::filesystem::path& output, const std::string& bytes) {
  std::error_code code;
  std::filesystem::create_directories(checkpoint_folder(output), code);
  if (code) throw_output("cannot make {}: {}", checkpoint_folder(output).string(), code.message());
  sync_folder(output);  // the result's name and the folder's
  write_file_atomically(manifest_of(output), bytes);
}

Checkpoint read_checkpoint(const std::filesystem::path& manifest) {
  std::error_code code;
  const std::uintmax_t size = std::filesystem::file_size(manifest, code);
  if (code) throw_input("{} cannot be read: {}", manifest.string(), code.message());
  if (size > static_cast<std::uintmax_t>(most_bytes))
    throw_input("{} has {} bytes, more than a checkpoint ever has", manifest.string(), size);
  std::ifstream file(manifest, std::ios::binary);
  std::string bytes(static_cast<std::size_t>(size), '\0');
  if (!file.read(bytes.data(), static_cast<std::streamsize>(size)))
    throw_input("{} cannot be read", manifest.string());
  return unpack_checkpoint(bytes, manifest.string());
}

bool is_checkpoint(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string begin(std::string(magic).size(), '\0');
  return file.read(begin.data(), static_cast<std::streamsize>(begin.size())) && begin == magic;
}

std::string describe(const Checkpoint& checkpoint) {
  const std::time_t time = static_cast<std::time_t>(checkpoint.time);
  std::array<char, 32> when{};
  std::tm utc{};
  if (::gmtime_r(&time, &utc) != nullptr) std::strftime(when.data(), when.size(), "%Y-%m-%d %H:%M:%S UTC", &utc);
  std::string text = fmt::format(
      "checkpoint of version {}, written {} by {} ranks after {:.1f} s of work and {} restarts\n  {} layers finished\n",
      checkpoint_version, when.data(), checkpoint.ranks, checkpoint.seconds, checkpoint.restarts,
      checkpoint.layers.size());
  const LayerProgress& progress = checkpoint.progress;
  if (!progress.report.tiles.empty() || !progress.tiles.empty()) {
    text += fmt::format("  layer {}: {} tiles finished, {} begun", checkpoint.layers.size() + 1,
                        progress.report.tiles.size(), progress.tiles.size());
    if (!progress.tiles.empty()) text += fmt::format(", at input {}", progress.tiles.front().state.next_input);
    text += '\n';
  }
  std::uint64_t evaluated = 0;  // of bytes that nobody has checked yet
  for (const EvaluationRecord& record : checkpoint.evaluations)
    for (const auto& [begin, end] : record.done)
      evaluated += static_cast<std::uint64_t>(end) - static_cast<std::uint64_t>(begin);
  if (evaluated > 0) text += fmt::format("  {} units of samples evaluated, of three networks\n", evaluated);
  text += fmt::format("  {} stored tensors, {} state files\n", checkpoint.tensors.size(), checkpoint.states.size());
  for (const auto& [name, value] : checkpoint.fingerprint) text += fmt::format("  {}: {}\n", name, value);
  return text;
}

}  // namespace gpfq::job
