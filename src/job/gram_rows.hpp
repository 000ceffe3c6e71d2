// SPDX-License-Identifier: Apache-2.0
// Rows of a layer on their way into the sums of its Gram form.
#pragma once

#include <vector>

#include "gpfq/quant/gram_path.hpp"
#include "job/layer_path.hpp"

namespace gpfq::job {

/// Products of all problems of a layer.
using Products = std::vector<quant::GramProducts>;

/// Does nothing where the bounds are safe; else looks for the first sample that is not. Collective.
/// @param window_chunks  that are read at once   @param quantized_bounds, analog_bounds  as quantize_by_gram()'s
/// @throws Error (input) naming layer, sample and channel
void refuse_large_inputs(const LayerTask& task, const LayerRows& rows, Index window_chunks,
                         const std::vector<double>& quantized_bounds, const std::vector<double>& analog_bounds);

/// Empty sums. @param quantized_bounds, analog_bounds  max|x| per channel (feature) of the layer's inputs
[[nodiscard]] Products start_products(const LayerTask& task, const LayerRows& rows,
                                      const std::vector<double>& quantized_bounds,
                                      const std::vector<double>& analog_bounds);

/// Reads the rows of some chunks and adds them. @param threads  at work at once
void add_chunks(const LayerTask& task, const LayerRows& rows, Range chunks, int threads, Products& products,
                RankReport& report);

}  // namespace gpfq::job
