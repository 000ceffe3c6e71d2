// SPDX-License-Identifier: Apache-2.0
// The command: a seeded campaign for one importer, or one input again.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "campaign.hpp"
#include "support/data_files.hpp"

namespace {

using namespace gpfq::fuzz;

void print(const std::string& text) { std::fputs(text.c_str(), stdout); }

int replay(const Importer& importer, const std::string& file) {
  std::string said;
  const Tally tally = run_one(importer, gpfq::test::read_text(file), said);
  print(said);
  if (tally.failures.empty()) {
    print(fmt::format("{}: {}\n", file, tally.taken == 1 ? "taken" : tally.contained == 1 ? "ended HDF5 with a message" : "refused"));
    return 0;
  }
  print(fmt::format("{}: {}{}\n", file, tally.failures[0].how, tally.failures[0].is_in_hdf5 ? " (in libhdf5)" : ""));
  return 1;
}

int report(const Importer& importer, std::uint64_t count, const Tally& tally) {
  std::uint64_t own = 0;
  for (const Failure& failure : tally.failures) {
    if (!failure.is_in_hdf5) ++own;
    print(fmt::format("{}: {}{}\n  {}\n", importer.name, failure.how, failure.is_in_hdf5 ? " (in libhdf5)" : "",
                      failure.input.string()));
  }
  print(fmt::format(
      "{}: {} inputs, {} taken, {} refused, {} ended HDF5 with a message, {} failed, {} without a message in libhdf5, at "
      "most {:.1f} MiB and {:.2f} s\n",
      importer.name, count, tally.taken, tally.refused, tally.contained, own, tally.failures.size() - own,
      static_cast<double>(tally.most_memory) / (1 << 20), tally.slowest_seconds));
  return tally.failures.empty() && tally.taken > 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Mutated inputs for the readers of files from outside");
  std::string name;
  std::string replayed;
  std::string keep = "fuzz-failures";
  std::uint64_t seed = 1;
  std::uint64_t first = 0;
  std::uint64_t count = 300;
  app.add_option("importer", name, "which one")->required();
  app.add_option("--seed", seed, "of the campaign");
  app.add_option("--first", first, "first input, for campaigns in parts");
  app.add_option("--count", count, "how many inputs")->envname("GPFQ_FUZZ_COUNT");
  app.add_option("--keep", keep, "folder for inputs that fail");
  app.add_option("--replay", replayed, "run this file alone");
  CLI11_PARSE(app, argc, argv);
  try {
    const auto all = importers();
    const auto found = std::find_if(all.begin(), all.end(), [&](const Importer& one) { return name == one.name; });
    if (found == all.end()) {
      for (const Importer& one : all) print(fmt::format("{}\n", one.name));
      return 2;
    }
    if (!replayed.empty()) return replay(*found, replayed);
    return report(*found, count, run_campaign(*found, seed, first, count, keep));
  } catch (const std::exception& error) {
    print(fmt::format("fuzz: {}\n", error.what()));
    return 1;
  }
}
