// SPDX-License-Identifier: Apache-2.0
// OpenBLAS' own calls where it is the BLAS; environment variables are left to others.
#include "job/blas.hpp"

#include "gpfq/base/error.hpp"
#include "gpfq/base/system.hpp"

#ifdef GPFQ_BLAS_IS_OPENBLAS
extern "C" {
void openblas_set_num_threads(int threads);
char* openblas_get_corename();
}
#endif

namespace gpfq::job {

void make_blas_serial() {
#ifdef GPFQ_BLAS_IS_OPENBLAS
  openblas_set_num_threads(1);
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
