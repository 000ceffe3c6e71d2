// SPDX-License-Identifier: Apache-2.0
// Products of single precision by panels, added up in double.
#include "gpfq/quant/output_norms.hpp"

#include <Eigen/Core>

#include <algorithm>
#include <cmath>

#include "gpfq/base/aligned_buffer.hpp"
#include "gpfq/base/error.hpp"
#include "gpfq/base/magnitude.hpp"

namespace gpfq::quant {
namespace {

using Matrix = Eigen::MatrixXf;
using ConstPacked = Eigen::Map<const Matrix>;
using Packed = Eigen::Map<Matrix>;

// Inputs whose products with a panel are at hand together.
constexpr Index product_inputs = 1024;
constexpr double least_told = 0x1p-12;
constexpr double most_told = 0x1p252;  // outputs of both networks are finite below it
constexpr int most_exponent = 126;
Index work_inputs(Index inputs, Index panel_width) { return std::max(std::min(inputs, product_inputs), panel_width); }

double inner_product(const ConstPacked& a, const Packed& b) {
  return a.cast<double>().cwiseProduct(b.cast<double>()).sum();
}

/// tr(VᵀGV): what is on the diagonal of panels once, what is below it twice. NaN where it is too small beside its terms, or
/// too large.
/// @param V  N×n, the n neurons of an input contiguous; comes back multiplied by a power of two, so that no product
/// leaves float32's range that the result need not leave   @param work  of work_inputs()·n values
double squared_norm(const GramProducts& products, AlignedBuffer<float>& V, Index n, AlignedBuffer<float>& work) {
  int exponent = 0;
  static_cast<void>(std::frexp(largest_magnitude(V.data(), V.size()), &exponent));
  exponent = std::clamp(exponent, -most_exponent, most_exponent);
  const float scale = std::ldexp(1.0F, -exponent);
  for (float& value : V.span()) value *= scale;
  double on_diagonal = 0;
  double below = 0;
  double orthogonal = 0;
  for (Index panel = 0; panel < products.panel_count(); ++panel) {
    const Index first = panel * products.panel_width();
    const Index width = products.width_of(panel);
    const float* G = products.G(panel);  // from its diagonal on
    const ConstPacked own(V.data() + first * n, n, width);
    for (Index t = 0; t < width; ++t)
      orthogonal += static_cast<double>(G[t * width + t]) * own.col(t).cast<double>().squaredNorm();
    Packed product(work.data(), n, width);
    product.noalias() = own * ConstPacked(G, width, width).selfadjointView<Eigen::Upper>();
    on_diagonal += inner_product(own, product);
    for (Index begin = first + width; begin < products.inputs(); begin += product_inputs) {
      const Index count = std::min(product_inputs, products.inputs() - begin);
      Packed rows(work.data(), n, count);
      rows.noalias() = own * ConstPacked(G + (begin - first) * width, width, count);
      below += inner_product(ConstPacked(V.data() + begin * n, n, count), rows);
    }
  }
  const double scaled = on_diagonal + 2 * below;
  const double norm = std::ldexp(scaled, 2 * exponent);
  return scaled > least_told * orthogonal && norm < most_told ? norm : std::nan("");
}

}  // namespace

OutputNorms output_norms(const GramProducts& products, const Tile& tile) {
  require(products.is_shared() && tile.finished(), "output_norms: a finished tile, X = Xq");
  const Index n = tile.width();
  const Index N = products.inputs();
  AlignedBuffer<float> W(N * n);
  AlignedBuffer<float> values(N * n);
  AlignedBuffer<float> work(work_inputs(N, products.panel_width()) * n);
  tile.copy_weights(0, N, W.data());
  tile.copy_values(0, N, values.data());
  for (Index i = 0; i < values.size(); ++i) values[i] = W[i] - values[i];
  OutputNorms norms;
  norms.difference = squared_norm(products, values, n, work);
  norms.reference = squared_norm(products, W, n, work);
  return norms;
}

Index output_norms_bytes(Index inputs, Index panel_width, Index tile_width) {
  return 4 * tile_width * (2 * inputs + work_inputs(inputs, panel_width));
}

}  // namespace gpfq::quant
