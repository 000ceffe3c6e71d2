// SPDX-License-Identifier: Apache-2.0
// A network as a directed acyclic graph of nodes with one output each, parameters by name:
// what importers produce, propagation runs and the model file stores.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "gpfq/base/types.hpp"

namespace gpfq::net {

/// What a node computes. Every operator works sample by sample; shapes leave the samples out. Attributes that a node
/// does not have: strides, dilations, groups and keepdims are 1, pads, axis, start, value, ceil_mode and
/// count_include_pad 0.
enum class Op {
  input,     ///< the network's input
  dense,     ///< y = W x + b;            parameters weight [n, N], bias [n] (optional)
  conv,      ///< 2-D cross-correlation of [Cin, H, W]; parameters weight [Cout, Cin/groups, kh, kw], bias [Cout]
             ///< (optional); attributes strides [2], pads [top, left, bottom, right], dilations [2], groups
  max_pool,  ///< attributes kernel [2], strides [2], pads [4], dilations [2], ceil_mode (0 or 1); padding never wins
  average_pool,  ///< those, and count_include_pad (0 or 1)
  reduce_mean,   ///< mean over attribute axes (per-sample axes, 0 = first after the samples), keepdims (0 or 1)
  pad,           ///< attributes pads [before per axis ..., after per axis ...], value (constant)
  add,           ///< x + y, two inputs, broadcast as numpy does over the per-sample shapes
  sub,           ///< x − y, likewise
  mul,           ///< x · y, likewise
  concat,        ///< one or more inputs joined along attribute axis (per-sample)
  slice,         ///< attribute count values from attribute start on, along attribute axis (per-sample)
  transpose,     ///< attribute perm of the per-sample axes: output axis i is input axis perm[i]
  batch_norm,    ///< per channel (dim 0):    parameters scale, shift, mean, variance [C]; attribute epsilon
  relu,          ///< max(0, x)
  leaky_relu,    ///< x < 0 ? alpha x : x     attribute alpha
  elu,           ///< x < 0 ? alpha (e^x − 1) : x      attribute alpha
  selu,          ///< gamma (x < 0 ? alpha (e^x − 1) : x)   attributes alpha, gamma
  sigmoid,       ///< 1 / (1 + e^−x)
  hard_sigmoid,  ///< clamp(alpha x + beta, 0, 1)      attributes alpha, beta
  hard_swish,    ///< x clamp(x/6 + 1/2, 0, 1)
  swish,         ///< x sigmoid(x)
  gelu,          ///< x Φ(x), Φ the normal distribution (erf form)
  tanh,          ///< tanh x
  softplus,      ///< ln(1 + e^x)
  softsign,      ///< x / (1 + |x|)
  clip,          ///< clamp(x, min, max)      attributes min, max (each optional)
  softmax,       ///< over the last dimension
  reshape        ///< the same values in row-major order under another shape (Flatten too)
};

/// One operator. `inputs` are indexes of earlier nodes, so the list of nodes is its own order.
struct Node {
  std::string name;         ///< unique; for linear layers the name that configs match
  std::string source_name;  ///< the name in the file it came from
  Op op = Op::input;
  std::vector<int> inputs;
  Shape shape;  ///< of the output, per sample
  std::map<std::string, std::vector<double>> attributes;
  std::map<std::string, std::string> parameters;  ///< role -> tensor name

  /// Attribute `key`, its first value; `fallback` where the node has none.
  [[nodiscard]] double attribute(const std::string& key, double fallback) const;
  [[nodiscard]] bool has_parameter(const std::string& role) const { return parameters.count(role) != 0; }
};

/// Nodes in topological order and extents of every parameter: a network, with one input (node 0) and one output; or
/// layers without a network, which has no output and for each layer an input and the dense node that reads it.
struct Graph {
  static constexpr int no_output = -1;
  std::vector<Node> nodes;
  int output = no_output;
  std::map<std::string, Shape> tensors;  ///< tensor name -> shape

  [[nodiscard]] const Node& node(int index) const { return nodes.at(static_cast<std::size_t>(index)); }
  [[nodiscard]] const Shape& tensor_shape(const std::string& name) const;
  [[nodiscard]] int size() const { return static_cast<int>(nodes.size()); }
  /// False for layers without a network: there is nothing to run from end to end.
  [[nodiscard]] bool is_network() const { return output != no_output; }
};

/// True for operators with weights that can be quantized: dense and conv. A convolution's neurons are its filters.
[[nodiscard]] bool is_linear(Op op);

/// "dense", "relu", ...: the spelling in files and reports, and back.
[[nodiscard]] std::string_view op_name(Op op);
/// @throws Error naming the unknown operator.
[[nodiscard]] Op op_from_name(std::string_view name);

/// Output shape of `node` (its op, attributes, parameters) applied to its inputs' shapes.
/// @throws Error (input) naming the node when the shapes do not fit.
[[nodiscard]] Shape infer_shape(const Graph& graph, const Node& node);

/// Checks everything that a file can get wrong: order, references, shapes, unique names, one
/// input, an output, or pairs of input and dense node without one. @throws Error (input) naming the node.
void validate(const Graph& graph);

/// The graph as JSON text, and back. Reading checks types, references and shapes (validate).
[[nodiscard]] std::string to_json(const Graph& graph);
[[nodiscard]] Graph graph_from_json(const std::string& text, const std::string& where);

/// A layer name made fit for files: '/' becomes '.', a leading '/' goes; an empty one becomes
/// `<op>_<index>`; a name that `taken` holds gets "#2", "#3", ... The result is added to `taken`.
[[nodiscard]] std::string unique_name(std::string name, std::string_view op, int index,
                                      std::map<std::string, int>& taken);

}  // namespace gpfq::net
