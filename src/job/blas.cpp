// SPDX-License-Identifier: Apache-2.0
// OpenBLAS' own calls where it is the BLAS; environment variables are left to others. Built with OpenMP it asks OpenMP how
// many threads to take, which tells that of each thread that it did not start itself anew.
#include "job/blas.hpp"

#include "gpfq/base/error.hpp"
#include "gpfq/base/parallel.hpp"
#include "gpfq/base/system.hpp"

#ifdef GPFQ_BLAS_IS_OPENBLAS
extern "C" {
void openblas_set_num_threads(int threads);
char* openblas_get_corename();
int openblas_get_parallel() __attribute__((weak));
void omp_set_num_threads(int threads) __attribute__((weak));
}
#endif

namespace gpfq::job {

void make_blas_serial() {
#ifdef GPFQ_BLAS_IS_OPENBLAS
  openblas_set_num_threads(1);
  constexpr int by_openmp = 2;
  if (openblas_get_parallel == nullptr || openblas_get_parallel() != by_openmp) return;
  if (omp_set_num_threads == nullptr)
    throw_input("this OpenBLAS was built with OpenMP, whose omp_set_num_threads() is not to be found: expected OpenBLAS "
                "with threads of its own (Debian: libopenblas0-pthread) or without any (libopenblas0-serial)");
  const auto one_thread = [] { omp_set_num_threads(1); };
  one_thread();
  set_thread_start(one_thread);
#endif
}

std::string blas_core() {
#ifdef GPFQ_BLAS_IS_OPENBLAS
  return std::string("OpenBLAS ") + openblas_get_corename();
#else
  return "unknown";
#endif
}

void agree_on_blas_core(const mpi::Communicator& comm) {
  std::string first = blas_core();
  comm.broadcast(first);
  comm.agree([&] {
    if (blas_core() != first)
      throw_input("this rank's BLAS uses core '{}', rank 0's '{}': codes could differ\n  on {}; run on one processor type "
                  "or pin one for all, for example OPENBLAS_CORETYPE=Haswell",
                  blas_core(), first, host_name());
  });
}

}  // namespace gpfq::job
