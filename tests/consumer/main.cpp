// SPDX-License-Identifier: Apache-2.0
// What a user of the libraries does first: an alphabet, a level, and a link against the rooms.
#include <gpfq/job/config.hpp>
#include <gpfq/quant/alphabet.hpp>

int main() {
  const auto ternary = gpfq::quant::Alphabet::from_radius(3, 1.0);
  const bool rounds = ternary.value(ternary.nearest(0.7)) == 1.0F && ternary.value(ternary.nearest(0.2)) == 0.0F;
  return rounds && !gpfq::job::config_keys().empty() ? 0 : 1;
}
