// SPDX-License-Identifier: Apache-2.0
// The built program and a small job for it.
#pragma once

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gpfq/store/model_file.hpp"
#include "support/command.hpp"
#include "support/data_files.hpp"
#include "support/networks.hpp"
#include "support/temp_folder.hpp"

namespace gpfq::app {

/// The program's path.
[[nodiscard]] inline std::string program() {
  const char* const path = std::getenv("GPFQ_PROGRAM");
  return path == nullptr ? GPFQ_PROGRAM : path;
}

/// Runs the program; 0 ranks is without mpirun.
[[nodiscard]] inline test::CommandResult run_program(int ranks, std::vector<std::string> arguments,
                                                     int limit_seconds = 60) {
  arguments.insert(arguments.begin(), program());
  return test::run_command(ranks, arguments, limit_seconds);
}

/// model.h5, data.h5 (x, y) and job.json in a folder: 12 inputs, 20 and 5 neurons, 64 samples.
class SmallJob {
 public:
  static constexpr Index inputs = 12;
  static constexpr Index samples = 64;
  static constexpr Index classes = 5;

  SmallJob() {
    store::write_model(folder_ / "model.h5", test::random_mlp({inputs, 20, classes}, 1));
    test::Random random(2);
    test::write_dataset(folder_ / "data.h5", "x", {samples, inputs}, random.normals(samples * inputs, 1));
    std::vector<std::int32_t> labels(static_cast<std::size_t>(samples));
    for (std::int32_t& label : labels) label = static_cast<std::int32_t>(random.integer(0, classes - 1));
    test::write_dataset(folder_ / "data.h5", "y", {samples}, labels);
    const nlohmann::json data = {{"file", "data.h5"}, {"inputs", "x"}};
    nlohmann::json config = {{"model", "model.h5"}, {"calibration", data}, {"evaluation", data}};
    config["evaluation"]["labels"] = "y";
    test::write_text(folder_ / "job.json", config.dump(2));
  }
  [[nodiscard]] const std::filesystem::path& path() const { return folder_.path(); }
  [[nodiscard]] std::filesystem::path operator/(const std::string& name) const { return folder_ / name; }
  [[nodiscard]] std::string config() const { return (folder_ / "job.json").string(); }
  [[nodiscard]] nlohmann::json report(const std::string& run = "run") const {
    return nlohmann::json::parse(test::read_text(folder_ / (run + "/report.json")));
  }

 private:
  test::TempFolder folder_;
};

}  // namespace gpfq::app
