// SPDX-License-Identifier: Apache-2.0
// What importers build a model with: nodes are added in order and named at the end, once it is
// known which of them the output needs.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gpfq/net/tensor_source.hpp"

namespace gpfq::formats {

using Attributes = std::map<std::string, std::vector<double>>;
using Parameters = std::map<std::string, net::TensorSource>;  ///< role ("weight", "scale", ...) -> values

/// One value per channel: `values` has `channels` of them, or one for all, which takes no memory per channel.
/// @throws Error (input) where one value stands for more than 2^24: a small file may claim any number.
[[nodiscard]] net::TensorSource channel_source(std::vector<float> values, Index channels);

/// Checks a number of channels for which one value is to be written out. @throws Error (input) above 2^24.
void require_repeatable(Index channels);

/// scale · x + shift per channel, as the parameters of a batch_norm node with epsilon 0.
[[nodiscard]] Parameters affine_parameters(std::vector<float> scale, std::vector<float> shift, Index channels);

/// A layer as its importer describes it: everything but its place in the graph.
struct Layer {
  std::string name;  ///< as in the file; made unique and fit for files by finish()
  net::Op op = net::Op::input;
  Attributes attributes = {};
  Parameters parameters = {};
  Shape shape = {};  ///< of an input or reshape; the others' follows from their operands
};

class ModelBuilder {
 public:
  /// Adds a node that reads `inputs` (indexes of earlier nodes) and infers its shape.
  /// @returns its index. @throws Error (input) naming the layer where shapes do not fit.
  int add(Layer layer, std::vector<int> inputs);
  /// The same, but values of the same shape are passed on without a node.
  /// A reshape of a reshape reads what that one read.
  int add_reshape(const std::string& name, int input, const Shape& shape);
  /// Output axis i is input axis perm[i]. Transposes in a row become one; one that two nodes ask for is made once;
  /// one that keeps the values in order (it moves extents of 1) is a reshape, or nothing.
  int add_transpose(const std::string& name, int input, const std::vector<std::size_t>& perm);
  /// Every `step`-th value along `axis`, the first one included, is kept: a max_pool with a 1×1 kernel, which copies.
  /// Along height and width of a feature map such nodes in a row become one.
  int add_subsampling(const std::string& name, int input, std::size_t axis, Index step);

  /// `count` values from `start` on along `axis`; nothing where these are all.
  int add_slice(const std::string& name, int input, std::size_t axis, Index start, Index count);

  /// Gives a dense or conv node that has none a bias; its shape is checked.
  void add_bias(int index, net::TensorSource bias);

  [[nodiscard]] const net::Node& node(int index) const { return draft_.node(index); }
  [[nodiscard]] const Shape& shape(int index) const { return node(index).shape; }

  /// Drops what `output` does not depend on, names nodes and tensors, and checks the graph.
  [[nodiscard]] net::Model finish(int output) &&;

 private:
  void set_parameters(int index, Parameters parameters);
  int add_map_subsampling(const std::string& name, int input, Index row_step, Index column_step);

  net::Graph draft_;  ///< parameters under draft names: "<index>.<role>"
  std::map<std::string, net::TensorSource> sources_;
  std::map<std::pair<int, std::vector<std::size_t>>, int> transposes_;  ///< (input, perm) -> node
};

}  // namespace gpfq::formats
