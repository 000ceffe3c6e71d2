// SPDX-License-Identifier: Apache-2.0
// Rounding of rows as they are read.
#include "job/msq.hpp"

#include <vector>

#include "gpfq/quant/alphabet.hpp"

namespace gpfq::job {

void MsqParameters::read_rows(const std::string& tensor, Index first, Index count, float* out) const {
  model_.read_rows(tensor, first, count, out);
  for (const store::QuantizedLayer& layer : result_.layers()) {
    if (layer.tensor != tensor) continue;
    const std::vector<quant::Alphabet> alphabets = result_.read_alphabets(layer.name, first, count);
    const Index row_size = element_count(layer.shape) / layer.shape.front();
    for (Index row = 0; row < count; ++row) {
      const quant::Alphabet& alphabet = alphabets[static_cast<std::size_t>(row)];
      for (Index i = row * row_size; i < (row + 1) * row_size; ++i) out[i] = alphabet.value(alphabet.nearest(out[i]));
    }
  }
}

}  // namespace gpfq::job
