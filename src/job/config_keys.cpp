// SPDX-License-Identifier: Apache-2.0
// The table of config keys.
#include <fmt/format.h>

#include "gpfq/job/config.hpp"

namespace gpfq::job {

const std::vector<ConfigKey>& config_keys() {
  static const std::vector<ConfigKey> keys = {
      {"model", "string", "required", "", "network: native .h5, Keras .h5 (whole model) or .onnx; not with layers"},
      {"calibration.file", "string", "required", "", "HDF5 file with calibration samples; not with layers"},
      {"calibration.inputs", "string", "required", "", "dataset of inputs, samples first"},
      {"calibration.samples", "integer", "0", "samples", "how many to use; 0 takes all"},
      {"calibration.shuffle_seed", "integer", "null", "", "draw samples at random with this seed; null takes the first"},
      {"evaluation.file", "string", "null", "", "HDF5 file with labelled samples; leave evaluation out to skip accuracy"},
      {"evaluation.inputs", "string", "null", "", "dataset of inputs"},
      {"evaluation.labels", "string", "null", "", "dataset of integer labels"},
      {"evaluation.samples", "integer", "0", "samples", "how many to use, from the front; 0 takes all"},
      {"preprocess.scale", "number", "1", "", "multiplies stored values first (1/255 for bytes)"},
      {"preprocess.mean", "numbers", "[0]", "", "subtracted then, one value or one per channel"},
      {"preprocess.std", "numbers", "[1]", "", "divided by last, one value or one per channel"},
      {"preprocess.channel_order", "string", "\"keep\"", "",
       "keep, or reverse (RGB to BGR, for NCHW and NHWC) before mean and std"},
      {"preprocess.layout", "string", "\"flat\"", "", "the data's order: NCHW, NHWC, NHW or flat"},
      {"layers", "objects", "null", "", "instead of model and calibration: layers without a network, each with these keys"},
      {"layers[].name", "string", "required", "", "name, which quantization.layers matches"},
      {"layers[].weight.file", "string", "required", "", "file of its weights: .safetensors, .npy or HDF5"},
      {"layers[].weight.tensor", "string", "null", "", "tensor (.safetensors) or dataset (HDF5) in it"},
      {"layers[].weight.layout", "string", "\"out_in\"", "", "out_in (neurons x inputs) or in_out (transposed)"},
      {"layers[].weight.dtype", "string", "null", "", "bfloat16 where .npy or HDF5 hold it as 16-bit words"},
      {"layers[].inputs.file", "string", "required", "", "file of its inputs' activations, samples x inputs; same formats"},
      {"layers[].inputs.tensor", "string", "null", "", "as for weight"},
      {"layers[].inputs.dtype", "string", "null", "", "as for weight"},
      {"layers[].quantized_inputs.file", "string", "null", "", "the same samples in the network quantized so far; null "
                                                              "takes inputs"},
      {"layers[].quantized_inputs.tensor", "string", "null", "", "as for weight"},
      {"layers[].quantized_inputs.dtype", "string", "null", "", "as for weight"},
      {"layers[].samples", "integer", "0", "samples", "how many to use, from the front; 0 takes all"},
      {"quantization.preset", "string", "null", "", "paper: the published rule, radius C x median per layer, no sweeps, "
                                                   "biases as they are; what is given beside it still counts"},
      {"quantization.method", "string", "\"gpfq\"", "", "gpfq (greedy path), spfq (the path with stochastic rounding), "
                                                 "optq (error diffusion), qronos (the target corrected, then error "
                                                 "diffusion) or msq (plain rounding)"},
      {"quantization.levels", "integer", "3", "", "levels M of the alphabet, 2 to 256"},
      {"quantization.bits", "integer", "null", "bits", "instead of levels: M = 2^bits - 1, 2 to 8"},
      {"quantization.radius.rule", "string", "null", "", "median or max of the weights' magnitudes, value, or search: "
                                                         "several radii tried, the one with the smallest error kept; null takes "
                                                         "search per neuron, median where scale or per is given"},
      {"quantization.radius.scale", "number", "null", "", "C: the radius is C times the rule's; null takes 3, 4, 5 by "
                                                        "levels for median, 1 for max and search (its largest)"},
      {"quantization.radius.value", "number", "null", "", "the radius itself, for rule value"},
      {"quantization.radius.per", "string", "null", "", "one radius per layer or per neuron; null takes layer where rule, "
                                                      "scale or value is given, else neuron"},
      {"quantization.radius.candidates", "integer", "5", "", "radii that search tries, a geometric sequence down from C "
                                                            "times the largest magnitude"},
      {"quantization.radius.span", "number", "4", "", "the largest of them over the smallest"},
      {"quantization.refine.sweeps", "integer", "null", "", "passes over the inputs after the method, each weight moved where "
                                                        "that lowers the error; fewer where one changes nothing; null "
                                                        "takes 4, or 0 where a radius or threshold is given or the "
                                                        "method is spfq"},
      {"quantization.order", "string", "\"natural\"", "", "natural, or activation: inputs visited by falling norm"},
      {"quantization.threshold", "number", "0", "", "lambda of the sparse path (gpfq, odd levels), in steps (half the "
                                                   "distance of two levels, radius / (levels - 1)): arguments up to it "
                                                   "become zero"},
      {"quantization.sparsity", "string", "\"soft\"", "", "what threshold does to the others: soft moves them towards zero by "
                                                        "lambda, hard keeps them and takes the levels 0 and "
                                                        "+-(lambda + 2k steps), k = 0, 1, ..."},
      {"quantization.damping", "number", "0.01", "", "added to the diagonal of the inputs' products, in units of its mean "
                                                    "(optq, qronos)"},
      {"quantization.seed", "integer", "0", "", "of stochastic rounding (spfq)"},
      {"quantization.block", "integer", "0", "inputs", "inputs per block of the path; 0 chooses, fewer need less memory"},
      {"quantization.form", "string", "\"auto\"", "", "auto, residual or gram: how the path is computed"},
      {"quantization.grid", "string", "\"auto\"", "", "ranks as neurons x samples, for example 2x4, in residual form"},
      {"quantization.conv", "string", "\"filters\"", "", "a convolution's neurons: filters, or channelwise (each input "
                                                       "channel's kernel by itself, as the paper's code does)"},
      {"quantization.patch_fraction", "number", "1", "", "share of a convolution's output positions to use, drawn at "
                                                         "random per sample"},
      {"quantization.patch_seed", "integer", "0", "", "seed of that draw, which is the same for both networks"},
      {"quantization.bias_correction", "boolean", "null", "", "add the mean of what quantizing took off a layer's outputs "
                                                             "to its bias; null: unless a radius rule is given"},
      {"quantization.fold_batchnorm", "boolean", "true", "", "fold BatchNormalization into the layer directly before it"},
      {"quantization.layers", "objects", "[]", "", "overrides: match (regular expression for the whole layer name) with "
                                                 "skip, method, levels, bits, radius, refine, order, threshold, "
                                                 "sparsity, damping, seed, form; the last match wins"},
      {"checkpoint_seconds", "number", "600", "s", "time between checkpoints inside a layer; 0: at every block of inputs"},
      {"stream.ranks_per_node", "integer", "0", "ranks", "ranks that share one copy of a block of inputs; 0 takes all of a "
                                                        "node"},
      {"stream.exchange", "boolean", "true", "", "several nodes: each reads a share of a block and they exchange them; "
                                                "false: each node reads everything"},
      {"memory_per_rank", "size", "\"4GiB\"", "bytes", "what a rank may use for buffers"},
      {"threads", "integer", "0", "", "threads inside a rank; 0 takes OMP_NUM_THREADS, else the rank's share of the "
                                     "processors that it may run on"},
      {"output", "string", "\"run\"", "", "folder for results"},
      {"scratch", "string", "null", "", "folder for activations while running; null takes one under output"},
  };
  return keys;
}

std::string config_help() {
  std::string text = "Config keys (JSON; dots are nesting; --set key=value overrides):\n";
  for (const ConfigKey& key : config_keys())
    text += fmt::format("  {:<27} {}{}\n  {:<27}   [{}, {}]\n", key.name, key.help,
                        key.unit.empty() ? "" : " (" + key.unit + ")", "", key.type,
                        key.default_value == "required" ? "required" : "default " + key.default_value);
  return text;
}

std::string config_markdown() {
  std::string text = "| key | type | default | what |\n| --- | --- | --- | --- |\n";
  for (const ConfigKey& key : config_keys())
    text += fmt::format("| `{}` | {} | {} | {}{} |\n", key.name, key.type,
                        key.default_value == "required" ? "required" : "`" + key.default_value + "`", key.help,
                        key.unit.empty() ? "" : " (" + key.unit + ")");
  return text;
}

}  // namespace gpfq::job
