// SPDX-License-Identifier: Apache-2.0
// The same importers behind libFuzzer's entrance; which one, is a definition of the target.
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <string_view>

#include "gpfq/hdf5/handle.hpp"
#include "importer.hpp"
#include "support/temp_folder.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gpfq;
  static const fuzz::Importer& importer = []() -> const fuzz::Importer& {
    const auto all = fuzz::importers();
    return *std::find_if(all.begin(), all.end(),
                         [](const fuzz::Importer& one) { return one.name == std::string_view(GPFQ_FUZZ_IMPORTER); });
  }();
  static const test::TempFolder folder;
  [[maybe_unused]] static const auto seeds = importer.seeds(folder.path());
  hdf5::silence_error_printing();
  static_cast<void>(fuzz::try_import(importer, {reinterpret_cast<const char*>(data), size}, folder.path()));
  return 0;
}
