// SPDX-License-Identifier: Apache-2.0
// HDF5 1.10 copies an attribute's name and values, and texts of variable length, by the sizes that stand there, without
// looking whether they are there or fit where they go. So they are looked at before.
#pragma once

#include <hdf5.h>

#include <string>

namespace gpfq::hdf5 {

/// Checks the attributes that stand in the header of an open object, of a file that is open for reading only, in which
/// addresses and lengths take 8 bytes. Those that HDF5 keeps elsewhere (many, in the newest format) are left to it.
/// @param texts  attribute whose texts of variable length are checked too; empty: none
/// @throws Error (input) naming file and attribute
void check_attributes(hid_t object, const std::string& texts = "");

}  // namespace gpfq::hdf5
