// SPDX-License-Identifier: Apache-2.0
#include "job/gram_states.hpp"

#include <algorithm>
#include <functional>

#include "gpfq/base/digest.hpp"
#include "gpfq/store/state_file.hpp"
#include "job/checkpointer.hpp"
#include "job/report.hpp"

namespace gpfq::job {
namespace {

Index bytes_of_sums(quant::GramProducts& product) {
  Index bytes = 0;
  for (const auto& piece : product.raw_sums()) bytes += static_cast<Index>(piece.size_bytes());
  return bytes;
}

/// Visits the pieces of all problems as bytes: slot, place in it, bytes.
template <class Visit>
void for_pieces(Products& products, Visit visit) {
  for (std::size_t slot = 0; slot < products.size(); ++slot) {
    Index at = 0;
    for (const std::span<std::int64_t> piece : products[slot].raw_sums()) {
      visit(static_cast<Index>(slot), at,
            std::span(reinterpret_cast<std::uint8_t*>(piece.data()), piece.size_bytes()));
      at += static_cast<Index>(piece.size_bytes());
    }
  }
}

std::vector<std::string> digests_of(Products& products) {
  std::vector<std::string> digests;
  for (quant::GramProducts& product : products) {
    Sha256 all;
    for (const std::span<std::int64_t> piece : product.raw_sums())
      all.update(piece.data(), static_cast<Index>(piece.size_bytes()));
    digests.push_back(all.finish());
  }
  return digests;
}

/// Root's manifest gets what the ranks report, then goes to disk.
void save(const LayerTask& task, const RankReport& report, const std::function<void(Checkpoint&)>& change) {
  const std::vector<RankReport> reports = task.comm.gather(so_far(task, report));
  task.comm.agree([&] {
    if (!task.comm.is_root()) return;
    Checkpoint& state = task.checkpointer.state();
    state.progress.report = merge_reports(reports);
    change(state);
  });
  task.checkpointer.save();
}

}  // namespace

void restore_sums(const LayerTask& task, Products& products) {
  const Checkpointer& checkpointer = task.checkpointer;
  const SumsRecord& sums = checkpointer.state().progress.sums;
  if (sums.file.empty()) return;
  const std::filesystem::path path = checkpointer.path_of(sums.file);
  task.comm.agree([&] {
    if (!task.comm.is_root()) return;
    const auto frame = checkpointer.state().states.find(sums.file);
    if (frame == checkpointer.state().states.end()) throw_input("{} is not in the checkpoint's list", path.string());
    store::check_frame(path, frame->second);
  });
  const store::StateFile file(task.comm, path);
  task.comm.agree([&] {
    if (!task.comm.is_root()) return;
    for_pieces(products, [&](Index slot, Index at, std::span<std::uint8_t> piece) { file.read_bytes(slot, at, piece); });
    if (digests_of(products) != sums.digests)
      throw_input("{} is damaged: its sums' digests are not the checkpoint's", path.string());
  });
}

void save_sums(const LayerTask& task, Products& products, std::map<Index, Index>& added, const RankReport& report) {
  Checkpointer& checkpointer = task.checkpointer;
  RankReducer reducer(task.comm);
  Index largest = 0;
  for (quant::GramProducts& product : products) {
    for (const std::span<std::int64_t> piece : product.raw_sums()) {
      reducer.sum(piece);
      if (!task.comm.is_root()) std::fill(piece.begin(), piece.end(), 0);
    }
    largest = std::max(largest, bytes_of_sums(product));
  }
  const std::string name = checkpointer.next_state_name();
  checkpointer.make_folder();
  store::StateFile file(task.comm, checkpointer.path_of(name), {static_cast<Index>(products.size()), 1, largest});
  task.comm.agree([&] {
    if (!task.comm.is_root()) return;
    for_pieces(products, [&](Index slot, Index at, std::span<std::uint8_t> piece) { file.write_bytes(slot, at, piece); });
  });
  file.close();
  const std::vector<std::map<Index, Index>> runs = task.comm.gather(added);
  added.clear();
  save(task, report, [&](Checkpoint& state) {
    SumsRecord& sums = state.progress.sums;
    sums.file = name;
    sums.digests = digests_of(products);
    add_runs(runs, sums.done);
    state.states = {{name, file.frame()}};
  });
}

void save_gram_tiles(const LayerTask& task, const PathKnowledge& known, const RankReport& report) {
  task.result.flush();
  save(task, report, [&](Checkpoint& state) { state.progress.known = known; });
}

}  // namespace gpfq::job
