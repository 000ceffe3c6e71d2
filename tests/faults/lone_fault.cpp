// SPDX-License-Identifier: Apache-2.0
// Preloaded into a job: the memory of one rank runs out at a chosen allocation, as it does on a node that others use
// too; or a stop is asked for right after a chosen checkpoint; or HDF5 falls at a chosen read; or the rank is killed in
// the midst of a chosen write; or MPI fails in it; or the file system knows no locks. Nothing of it is in the program.
#include <dlfcn.h>
#include <mpi.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>

namespace {

// Small ones are the libraries' and the messages' own, of which there are too many to be told apart.
constexpr std::size_t smallest_counted = 512;

long number(const char* name, long otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtol(text, nullptr, 10);
}

bool is_chosen_rank() {
  const char* const rank = std::getenv("OMPI_COMM_WORLD_RANK");
  const char* const chosen = std::getenv("LONE_FAULT_RANK");
  return rank != nullptr && chosen != nullptr && std::strcmp(rank, chosen) == 0;
}

std::atomic<long> allocations{0};

/// True for the allocation that is to fail, and for none after it: there is room for the message.
bool runs_out(std::size_t bytes) {
  static const long chosen = is_chosen_rank() ? number("LONE_FAULT_ALLOCATION", 0) : 0;
  return bytes >= smallest_counted && ++allocations == chosen;
}

void* take(std::size_t bytes, std::size_t alignment) {
  if (runs_out(bytes)) return nullptr;
  void* memory = nullptr;
  if (alignment <= alignof(std::max_align_t)) return std::malloc(bytes > 0 ? bytes : 1);
  return ::posix_memalign(&memory, alignment, bytes) == 0 ? memory : nullptr;
}

void* take_or_throw(std::size_t bytes, std::size_t alignment) {
  void* const memory = take(bytes, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

std::atomic<long> checkpoints{0};
std::atomic<long> reads{0};
std::atomic<long> writes{0};
std::atomic<long> steps{0};
std::atomic<long> reductions{0};

/// How many there were, for the choice of one: in the file LONE_FAULT_COUNT.
__attribute__((destructor)) void tell_count() {
  const char* const path = std::getenv("LONE_FAULT_COUNT");
  if (path == nullptr || !is_chosen_rank()) return;
  if (std::FILE* const file = std::fopen(path, "w")) {
    std::fprintf(file, "%ld %ld %ld %ld %ld\n", allocations.load(), checkpoints.load(), reductions.load(), writes.load(), steps.load());
    std::fclose(file);
  }
}

template <class Function>
Function next_one(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

/// True for the write to an array in the midst of which the rank is to be killed.
bool is_last_write() {
  static const long chosen = is_chosen_rank() ? number("LONE_FAULT_WRITE", 0) : 0;
  return ++writes == chosen;
}

/// The same for what brings a manifest or a report to disk: to write, flush and rename it.
bool is_last_step() {
  static const long chosen = is_chosen_rank() ? number("LONE_FAULT_STEP", 0) : 0;
  return ++steps == chosen;
}

}  // namespace

void* operator new(std::size_t bytes) { return take_or_throw(bytes, 0); }
void* operator new[](std::size_t bytes) { return take_or_throw(bytes, 0); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return take_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return take(bytes, 0); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

// As hdf5.h declares it, whose headers this does without.
extern "C" int H5Dread(std::int64_t dataset, std::int64_t type, std::int64_t memory, std::int64_t file, std::int64_t transfer,
                       void* out) {
  static const auto next =
      next_one<int (*)(std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t, void*)>("H5Dread");
  static const long chosen = is_chosen_rank() ? number("LONE_FAULT_READ", 0) : 0;
  if (++reads == chosen) std::raise(SIGSEGV);
  return next(dataset, type, memory, file, transfer, out);
}

extern "C" ssize_t pwrite(int file, const void* data, size_t bytes, off_t offset) {
  static const auto next = next_one<ssize_t (*)(int, const void*, size_t, off_t)>("pwrite");
  if (!is_last_write()) return next(file, data, bytes, offset);
  static_cast<void>(next(file, data, bytes / 2, offset));
  return std::raise(SIGKILL);
}

extern "C" ssize_t pwritev(int file, const iovec* parts, int count, off_t offset) {
  static const auto next = next_one<ssize_t (*)(int, const iovec*, int, off_t)>("pwritev");
  if (!is_last_write()) return next(file, parts, count, offset);
  static_cast<void>(next(file, parts, count / 2, offset));
  return std::raise(SIGKILL);
}

extern "C" ssize_t pwrite64(int file, const void* data, size_t bytes, off64_t offset) { return pwrite(file, data, bytes, offset); }
extern "C" ssize_t pwritev64(int file, const iovec* parts, int count, off64_t offset) { return pwritev(file, parts, count, offset); }

extern "C" ssize_t write(int file, const void* data, size_t bytes) {
  static const auto next = next_one<ssize_t (*)(int, const void*, size_t)>("write");
  struct stat status {};
  if (::fstat(file, &status) != 0 || !S_ISREG(status.st_mode) || !is_last_step()) return next(file, data, bytes);
  static_cast<void>(next(file, data, bytes / 2));
  return std::raise(SIGKILL);
}

extern "C" int fsync(int file) {
  static const auto next = next_one<int (*)(int)>("fsync");
  return is_last_step() ? std::raise(SIGKILL) : next(file);
}

extern "C" int MPI_Allreduce(const void* given, void* result, int count, MPI_Datatype type, MPI_Op operation, MPI_Comm comm) {
  static const long chosen = is_chosen_rank() ? number("LONE_FAULT_MPI", 0) : 0;
  return ++reductions == chosen ? MPI_ERR_OTHER : PMPI_Allreduce(given, result, count, type, operation, comm);
}

extern "C" int flock(int file, int operation) noexcept {
  static const auto next = next_one<int (*)(int, int)>("flock");
  if (std::getenv("LONE_FAULT_NO_LOCKS") == nullptr) return next(file, operation);
  errno = ENOLCK;
  return -1;
}

extern "C" int rename(const char* from, const char* to) noexcept {
  static const auto next = next_one<int (*)(const char*, const char*)>("rename");
  static const long chosen = is_chosen_rank() ? number("LONE_FAULT_STOP", 0) : 0;
  if (is_last_step()) std::raise(SIGKILL);
  const int status = next(from, to);
  const std::string_view name(to);
  if (name.ends_with("/job.ckpt") && ++checkpoints == chosen) std::raise(SIGUSR1);
  return status;
}
