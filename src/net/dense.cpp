// SPDX-License-Identifier: Apache-2.0
// Dense layers as products of one fixed shape, a chunk of samples times a tile of neurons: BLAS may
// round other shapes differently.
#include "net/dense.hpp"

#include <Eigen/Core>
#include <algorithm>

#include "gpfq/base/error.hpp"
#include "gpfq/base/parallel.hpp"

namespace gpfq::net {
namespace {

using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

}  // namespace

Batch dense_output(const Graph& graph, const Node& node, const Batch& input, const Parameters& parameters,
                   const PropagationOptions& options) {
  const std::string& tensor = node.parameters.at("weight");
  const Shape& weight_shape = graph.tensor_shape(tensor);
  const Index neurons = weight_shape[0];
  const Index inputs = weight_shape[1];
  require(input.sample_size() == inputs, "dense_output: input and weight disagree");

  Batch output(input.samples, node.shape);
  const Index tile = std::min(options.neuron_tile, round_up(neurons, alignment_floats));
  const Index chunk = options.sample_chunk;
  AlignedBuffer<float> weights(tile * inputs);  // the last tile keeps zeros or old rows below: never copied out
  for (Index first = 0; first < neurons; first += tile) {
    const Index rows = std::min(tile, neurons - first);
    parameters.read_rows(tensor, first, rows, weights.data());
    // Chunks at the edges of the batch are padded and the last tile too, so that every product has the same shape
    // and a sample the same place in it.
    const Index first_chunk = options.first_sample / chunk;
    const Index end = options.first_sample + input.samples;
    parallel_for(ceil_div(end, chunk) - first_chunk, options.threads, [&](Index piece) {
      const Index chunk_begin = (first_chunk + piece) * chunk;
      const Index begin = std::max(chunk_begin, options.first_sample);
      const Index samples = std::min(chunk_begin + chunk, end) - begin;
      const Index in_batch = begin - options.first_sample;
      RowMajor padded;
      const float* source = input.values.data() + in_batch * inputs;
      if (samples < chunk) {
        padded = RowMajor::Zero(chunk, inputs);
        std::copy_n(source, samples * inputs, padded.data() + (begin - chunk_begin) * inputs);
        source = padded.data();
      }
      const Eigen::Map<const RowMajor> x(source, chunk, inputs);
      const Eigen::Map<const RowMajor> w(weights.data(), tile, inputs);
      RowMajor y(chunk, tile);
      y.noalias() = x * w.transpose();
      Eigen::Map<RowMajor, 0, Eigen::OuterStride<>> out(output.values.data() + in_batch * neurons + first, samples,
                                                        rows, Eigen::OuterStride<>(neurons));
      out = y.block(begin - chunk_begin, 0, samples, rows);
    });
  }
  return output;
}

}  // namespace gpfq::net
