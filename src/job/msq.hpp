// SPDX-License-Identifier: Apache-2.0
// The paper's baseline: every weight rounded to the nearest level of the same alphabet, on the fly.
#pragma once

#include "gpfq/store/quantized_file.hpp"

namespace gpfq::job {

/// Parameters of the MSQ network: float weights rounded with the alphabets that the result holds.
class MsqParameters : public net::Parameters {
 public:
  MsqParameters(const store::ModelFile& model, const store::QuantizedFile& result) : model_(model), result_(result) {}
  void read_rows(const std::string& tensor, Index first, Index count, float* out) const override;

 private:
  const store::ModelFile& model_;
  const store::QuantizedFile& result_;
};

}  // namespace gpfq::job
