// SPDX-License-Identifier: Apache-2.0
#include "job/checkpointer.hpp"

#include <fmt/format.h>

#include <ctime>
#include <system_error>
#include <utility>

#include "gpfq/base/durable.hpp"
#include "gpfq/base/stop_request.hpp"

namespace gpfq::job {

Checkpointer::Checkpointer(const mpi::Communicator& comm, std::filesystem::path output, double interval)
    : comm_(comm), output_(std::move(output)), interval_(interval) {}

bool Checkpointer::is_due(double share) const {
  constexpr Index save_now = 1;
  constexpr Index stop_now = 2;
  const bool late = comm_.is_root() && since_start_.seconds() - last_save_ >= share * interval_;
  const Index wish = comm_.max(stop_requested() ? stop_now : late ? save_now : Index{0});
  stop_ = wish == stop_now;
  began_ = since_start_.seconds();
  return wish != 0;
}

void Checkpointer::save() {
  save_behind({});
  settle();
}

void Checkpointer::save_behind(std::vector<std::filesystem::path> files) {
  const Stopwatch waiting;
  settle();  // counts its own time
  began_ += waiting.seconds();
  if (earlier_seconds_ < 0) earlier_seconds_ = state_.seconds;
  comm_.agree([&] {
    if (!comm_.is_root()) return;
    state_.ranks = comm_.size();
    state_.seconds = earlier_seconds_ + since_start_.seconds();
    state_.time = static_cast<std::int64_t>(std::time(nullptr));
    on_disk_ = std::async(std::launch::async,
                          [this, files = std::move(files), unneeded = unneeded_, bytes = pack_checkpoint(state_)] {
                            for (const std::filesystem::path& file : files) sync_file(file);
                            write_manifest(output_, bytes);
                            std::error_code ignored;
                            for (const std::filesystem::path& file : unneeded) std::filesystem::remove(file, ignored);
                          });
  });
  unneeded_.clear();
  is_pending_ = true;
  last_save_ = since_start_.seconds();
  pending_seconds_ = last_save_ - began_;
  if (std::exchange(is_first_, false)) settle();
}

void Checkpointer::settle() {
  if (!is_pending_) return;
  is_pending_ = false;
  const Stopwatch waiting;
  comm_.agree([&] {
    if (!comm_.is_root()) return;
    on_disk_.get();
    remove_unnamed();
  });
  const double seconds = pending_seconds_ + waiting.seconds();
  seconds_ += seconds;
  if (listener_) listener_(seconds);
}

void Checkpointer::wait() const {
  if (on_disk_.valid()) on_disk_.wait();
}

void Checkpointer::stop_if_asked() {
  if (!stop_) return;
  settle();
  comm_.agree([&] {  // one message, and an end that no rank is killed for
    throw Error(ErrorKind::stopped, fmt::format("stopped on request with a checkpoint in {}: start again with --resume",
                                                checkpoint_folder(output_).string()));
  });
}

std::string Checkpointer::next_state_name() { return fmt::format("state-{}.h5", ++state_.serial); }

std::filesystem::path Checkpointer::path_of(const std::string& state_name) const {
  return checkpoint_folder(output_) / state_name;
}

void Checkpointer::make_folder() const {
  comm_.agree([&] {
    if (!comm_.is_root()) return;
    std::error_code code;
    std::filesystem::create_directories(checkpoint_folder(output_), code);
    if (code) throw_output("cannot make {}: {}", checkpoint_folder(output_).string(), code.message());
    sync_folder(output_);
  });
}

void Checkpointer::remove_unnamed() const {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(checkpoint_folder(output_), ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("state-", 0) == 0 && state_.states.count(name) == 0) std::filesystem::remove(entry.path(), ignored);
  }
}

void Checkpointer::remove_all() const {
  std::error_code ignored;
  if (comm_.is_root()) std::filesystem::remove_all(checkpoint_folder(output_), ignored);
}

}  // namespace gpfq::job
