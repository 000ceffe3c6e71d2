// SPDX-License-Identifier: Apache-2.0
// What ranks say to each other per block of inputs, and nothing else: for comparison with the model of scale. Plain
// MPI, so that SimGrid's smpicxx compiles it alone and smpirun runs it for clusters that are not at hand (README "Time,
// memory and scale").
#include <mpi.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

struct Options {
  int blocks = 4;        ///< timed ones
  int block = 64;        ///< b
  int tile = 256;        ///< neurons per tile
  int tiles = 1;         ///< of a rank
  int grid_samples = 1;  ///< ranks with the same tiles and other rows
  int per_node = 1;
  long samples = 65536;  ///< m, for the bytes of a block
  int networks = 2;      ///< 1: X = Xq
};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const int value = std::atoi(argv[i + 1]);
    if (name == "--blocks") options.blocks = value;
    if (name == "--block") options.block = value;
    if (name == "--tile") options.tile = value;
    if (name == "--tiles") options.tiles = value;
    if (name == "--grid-samples") options.grid_samples = value;
    if (name == "--per-node") options.per_node = value;
    if (name == "--samples") options.samples = value;
    if (name == "--networks") options.networks = value;
  }
  return options;
}

/// Seconds per call of the slowest rank, after one call that is not timed.
template <class Call>
double seconds_per_block(int blocks, const Call& call) {
  call();
  MPI_Barrier(MPI_COMM_WORLD);
  const double begin = MPI_Wtime();
  for (int i = 0; i < blocks; ++i) call();
  double seconds = (MPI_Wtime() - begin) / blocks;
  MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return seconds;
}

/// In place, as the job sums. Aborts where a sum is not the number of ranks: a benchmark checks its answer.
void sum(std::vector<std::int64_t>& values, MPI_Comm comm) {
  int size = 1;
  MPI_Comm_size(comm, &size);
  std::fill(values.begin(), values.end(), 1);
  MPI_Allreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()), MPI_INT64_T, MPI_SUM, comm);
  if (values.front() != size || values.back() != size) MPI_Abort(MPI_COMM_WORLD, 1);
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  const Options options = parse(argc, argv);
  int rank = 0;
  int ranks = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  MPI_Comm row = MPI_COMM_NULL;
  MPI_Comm leaders = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, rank / options.grid_samples, rank, &row);
  const bool is_leader = rank % options.per_node == 0;
  MPI_Comm_split(MPI_COMM_WORLD, is_leader ? 0 : MPI_UNDEFINED, rank, &leaders);

  std::vector<std::int64_t> P(static_cast<std::size_t>(options.block) * options.tile);
  const double tiles = seconds_per_block(options.blocks, [&] {
    for (int i = 0; i < options.tiles; ++i) sum(P, row);
  });
  std::vector<std::int64_t> GC(static_cast<std::size_t>(options.block) * options.block * options.networks);
  const double products = seconds_per_block(options.blocks, [&] { sum(GC, MPI_COMM_WORLD); });

  double exchange = 0;
  const int nodes = (ranks + options.per_node - 1) / options.per_node;
  const long share = options.samples * options.block * options.networks / nodes;  // floats
  std::vector<float> block(is_leader ? static_cast<std::size_t>(share * nodes) : 0);
  exchange = seconds_per_block(options.blocks, [&] {
    if (is_leader)
      MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, block.data(), static_cast<int>(share), MPI_FLOAT, leaders);
  });
  if (rank == 0)
    std::printf(
        "{\"benchmark\": \"communication per block\", \"ranks\": %d, \"nodes\": %d, \"grid_samples\": %d, "
        "\"tile_sum_seconds\": %.7f, \"product_sum_seconds\": %.7f, \"exchange_seconds\": %.7f}\n",
        ranks, nodes, options.grid_samples, tiles, products, exchange);
  if (is_leader) MPI_Comm_free(&leaders);
  MPI_Comm_free(&row);
  MPI_Finalize();
  return 0;
}
