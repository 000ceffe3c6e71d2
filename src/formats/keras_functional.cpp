// SPDX-License-Identifier: Apache-2.0
// How the layers of a functional Keras model are connected. Keras 2 writes lists of
// [layer, call, tensor], Keras 3 objects with a `keras_history`; both become uses in topological order.
#include <fmt/format.h>

#include <functional>
#include <queue>
#include <unordered_map>
#include <utility>

#include "formats/keras_config.hpp"
#include "gpfq/base/error.hpp"

namespace gpfq::formats::keras_reader {

namespace {

/// [layer, call, tensor] of a value that a layer reads.
struct Reference {
  std::string layer;
  Index call = 0;
};

bool is_reference(const Json& value) {
  return value.is_array() && value.size() >= 3 && value[0].is_string() && value[1].is_number_integer() &&
         value[2].is_number_integer();
}

Reference to_reference(const Json& value, const std::string& of) {
  if (!is_reference(value)) throw_input("'model_config': {} is {}; expected [layer, call, tensor]", of, shown(value));
  if (value[2].get<Index>() != 0) {
    throw_input("'model_config': {} is {}; layers with several outputs are not supported", of, shown(value));
  }
  return {value[0].get<std::string>(), value[1].get<Index>()};
}

bool is_tensor(const Json& value) {
  const Json* class_name = member(value, "class_name");
  return class_name != nullptr && *class_name == "__keras_tensor__";
}

/// The tensors in a call's arguments, in order. Keras 3; JSON of limited depth.
void collect_tensors(const Json& value, const std::string& of, std::vector<Reference>& found) {
  if (!value.is_structured()) return;
  if (is_tensor(value)) {
    const Json* config = member(value, "config");
    const Json* history = config == nullptr ? nullptr : member(*config, "keras_history");
    if (history == nullptr) throw_input("'model_config': {} has a tensor without 'keras_history'", of);
    found.push_back(to_reference(*history, of));
    return;
  }
  for (const Json& item : value) collect_tensors(item, of, found);
}

/// What one call of a layer reads.
std::vector<Reference> call_inputs(const Json& call, const std::string& of) {
  std::vector<Reference> inputs;
  if (call.is_object()) {
    for (const char* key : {"args", "kwargs"}) {
      if (const Json* arguments = member(call, key)) collect_tensors(*arguments, of, inputs);
    }
  } else if (is_reference(call)) {
    inputs.push_back(to_reference(call, of));
  } else if (call.is_array()) {
    for (const Json& item : call) inputs.push_back(to_reference(item, of));
  } else {
    throw_input("'model_config': {} is {}; expected a list or an object", of, shown(call));
  }
  return inputs;
}

/// The constant beside the only tensor in a call's two arguments. Keras 3.
std::optional<Operand> call_operand(const Json& call) {
  const Json* args = member(call, "args");
  if (args == nullptr || !args->is_array() || args->size() != 2) return std::nullopt;
  const std::size_t constant = is_tensor(args->front()) ? 1 : 0;
  const Json& value = (*args)[constant];
  if (is_tensor(value) || !is_tensor((*args)[1 - constant])) return std::nullopt;
  if (value.is_number()) return Operand{value.get<double>(), constant == 0};
  const bool is_constant = value.is_object() || value.is_string();
  return is_constant ? std::optional(Operand{std::nullopt, constant == 0}) : std::nullopt;
}

/// All calls of all layers, numbered; an InputLayer counts as one call that reads nothing.
class Calls {
 public:
  Calls(const Json& layers, const ModelConfig& model) {
    for (std::size_t i = 0; i < model.layers.size(); ++i) {
      const std::string& name = model.layers[i].name();
      if (!first_.emplace(name, uses_.size()).second) throw_input("two layers are named '{}'", name);
      const std::string of = fmt::format("'inbound_nodes' of layer '{}'", name);
      const Json* calls = member(layers[i], "inbound_nodes");
      if (calls != nullptr && !calls->is_array()) throw_input("'model_config': {} is {}", of, shown(*calls));
      const std::size_t before = uses_.size();
      if (calls != nullptr) {
        for (const Json& call : *calls) uses_.push_back({i, call_inputs(call, of), call_operand(call)});
      }
      if (uses_.size() == before && model.layers[i].class_name() == "InputLayer") uses_.push_back({i, {}, {}});
      count_[name] = uses_.size() - before;
    }
  }

  [[nodiscard]] std::size_t size() const { return uses_.size(); }
  [[nodiscard]] std::size_t layer(std::size_t use) const { return uses_[use].layer; }
  [[nodiscard]] const std::optional<Operand>& operand(std::size_t use) const { return uses_[use].operand; }
  [[nodiscard]] std::vector<std::size_t> inputs(std::size_t use) const {
    std::vector<std::size_t> result;
    for (const Reference& reference : uses_[use].inputs) result.push_back(resolve(reference));
    return result;
  }
  [[nodiscard]] std::size_t resolve(const Reference& reference) const {
    const auto found = first_.find(reference.layer);
    if (found == first_.end())
      throw_input("'model_config' refers to layer '{}', which it does not list", reference.layer);
    const std::size_t count = count_.at(reference.layer);
    if (reference.call < 0 || static_cast<std::size_t>(reference.call) >= count) {
      throw_input("'model_config' refers to call {} of layer '{}', which has {}", reference.call, reference.layer,
                  count);
    }
    return found->second + static_cast<std::size_t>(reference.call);
  }

 private:
  struct Use {
    std::size_t layer;
    std::vector<Reference> inputs;
    std::optional<Operand> operand;
  };
  std::vector<Use> uses_;
  std::unordered_map<std::string, std::size_t> first_;
  std::unordered_map<std::string, std::size_t> count_;
};

/// The only entry of input_layers or output_layers: [layer, call, tensor], or a list of one such.
Reference only_entry(const Json& config, const char* key, const char* what) {
  const Json* found = member(config, key);
  if (found == nullptr) throw_input("'model_config' has no '{}'", key);
  if (is_reference(*found)) return to_reference(*found, key);
  if (!found->is_array() || found->size() != 1) {
    throw_input("the model has {} {}: {}; expected one", found->size(), what, shown(*found));
  }
  return to_reference(found->front(), key);
}

/// How many inputs of each call are not there yet, for the calls that `output` needs; -1 for the others.
std::vector<int> open_inputs(const Calls& calls, std::size_t output) {
  std::vector<int> open(calls.size(), -1);
  std::vector<std::size_t> pending{output};
  open[output] = 0;
  while (!pending.empty()) {
    const std::size_t use = pending.back();
    pending.pop_back();
    for (const std::size_t input : calls.inputs(use)) {
      ++open[use];
      if (open[input] >= 0) continue;
      open[input] = 0;
      pending.push_back(input);
    }
  }
  return open;
}

}  // namespace

std::size_t connect_functional(const Json& config, const Json& layers, ModelConfig& result) {
  const Calls calls(layers, result);
  const std::size_t input = calls.resolve(only_entry(config, "input_layers", "inputs"));
  const std::size_t output = calls.resolve(only_entry(config, "output_layers", "outputs"));
  std::vector<int> open = open_inputs(calls, output);
  std::vector<std::vector<std::size_t>> readers(calls.size());
  // The first in the file goes first, so that the file's order is kept where it is one.
  std::priority_queue<std::size_t, std::vector<std::size_t>, std::greater<>> ready;
  for (std::size_t use = 0; use < calls.size(); ++use) {
    if (open[use] < 0) continue;
    for (const std::size_t from : calls.inputs(use)) readers[from].push_back(use);
    if (open[use] == 0) ready.push(use);
  }
  std::vector<int> position(calls.size(), LayerUse::network_input);
  while (!ready.empty()) {
    const std::size_t use = ready.top();
    ready.pop();
    if (use != input) {
      LayerUse next{calls.layer(use), {}, calls.operand(use)};
      for (const std::size_t from : calls.inputs(use)) next.inputs.push_back(position[from]);
      position[use] = static_cast<int>(result.uses.size());
      result.uses.push_back(std::move(next));
    }
    for (const std::size_t reader : readers[use]) {
      if (--open[reader] == 0) ready.push(reader);
    }
  }
  for (std::size_t use = 0; use < calls.size(); ++use) {
    if (open[use] > 0) throw_input("layer '{}' depends on itself", result.layers[calls.layer(use)].name());
  }
  result.output = position[output];
  return calls.layer(input);
}

}  // namespace gpfq::formats::keras_reader
