// SPDX-License-Identifier: Apache-2.0
// Which form a layer's path takes and how wide its blocks are: a model of cost on one core, from the
// layer and the config alone, so that the codes never depend on ranks or memory.
#pragma once

#include "gpfq/job/plan.hpp"

namespace gpfq::job {

/// Share of the rate of a large product that one reaches whose result has `width` columns, as the projection P = XqᵀU
/// has, and one that adds `depth` columns to a large matrix, as the update of U does: 0.57, 0.73, 0.84, 0.91 for 32, 64,
/// 128, 256 both; and one whose result is b×b, as G and C of a block are: 0.42, 0.59, 0.74, 0.75. Measured with 4096
/// samples and 1024 neurons in tiles of 512.
[[nodiscard]] double narrow_share(Index width);
[[nodiscard]] double shallow_share(Index depth);
[[nodiscard]] double block_product_share(Index block);
/// Work of G and C (of G alone for one network) per sample and input, in the unit of the costs below.
[[nodiscard]] double block_products_cost(Index block, int networks);

/// Work of a layer with its propagation, in flops that take as long at the rate of a large product.
/// @param block  inputs per block (residual) or columns per panel (Gram)
[[nodiscard]] double residual_cost(const LayerPlan& plan, Index block, bool keeps_outputs);
[[nodiscard]] double gram_cost(const LayerPlan& plan, Index panel, bool error_from_products);
/// Gram form: triangles of products that are formed, m·N² flops each: of G, of C or all of it, of K and L.
[[nodiscard]] double triangles_formed(const LayerPlan& plan, bool error_from_products);
/// Flops of a layer's error from its products, in N²·n.
[[nodiscard]] double squares_of_error(const LayerPlan& plan);

/// Fills form, reason, block width and what becomes of the outputs of a plan whose shapes are set.
/// @param asked_block  as the config says; 0 leaves the choice
/// @param can_keep     outputs that the path keeps spare the layer's propagation
/// @param is_last      nobody takes the outputs
void choose_form(const LayerSettings& settings, Index asked_block, bool can_keep, bool is_last, LayerPlan& plan);

}  // namespace gpfq::job
