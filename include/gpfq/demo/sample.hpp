// SPDX-License-Identifier: Apache-2.0
// The embedded sample: a network, its data and a config that quantizes it, made on the spot so
// that the first run needs nothing but the program.
#pragma once

#include <filesystem>

namespace gpfq::demo {

/// The three files of the sample.
struct SampleFiles {
  std::filesystem::path model;   ///< digits_mlp.h5: native model, 784 – 1024 – 512 – 10 with ReLU
  std::filesystem::path data;    ///< digits.h5: {train,test}/{images,labels}, 6000 and 2000 digits, uint8
  std::filesystem::path config;  ///< digits.json: quantizes the model to three levels
};

/// Draws the digits, trains the network and writes the files into `folder`, which is created when
/// missing. Files of these names are replaced, each written beside its place and renamed.
/// @throws Error (input) when the folder or a file cannot be written.
/// Cost: about a second and 100 MiB.
SampleFiles write_sample(const std::filesystem::path& folder);

}  // namespace gpfq::demo
