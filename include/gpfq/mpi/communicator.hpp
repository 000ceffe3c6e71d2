// SPDX-License-Identifier: Apache-2.0
// MPI as the rest of the program wants it: return codes become exceptions with MPI's own text,
// counts go beyond 2^31, and a local failure becomes everybody's before the next collective.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <exception>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "gpfq/base/error.hpp"
#include "gpfq/base/packing.hpp"
#include "gpfq/base/shard_plan.hpp"
#include "gpfq/base/types.hpp"

namespace gpfq::mpi {

/// MPI_Init to MPI_Finalize. @throws Error when this process is alone under a launcher that
/// started several (built with another MPI than the one that launches).
class Environment {
 public:
  Environment(int& argc, char**& argv);
  /// True when any thread may call MPI at any time.
  [[nodiscard]] static bool allows_threads();
  /// For a job that failed: at its end other libraries do no more cleaning up of their own. HDF5 would try once more to
  /// write what a full disk refused, and crash. The process is to end by std::_Exit() afterwards.
  static void leave_files();
  ~Environment();
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
};

/// Throws a fault naming `call` and MPI's text when `code` is not MPI_SUCCESS.
void check(int code, const char* call);

/// What agree() throws: an error that every rank has, so that all may leave together.
class AgreedError : public Error {
 public:
  using Error::Error;
};

/// A duplicate of a communicator, with its collectives.
class Communicator {
 public:
  /// Collective over `parent`. @param piece_bytes  most that one call of MPI carries (its counts are 32-bit)
  explicit Communicator(MPI_Comm parent, Index piece_bytes = Index{1} << 30);
  ~Communicator();
  Communicator(Communicator&& other) noexcept;
  Communicator& operator=(Communicator&&) = delete;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  /// The ranks of the same `color`, ordered by `key`. Collective.
  [[nodiscard]] Communicator split(int color, int key) const;
  /// The ranks that share this one's memory. @param most  ranks at most (0: all of the node). Collective.
  [[nodiscard]] Communicator split_node(int most = 0) const;

  [[nodiscard]] MPI_Comm get() const { return comm_; }
  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int size() const { return size_; }
  [[nodiscard]] bool is_root() const { return rank_ == 0; }

  /// Nodes that its ranks run on (groups that can share memory). Collective.
  [[nodiscard]] int node_count() const;

  void barrier() const;

  /// Runs `action` on every rank; when it throws anywhere, every rank throws the message of the
  /// lowest failing rank as AgreedError (with that rank and its host appended where it is not root's
  /// complaint about input), none otherwise. Collective;
  /// `action` must not be collective unless all ranks leave it the same way.
  void agree(const std::function<void()>& action) const;

  /// Element-wise over the ranks, in place, on all.
  void sum(std::span<std::int64_t> values) const;
  [[nodiscard]] Index sum(Index value) const;
  [[nodiscard]] Index max(Index value) const;
  [[nodiscard]] double max(double value) const;
  void max(std::span<double> values) const;

  /// Rank r's part of `values`, the range shares[r], to all.
  void gather_shares(std::span<float> values, const std::vector<Range>& shares) const;

  /// Root's bytes to all.
  void broadcast_bytes(std::string& bytes) const;
  /// Everybody's bytes to root, by rank; empty elsewhere.
  [[nodiscard]] std::vector<std::string> gather_bytes(const std::string& bytes) const;

  /// Root's object to all; any type that pack() takes.
  template <class T>
  void broadcast(T& object) const {
    std::string bytes = is_root() ? pack(object) : std::string();
    broadcast_bytes(bytes);
    if (!is_root()) unpack(bytes, object);
  }

  /// Everybody's object to root, by rank; empty elsewhere.
  template <class T>
  [[nodiscard]] std::vector<T> gather(const T& object) const {
    std::vector<T> objects;
    for (const std::string& bytes : gather_bytes(pack(object))) unpack(bytes, objects.emplace_back());
    return objects;
  }

 private:
  struct Adopt {};
  Communicator(Adopt, MPI_Comm own, Index piece_bytes);

  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
  Index piece_bytes_ = 0;
};

}  // namespace gpfq::mpi
