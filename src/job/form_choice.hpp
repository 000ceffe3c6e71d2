// SPDX-License-Identifier: Apache-2.0
// Which form a layer's path takes and how wide its blocks are: a model of cost on one core, from the
// layer and the config alone, so that the codes never depend on ranks or memory.
#pragma once

#include "gpfq/job/plan.hpp"

namespace gpfq::job {

/// Share of the rate of a large product that one reaches whose result has `width` columns (0.57, 0.73, 0.84 for 32, 64,
/// 128), as the projection P = XqᵀU has, and one that adds `depth` columns to a large matrix (0.91, 0.96 for 64, 128),
/// as the update of U does.
[[nodiscard]] double narrow_share(Index width);
[[nodiscard]] double shallow_share(Index depth);

/// Work of a layer with its propagation, in flops that take as long at the rate of a large product.
/// @param block  inputs per block (residual) or columns per panel (Gram)
[[nodiscard]] double residual_cost(const LayerPlan& plan, Index block, bool keeps_outputs);
[[nodiscard]] double gram_cost(const LayerPlan& plan, Index panel);

/// Fills form, reason, block width and whether outputs are kept of a plan whose shapes are set.
/// @param asked_block  as the config says; 0 leaves the choice
/// @param can_keep     outputs that the path keeps spare the layer's propagation
void choose_form(const LayerSettings& settings, Index asked_block, bool can_keep, LayerPlan& plan);

}  // namespace gpfq::job
