// SPDX-License-Identifier: Apache-2.0
// Collectives in pieces, and the agreement on failures.
#include "gpfq/mpi/communicator.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "gpfq/base/system.hpp"

namespace gpfq::mpi {
namespace {

/// What a failing rank says.
struct Failure {
  bool happened = false;
  std::string message;
  std::int64_t kind = 0;    ///< an ErrorKind
  bool is_agreed = false;  ///< already carries its origin
};

Failure run_locally(const std::function<void()>& action) {
  try {
    action();
    return {};
  } catch (const AgreedError& error) {
    return {true, error.what(), static_cast<std::int64_t>(error.kind()), true};
  } catch (const Error& error) {
    return {true, error.what(), static_cast<std::int64_t>(error.kind()), false};
  } catch (const std::bad_alloc&) {
    return {true, "out of memory", static_cast<std::int64_t>(ErrorKind::fault), false};
  } catch (const std::exception& error) {
    return {true, error.what(), static_cast<std::int64_t>(ErrorKind::fault), false};
  }
}

}  // namespace

Communicator::Communicator(MPI_Comm parent, Index piece_bytes) : piece_bytes_(piece_bytes) {
  require(piece_bytes >= static_cast<Index>(sizeof(std::int64_t)) && piece_bytes <= Index{1} << 30,
          "Communicator: pieces of 8 bytes to 1 GiB");
  check(MPI_Comm_dup(parent, &comm_), "MPI_Comm_dup");
  check(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
  check(MPI_Comm_size(comm_, &size_), "MPI_Comm_size");
}

Communicator::Communicator(Adopt /*own*/, MPI_Comm own, Index piece_bytes) : comm_(own), piece_bytes_(piece_bytes) {
  check(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
  check(MPI_Comm_size(comm_, &size_), "MPI_Comm_size");
}

Communicator Communicator::split(int color, int key) const {
  MPI_Comm part = MPI_COMM_NULL;
  check(MPI_Comm_split(comm_, color, key, &part), "MPI_Comm_split");
  return {Adopt{}, part, piece_bytes_};
}

Communicator Communicator::split_node(int most) const {
  MPI_Comm node = MPI_COMM_NULL;
  check(MPI_Comm_split_type(comm_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &node), "MPI_Comm_split_type");
  Communicator whole(Adopt{}, node, piece_bytes_);
  return most <= 0 ? std::move(whole) : whole.split(whole.rank() / most, whole.rank());
}

Communicator::Communicator(Communicator&& other) noexcept
    : comm_(std::exchange(other.comm_, MPI_COMM_NULL)), rank_(other.rank_), size_(other.size_), piece_bytes_(other.piece_bytes_) {}

Communicator::~Communicator() {
  if (comm_ != MPI_COMM_NULL) MPI_Comm_free(&comm_);
}

int Communicator::node_count() const {
  MPI_Comm node = MPI_COMM_NULL;
  check(MPI_Comm_split_type(comm_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &node), "MPI_Comm_split_type");
  int rank_on_node = 0;
  check(MPI_Comm_rank(node, &rank_on_node), "MPI_Comm_rank");
  check(MPI_Comm_free(&node), "MPI_Comm_free");
  return static_cast<int>(sum(rank_on_node == 0 ? Index{1} : Index{0}));
}

void Communicator::barrier() const { check(MPI_Barrier(comm_), "MPI_Barrier"); }

void Communicator::agree(const std::function<void()>& action) const {
  Failure failure = run_locally(action);
  int first = failure.happened ? rank_ : size_;
  check(MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, comm_), "MPI_Allreduce");
  if (first == size_) return;
  std::int64_t head[2] = {failure.kind, static_cast<std::int64_t>(failure.message.size())};
  // Root speaks for all when it checks input; elsewhere it matters which rank and host it was.
  if (rank_ == first && !failure.is_agreed && (failure.kind == static_cast<std::int64_t>(ErrorKind::fault) || !is_root())) {
    failure.message += fmt::format(" [rank {}/{}, {}]", rank_, size_, host_name());
    head[1] = static_cast<std::int64_t>(failure.message.size());
  }
  check(MPI_Bcast(head, 2, MPI_INT64_T, first, comm_), "MPI_Bcast");
  failure.message.resize(static_cast<std::size_t>(head[1]));
  check(MPI_Bcast(failure.message.data(), static_cast<int>(head[1]), MPI_CHAR, first, comm_), "MPI_Bcast");
  throw AgreedError(static_cast<ErrorKind>(head[0]), failure.message);
}

void Communicator::sum(std::span<std::int64_t> values) const {
  const std::size_t piece = static_cast<std::size_t>(piece_bytes_) / sizeof(std::int64_t);
  for (std::size_t begin = 0; begin < values.size(); begin += piece) {
    const auto part = values.subspan(begin, std::min(piece, values.size() - begin));
    check(MPI_Allreduce(MPI_IN_PLACE, part.data(), static_cast<int>(part.size()), MPI_INT64_T, MPI_SUM, comm_),
          "MPI_Allreduce");
  }
}

Index Communicator::sum(Index value) const {
  sum(std::span<std::int64_t>(&value, 1));
  return value;
}

Index Communicator::max(Index value) const {
  check(MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_INT64_T, MPI_MAX, comm_), "MPI_Allreduce");
  return value;
}

double Communicator::max(double value) const {
  check(MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_DOUBLE, MPI_MAX, comm_), "MPI_Allreduce");
  return value;
}

void Communicator::gather_shares(std::span<float> values, const std::vector<Range>& shares) const {
  require(static_cast<int>(shares.size()) == size_, "gather_shares: one share per rank");
  constexpr Index most = std::numeric_limits<int>::max();
  const bool fits = std::all_of(shares.begin(), shares.end(), [](const Range& share) { return share.end <= most; });
  if (!fits) {  // beyond MPI's 32-bit counts: one broadcast per share and piece
    const Index piece = piece_bytes_ / static_cast<Index>(sizeof(float));
    for (int from = 0; from < size_; ++from) {
      const Range& share = shares[static_cast<std::size_t>(from)];
      for (Index begin = share.begin; begin < share.end; begin += piece)
        check(MPI_Bcast(values.data() + begin, static_cast<int>(std::min(piece, share.end - begin)), MPI_FLOAT, from,
                        comm_),
              "MPI_Bcast");
    }
    return;
  }
  std::vector<int> counts;
  std::vector<int> offsets;
  for (const Range& share : shares) {
    counts.push_back(static_cast<int>(share.size()));
    offsets.push_back(static_cast<int>(share.begin));
  }
  check(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values.data(), counts.data(), offsets.data(), MPI_FLOAT,
                       comm_),
        "MPI_Allgatherv");
}

void Communicator::broadcast_bytes(std::string& bytes) const {
  Index size = static_cast<Index>(bytes.size());
  check(MPI_Bcast(&size, 1, MPI_INT64_T, 0, comm_), "MPI_Bcast");
  bytes.resize(static_cast<std::size_t>(size));
  for (Index begin = 0; begin < size; begin += piece_bytes_) {
    const int count = static_cast<int>(std::min(piece_bytes_, size - begin));
    check(MPI_Bcast(bytes.data() + begin, count, MPI_BYTE, 0, comm_), "MPI_Bcast");
  }
}

void Communicator::max(std::span<double> values) const {
  const std::size_t piece = static_cast<std::size_t>(piece_bytes_) / sizeof(double);
  for (std::size_t begin = 0; begin < values.size(); begin += piece) {
    const auto part = values.subspan(begin, std::min(piece, values.size() - begin));
    check(MPI_Allreduce(MPI_IN_PLACE, part.data(), static_cast<int>(part.size()), MPI_DOUBLE, MPI_MAX, comm_),
          "MPI_Allreduce");
  }
}

std::vector<std::string> Communicator::gather_bytes(const std::string& bytes) const {
  const Index size = static_cast<Index>(bytes.size());
  std::vector<std::int64_t> sizes(is_root() ? static_cast<std::size_t>(size_) : 0);
  check(MPI_Gather(&size, 1, MPI_INT64_T, sizes.data(), 1, MPI_INT64_T, 0, comm_), "MPI_Gather");
  std::vector<std::string> gathered;
  if (!is_root()) {
    for (Index begin = 0; begin < size; begin += piece_bytes_) {
      const int count = static_cast<int>(std::min(piece_bytes_, size - begin));
      check(MPI_Send(bytes.data() + begin, count, MPI_BYTE, 0, 0, comm_), "MPI_Send");
    }
    return gathered;
  }
  gathered.push_back(bytes);
  for (int from = 1; from < size_; ++from) {
    std::string& part = gathered.emplace_back(static_cast<std::size_t>(sizes[static_cast<std::size_t>(from)]), '\0');
    const Index part_size = static_cast<Index>(part.size());
    for (Index begin = 0; begin < part_size; begin += piece_bytes_) {
      const int count = static_cast<int>(std::min(piece_bytes_, part_size - begin));
      check(MPI_Recv(part.data() + begin, count, MPI_BYTE, from, 0, comm_, MPI_STATUS_IGNORE), "MPI_Recv");
    }
  }
  return gathered;
}

}  // namespace gpfq::mpi
