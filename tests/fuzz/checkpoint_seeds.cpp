// SPDX-License-Identifier: Apache-2.0
// Checkpoints of a job in the middle of its second layer, and of one that has not begun.
#include "job/halfway_job.hpp"
#include "seeds.hpp"

namespace gpfq::fuzz {

std::vector<std::string> checkpoint_seeds(const std::filesystem::path&) {
  return {job::pack_checkpoint(job::HalfwayJob().checkpoint), job::pack_checkpoint({})};
}

std::vector<std::string> archive_seeds(const std::filesystem::path& folder) {
  std::vector<std::string> seeds = checkpoint_seeds(folder);
  for (std::string& seed : seeds) seed.erase(0, seed.find('\n') + 1);
  return seeds;
}

}  // namespace gpfq::fuzz
