// SPDX-License-Identifier: Apache-2.0
// What tests on ranks get from their main: the communicator of all ranks.
#pragma once

#include "gpfq/mpi/communicator.hpp"

namespace gpfq::test {

/// All ranks of the test. Every rank runs every test in the same order.
///
/// A failed EXPECT is kept and shown at the end with its rank. A failed ASSERT, or an exception that leaves a test,
/// ends all ranks at once when there are several: the others may wait for this one in a collective.
[[nodiscard]] const mpi::Communicator& world();

}  // namespace gpfq::test
