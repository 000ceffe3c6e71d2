// SPDX-License-Identifier: Apache-2.0
// Start and end of MPI, and the check that the launcher and the library belong together.
#include <fmt/format.h>

#include <array>
#include <cstdlib>

#include "gpfq/mpi/communicator.hpp"

namespace gpfq::mpi {
namespace {

/// Processes that the launcher says it started, by its environment; 1 where none says so.
Index launched_processes(std::string& variable) {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_NUM_TASKS"}) {
    const char* text = std::getenv(name);
    const Index count = text == nullptr ? 0 : std::strtoll(text, nullptr, 10);
    if (count > 1) {
      variable = fmt::format("{}={}", name, text);
      return count;
    }
  }
  return 1;
}

/// MPI_Comm_delete_attr_function: a failing one ends the deletion of attributes.
int refuse_deletion(MPI_Comm, int, void*, void*) { return MPI_ERR_OTHER; }

}  // namespace

Environment::Environment(int& argc, char**& argv) {
  int provided = MPI_THREAD_SINGLE;
  // Reading ahead calls MPI-IO beside the path's own calls; without that right it is not done.
  check(MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_FUNNELED) throw_fault("this MPI library does not allow threads (MPI_THREAD_FUNNELED)");
  check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  int size = 1;
  check(MPI_Comm_size(MPI_COMM_WORLD, &size), "MPI_Comm_size");
  std::string variable;
  if (size == 1 && launched_processes(variable) > 1) {
    std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> version{};
    int length = 0;
    MPI_Get_library_version(version.data(), &length);
    const std::string library = std::string(version.data()).substr(0, std::string(version.data()).find(','));
    throw_input("this process is alone, but its launcher started several ({}): it belongs to another MPI than the one "
                "gpfq was built with\n  expected the launcher of {}; with srun try --mpi=pmix",
                variable, library);
  }
}

bool Environment::allows_threads() {
  int provided = MPI_THREAD_SINGLE;
  check(MPI_Query_thread(&provided), "MPI_Query_thread");
  return provided == MPI_THREAD_MULTIPLE;
}

void Environment::leave_files() {
  int key = MPI_KEYVAL_INVALID;
  if (MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, refuse_deletion, &key, nullptr) == MPI_SUCCESS)
    static_cast<void>(MPI_Comm_set_attr(MPI_COMM_SELF, key, nullptr));
}

Environment::~Environment() { MPI_Finalize(); }

void check(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  if (MPI_Error_string(code, text.data(), &length) != MPI_SUCCESS) text[0] = '\0';
  throw_fault("{} failed: {} (code {})", call, text.data(), code);
}

}  // namespace gpfq::mpi
