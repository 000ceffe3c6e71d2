// SPDX-License-Identifier: Apache-2.0
// The measurements are short, so each is the best of a few: a disturbance only ever slows one down.
#include "job/machine.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <thread>
#include <vector>

#include "gpfq/base/digest.hpp"
#include "gpfq/base/parallel.hpp"
#include "gpfq/base/system.hpp"
#include "job/blas.hpp"
#include "job/units.hpp"

namespace gpfq::job {
namespace {

using Json = nlohmann::json;

// A product of this order takes some 50 ms and runs at the rate of larger ones (1024 and 2048 within 3 %).
constexpr Index calibration_order = 1024;
constexpr Index copy_bytes = Index{32} << 20;
constexpr Index most_copied_bytes = Index{128} << 20;
constexpr Index file_bytes = Index{64} << 20;
constexpr Index digest_bytes = Index{4} << 20;
constexpr int most_copying_cores = 16;
constexpr int repeats = 4;
constexpr std::time_t cache_seconds = 3600;

/// Most units of `amount` per second that `work` reached in a few runs.
double best_rate(double amount, const std::function<void()>& work) {
  double best = 0;
  for (int i = 0; i < repeats; ++i) {
    const Stopwatch watch;
    work();
    best = std::max(best, amount / std::max(watch.seconds(), 1e-9));
  }
  return best;
}

double calibrated_rate() {
  const Eigen::MatrixXf A = Eigen::MatrixXf::Constant(calibration_order, calibration_order, 0.5F);
  Eigen::MatrixXf B(calibration_order, calibration_order);
  const double flops = 2.0 * std::pow(static_cast<double>(calibration_order), 3);
  return best_rate(flops, [&] { B.noalias() = A * A; });
}

double copy_rate(int cores) {
  const auto size = static_cast<std::size_t>(std::min(copy_bytes, most_copied_bytes / cores));
  std::vector<std::vector<char>> buffers(2 * static_cast<std::size_t>(cores));
  parallel_for(2 * cores, cores, [&](Index i) { buffers[static_cast<std::size_t>(i)].assign(size, 'x'); });
  return best_rate(static_cast<double>(size) * cores, [&] {
    parallel_for(cores, cores, [&](Index i) {
      const auto at = static_cast<std::size_t>(2 * i);
      std::memcpy(buffers[at].data(), buffers[at + 1].data(), size);
    });
  });
}

double digest_rate() {
  const std::vector<char> bytes(static_cast<std::size_t>(digest_bytes), 'x');
  return best_rate(static_cast<double>(digest_bytes), [&] { static_cast<void>(sha256(bytes.data(), digest_bytes)); });
}

std::filesystem::path existing_parent(std::filesystem::path folder) {
  std::error_code ignored;
  folder = std::filesystem::absolute(folder, ignored);
  while (!std::filesystem::is_directory(folder, ignored) && folder.has_relative_path()) folder = folder.parent_path();
  return folder;
}

/// Rates of a file that nobody sees; the rate of memory where the folder takes none.
void measure_file(const std::filesystem::path& folder, MachineRates& rates) {
  rates.read_bytes_per_second = rates.memory_bytes_per_second;
  rates.write_bytes_per_second = rates.memory_bytes_per_second;
  std::string name = (existing_parent(folder) / ".gpfq-rate-XXXXXX").string();
  const int file = ::mkostemp(name.data(), O_CLOEXEC);
  if (file < 0) return;
  ::unlink(name.c_str());
  std::vector<char> bytes(static_cast<std::size_t>(file_bytes), 'x');
  const auto amount = static_cast<double>(file_bytes);
  const Stopwatch writing;
  const bool is_written = ::pwrite(file, bytes.data(), bytes.size(), 0) == file_bytes;
  if (is_written) {
    rates.write_bytes_per_second = amount / std::max(writing.seconds(), 1e-9);
    rates.read_bytes_per_second =
        best_rate(amount, [&] { static_cast<void>(::pread(file, bytes.data(), bytes.size(), 0) == file_bytes); });
  }
  ::close(file);
}

/// What the rates hold for.
std::string cache_key(const std::filesystem::path& folder) {
  struct stat status {};
  const bool known = ::stat(existing_parent(folder).c_str(), &status) == 0;
  return host_name() + " / " + blas_core() + " / " GPFQ_VERSION " / file system " +
         (known ? std::to_string(status.st_dev) : std::string("unknown"));
}

Json to_json(const MachineRates& rates) {
  return {{"flops_per_second", rates.flops_per_second},
          {"memory_bytes_per_second", rates.memory_bytes_per_second},
          {"node_memory_bytes_per_second", rates.node_memory_bytes_per_second},
          {"read_bytes_per_second", rates.read_bytes_per_second},
          {"write_bytes_per_second", rates.write_bytes_per_second},
          {"digest_bytes_per_second", rates.digest_bytes_per_second},
          {"cores", rates.cores}};
}

std::optional<MachineRates> from_json(const Json& json) {
  MachineRates rates;
  rates.flops_per_second = json.value("flops_per_second", 0.0);
  rates.memory_bytes_per_second = json.value("memory_bytes_per_second", 0.0);
  rates.node_memory_bytes_per_second = json.value("node_memory_bytes_per_second", 0.0);
  rates.read_bytes_per_second = json.value("read_bytes_per_second", 0.0);
  rates.write_bytes_per_second = json.value("write_bytes_per_second", 0.0);
  rates.digest_bytes_per_second = json.value("digest_bytes_per_second", 0.0);
  rates.cores = json.value("cores", 0);
  for (const double rate : {rates.flops_per_second, rates.memory_bytes_per_second, rates.node_memory_bytes_per_second,
                            rates.read_bytes_per_second, rates.write_bytes_per_second, rates.digest_bytes_per_second})
    if (!(rate > 0) || !std::isfinite(rate)) return std::nullopt;
  if (rates.cores < 1) return std::nullopt;
  return rates;
}

MachineRates better_of(const MachineRates& first, MachineRates second) {
  for (const auto rate : {&MachineRates::flops_per_second, &MachineRates::memory_bytes_per_second,
                          &MachineRates::node_memory_bytes_per_second, &MachineRates::read_bytes_per_second,
                          &MachineRates::write_bytes_per_second, &MachineRates::digest_bytes_per_second})
    second.*rate = std::max(second.*rate, first.*rate);
  return second;
}

/// The cache's object; an empty one where the file is missing or not ours.
Json read_cache(const std::filesystem::path& cache) {
  std::ifstream file(cache);
  const Json json = Json::parse(file, nullptr, false);
  return json.is_object() ? json : Json::object();
}

}  // namespace

MachineRates measure_machine(const std::filesystem::path& folder) {
  make_blas_serial();
  MachineRates rates;
  rates.cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  rates.flops_per_second = calibrated_rate();
  rates.memory_bytes_per_second = copy_rate(1);
  rates.node_memory_bytes_per_second =
      std::max(rates.memory_bytes_per_second, copy_rate(std::min(rates.cores, most_copying_cores)));
  rates.digest_bytes_per_second = digest_rate();
  measure_file(folder, rates);
  release_free_memory();
  restart_peak_memory();  // a job that begins with this is not to report its buffers
  return rates;
}

std::filesystem::path machine_cache() {
  const char* const xdg = std::getenv("XDG_CACHE_HOME");
  const char* const home = std::getenv("HOME");
  if (xdg != nullptr && *xdg == '/') return std::filesystem::path(xdg) / "gpfq/machine.json";
  if (home != nullptr && *home == '/') return std::filesystem::path(home) / ".cache/gpfq/machine.json";
  return {};
}

MachineRates machine_rates(const std::filesystem::path& folder, const std::filesystem::path& cache) {
  const std::string key = cache_key(folder);
  const std::time_t now = std::time(nullptr);
  Json known = Json::object();
  std::optional<MachineRates> old;
  try {
    if (!cache.empty()) known = read_cache(cache);
    if (known.contains(key)) {
      old = from_json(known[key]);
      const std::time_t age = now - known[key].value("measured_at", std::time_t{0});
      if (old && age >= 0 && age < cache_seconds) return *old;
    }
  } catch (const Json::exception&) {  // not what we wrote: measure
    known = Json::object();
  }
  const MachineRates measured = measure_machine(folder);
  const MachineRates rates = old ? better_of(*old, measured) : measured;
  if (cache.empty()) return rates;
  try {
    std::filesystem::create_directories(cache.parent_path());
    known[key] = to_json(rates);
    known[key]["measured_at"] = now;
    write_file_atomically(cache, known.dump(2) + "\n");
  } catch (const std::exception&) {  // a cache is not worth a message
  }
  return rates;
}

MachineRates with_given(MachineRates rates, const GivenRates& given) {
  if (given.gflops) rates.flops_per_second = *given.gflops * giga;
  if (given.memory_gb) {
    rates.node_memory_bytes_per_second = *given.memory_gb * giga;
    rates.memory_bytes_per_second = std::min(rates.memory_bytes_per_second, rates.node_memory_bytes_per_second);
  }
  if (given.read_gb) rates.read_bytes_per_second = *given.read_gb * giga;
  if (given.write_gb) rates.write_bytes_per_second = *given.write_gb * giga;
  if (given.cores) rates.cores = *given.cores;
  if (given.latency_us) rates.cluster.latency_us = *given.latency_us;
  if (given.network_gb) rates.cluster.network_gb = *given.network_gb;
  if (given.files_gb) rates.cluster.files_gb = *given.files_gb;
  if (given.node_files_gb) rates.cluster.node_files_gb = *given.node_files_gb;
  return rates;
}

}  // namespace gpfq::job
