// SPDX-License-Identifier: Apache-2.0
// The constants were measured with OpenBLAS on one core (tests/bench); what matters is their order, not their digits.
#include "job/form_choice.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "gpfq/quant/tile_path.hpp"

namespace gpfq::job {
namespace {

constexpr std::array<Index, 4> block_widths{32, 64, 128, 256};
// Blocks wider than the narrow ones only where a block of both networks over all rows stays below this.
constexpr Index narrow_block = 128;
constexpr Index wide_block_bytes = Index{32} << 20;
// Columns per panel of G and C. Wide ones make the recursion's products deep; what is inside a panel stays small.
constexpr Index default_panel = 128;
// Most inputs for which G and C are formed without being asked to: their triangles then take 400 MiB.
constexpr Index most_gram_inputs = 5792;
// Most inputs for which all of K and L are formed, for the error alone: no more memory than that.
constexpr Index most_compared_inputs = 4096;
// A convolution's residual is kept only where a block and a tile over all rows stay below this, the second matrix that
// keeps a dense layer's outputs where they stay below that.
constexpr Index residual_limit_bytes = Index{256} << 20;
constexpr Index outputs_limit_bytes = Index{1} << 30;
// All candidates of a tile that keep their outputs: three quarters of the memory that a rank has unless told otherwise.
constexpr Index candidates_limit_bytes = Index{3} << 30;

// Shares of the rate of a large product. The kernel's is mostly the way of weights and codes to and from memory.
constexpr double kernel_share = 0.2;
constexpr double outputs_pass_share = 0.6;
// Of an entry of U from both outputs, in flops: once per block.
constexpr double difference_cost = 34;
/// What a tile loses against one of 256 neurons, or gains.
double tile_share(const LayerPlan& plan) { return narrow_share(plan.tile_width) / narrow_share(256); }

/// Both networks' outputs by a pass over the inputs of their own.
double propagation_cost(const LayerPlan& plan) {
  return 4.0 * static_cast<double>(plan.path.samples) * static_cast<double>(plan.path.inputs) *
         static_cast<double>(plan.problem_neurons) / outputs_pass_share;
}

/// The recursion inside blocks: two multiplications and additions for each pair of inputs of a block, of the same strip
/// in the kernel, of two strips in products.
double kernel_cost(const LayerPlan& plan, Index block) {
  const Index strip = std::min(block, quant::kernel_strip);
  return 2.0 * static_cast<double>(plan.path.inputs) * static_cast<double>(plan.problem_neurons) *
         (static_cast<double>(strip) / kernel_share + static_cast<double>(block - strip) / narrow_share(strip));
}

Index residual_bytes(const LayerPlan& plan, bool keeps_outputs, int candidates) {
  quant::PathShape shape = plan.path;
  shape.keeps_outputs = keeps_outputs;
  return quant::InputBlock::bytes(shape) + candidates * quant::TilePath::bytes(shape, plan.tile_width);
}

Index block_bytes(const LayerPlan& plan, Index block) {
  quant::PathShape shape = plan.path;
  shape.block_width = block;
  return quant::InputBlock::bytes(shape);
}

/// The cheapest block, or the one that was asked for.
Index choose_block(const LayerPlan& plan, Index asked, bool keeps_outputs) {
  Index best = std::min(asked > 0 ? asked : block_widths.front(), plan.path.inputs);
  if (asked > 0) return best;
  for (const Index width : block_widths) {
    const Index block = std::min(width, plan.path.inputs);
    if (width > narrow_block && block_bytes(plan, block) > wide_block_bytes) break;
    if (residual_cost(plan, block, keeps_outputs) < residual_cost(plan, best, keeps_outputs)) best = block;
  }
  return best;
}

}  // namespace

double narrow_share(Index width) { return static_cast<double>(width) / static_cast<double>(width + 24); }
double shallow_share(Index depth) { return static_cast<double>(depth) / static_cast<double>(depth + 24); }

double block_product_share(Index block) {
  return std::min(0.75, static_cast<double>(block) / static_cast<double>(block + 45));
}
double block_products_cost(Index block, int networks) {
  return (networks == 1 ? 1 : 2.5) * static_cast<double>(block) / block_product_share(block);
}

double residual_cost(const LayerPlan& plan, Index block, bool keeps_outputs) {
  const double n = static_cast<double>(plan.problem_neurons);
  const double b = static_cast<double>(block);
  const bool one_product = !plan.path.shared && !keeps_outputs;  // U += XW − XqQ, 2b columns deep
  const double update = (plan.path.shared && !keeps_outputs ? 2 : 4) / shallow_share(one_product ? 2 * block : block);
  const double project = 2 / narrow_share(block) + (keeps_outputs && !plan.path.shared ? difference_cost / b : 0);
  const double per_entry = n * (project + update) / tile_share(plan) +
                           block_products_cost(block, static_cast<int>(plan.path.networks()));
  const double again = n * plan.sweeps * (project + 2 / shallow_share(block)) / tile_share(plan) +
                       n * (plan.candidates - 1) * (project + update) / tile_share(plan) +
                       plan.sweeps * block_products_cost(block, 1);
  return static_cast<double>(plan.path.samples) * static_cast<double>(plan.path.inputs) * (per_entry + again) +
         kernel_cost(plan, block) * (plan.candidates + plan.sweeps) + (keeps_outputs ? 0 : propagation_cost(plan));
}

double triangles_formed(const LayerPlan& plan, bool error_from_products) {
  if (plan.path.shared) return 1;
  return error_from_products ? 4 : plan.gram_extent().whole ? 3 : 2;
}

double squares_of_error(const LayerPlan& plan) { return plan.path.shared ? 2 : 5; }

double gram_cost(const LayerPlan& plan, Index panel, bool error_from_products) {
  const double N = static_cast<double>(plan.path.inputs);
  const double networks = static_cast<double>(plan.path.networks());
  // The path of each candidate and again of the one that is kept, what comes of it, sweeps.
  const double paths = plan.candidates > 1 ? plan.candidates + 1 : 1;
  const double after = plan.measures() ? 4.0 * (plan.candidates > 1 ? plan.candidates : 0) + (plan.sweeps > 0 ? 4.0 : 0.0) + 2.0 * plan.sweeps : 0.0;
  return N * N *
             (triangles_formed(plan, error_from_products) * static_cast<double>(plan.path.samples) / narrow_share(panel) +
              (networks * paths + after) * static_cast<double>(plan.problem_neurons) / shallow_share(panel)) +
         kernel_cost(plan, panel) * (paths + plan.sweeps) +
         (error_from_products
              ? squares_of_error(plan) * N * N * static_cast<double>(plan.problem_neurons) / shallow_share(panel)
              : propagation_cost(plan));
}

void choose_form(const LayerSettings& settings, Index asked_block, bool can_keep, bool is_last, LayerPlan& plan) {
  const Index panel = std::min(asked_block > 0 ? asked_block : default_panel, plan.path.inputs);
  plan.path.block_width = panel;
  const bool keeps = can_keep && residual_bytes(plan, true, 1) <= outputs_limit_bytes &&
                     residual_bytes(plan, true, plan.candidates) <= candidates_limit_bytes;
  const bool can_measure = is_last && !plan.is_conv && (plan.path.shared || plan.path.inputs <= most_compared_inputs);
  const bool products_tell = can_measure && gram_cost(plan, panel, true) <= gram_cost(plan, panel, false);
  const Index block = choose_block(plan, asked_block, keeps);
  const auto take = [&](Form form, std::string reason) {
    plan.form = form;
    plan.reason = std::move(reason);
    plan.path.block_width = form == Form::residual ? block : panel;
    plan.path.keeps_outputs = form == Form::residual && keeps;
    plan.error_from_products = form == Form::gram && products_tell;
  };
  if (plan.method == Method::msq) return take(Form::rounding, "method msq");
  if (plan.problems > 1)
    return take(Form::gram, fmt::format("{}one problem per {}",
                                        settings.form == FormChoice::residual ? "pinned residual does not apply: " : "",
                                        plan.channelwise ? "input channel" : "group"));
  if (plan.diffuses) return take(Form::gram, "method " + method_name(plan.method));
  if (settings.form != FormChoice::automatic)
    return take(settings.form == FormChoice::gram ? Form::gram : Form::residual, "pinned");
  const bool fits_gram = plan.path.inputs <= most_gram_inputs;
  if (plan.is_conv && plan.orders_by_activation && fits_gram)
    return take(Form::gram, "order activation");  // the residual form would read a channel for each of its inputs
  if (!fits_gram) return take(Form::residual, "too many inputs for G and C");
  if (gram_cost(plan, panel, products_tell) <= residual_cost(plan, block, keeps)) return take(Form::gram, "cheaper");
  if (plan.is_conv && residual_bytes(plan, false, plan.candidates) > residual_limit_bytes)
    return take(Form::gram, "too many rows for a residual");
  take(Form::residual, keeps ? "cheaper, hands on outputs" : "cheaper");
}

}  // namespace gpfq::job
