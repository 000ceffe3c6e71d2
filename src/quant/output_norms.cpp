// SPDX-License-Identifier: Apache-2.0
// Products of single precision by panels, added up in double.
#include "gpfq/quant/output_norms.hpp"

#include <Eigen/Core>

#include <algorithm>
#include <cmath>
#include <utility>

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
constexpr double least_of_terms = 0x1p-15;
constexpr double most_told = 0x1p252;  // outputs of both networks are finite below it
constexpr int most_exponent = 126;
Index work_inputs(Index inputs, Index panel_width) { return std::max(std::min(inputs, product_inputs), panel_width); }

double inner_product(const ConstPacked& a, const Packed& b) {
  return a.cast<double>().cwiseProduct(b.cast<double>()).sum();
}

/// N×n values, the n neurons of an input contiguous, by a power of two, so that no product leaves float32's range that
/// the result need not leave.
struct Scaled {
  AlignedBuffer<float> values;
  int exponent = 0;

  explicit Scaled(AlignedBuffer<float> unscaled) : values(std::move(unscaled)) {
    static_cast<void>(std::frexp(largest_magnitude(values.data(), values.size()), &exponent));
    exponent = std::clamp(exponent, -most_exponent, most_exponent);
    const float scale = std::ldexp(1.0F, -exponent);
    for (float& value : values.span()) value *= scale;
  }
};

/// tr(VᵀSV), and what it would be if inputs were orthogonal.
struct QuadraticForm {
  double value = 0;
  double orthogonal = 0;

  /// By a power of two.
  [[nodiscard]] QuadraticForm times(int exponent) const {
    return {std::ldexp(value, exponent), std::ldexp(orthogonal, exponent)};
  }
};

/// tr(VᵀSV), S symmetric: what is on the diagonal of panels once, what is below it twice.
/// @param panel_of  S from a panel's diagonal on   @param work  of work_inputs()·n values
template <class PanelOf>
QuadraticForm quadratic_form(const GramProducts& products, PanelOf panel_of, Index n, const Scaled& scaled,
                             AlignedBuffer<float>& work) {
  const AlignedBuffer<float>& V = scaled.values;
  double on_diagonal = 0;
  double below = 0;
  double orthogonal = 0;
  for (Index panel = 0; panel < products.panel_count(); ++panel) {
    const Index first = panel * products.panel_width();
    const Index width = products.width_of(panel);
    const float* S = panel_of(panel);
    const ConstPacked own(V.data() + first * n, n, width);
    for (Index t = 0; t < width; ++t)
      orthogonal += static_cast<double>(S[t * width + t]) * own.col(t).cast<double>().squaredNorm();
    Packed product(work.data(), n, width);
    product.noalias() = own * ConstPacked(S, width, width).selfadjointView<Eigen::Upper>();
    on_diagonal += inner_product(own, product);
    for (Index begin = first + width; begin < products.inputs(); begin += product_inputs) {
      const Index count = std::min(product_inputs, products.inputs() - begin);
      Packed rows(work.data(), n, count);
      rows.noalias() = own * ConstPacked(S + (begin - first) * width, width, count);
      below += inner_product(ConstPacked(V.data() + begin * n, n, count), rows);
    }
  }
  return QuadraticForm{on_diagonal + 2 * below, orthogonal}.times(2 * scaled.exponent);
}

/// tr(RᵀKW) and tr(WᵀKW).
struct CrossForms {
  double of_difference = 0;
  double of_weights = 0;
};

CrossForms cross_forms(const GramProducts& products, Index n, const Scaled& R, const Scaled& W,
                       AlignedBuffer<float>& work) {
  CrossForms forms;
  for (Index panel = 0; panel < products.panel_count(); ++panel) {
    const Index width = products.width_of(panel);
    const ConstPacked own(W.values.data() + panel * products.panel_width() * n, n, width);
    for (Index begin = 0; begin < products.inputs(); begin += product_inputs) {
      const Index count = std::min(product_inputs, products.inputs() - begin);
      Packed rows(work.data(), n, count);
      rows.noalias() = own * ConstPacked(products.K(panel) + begin * width, width, count);
      forms.of_difference += inner_product(ConstPacked(R.values.data() + begin * n, n, count), rows);
      forms.of_weights += inner_product(ConstPacked(W.values.data() + begin * n, n, count), rows);
    }
  }
  return {std::ldexp(forms.of_difference, R.exponent + W.exponent), std::ldexp(forms.of_weights, 2 * W.exponent)};
}

/// ‖A + B‖²; NaN for what is too small beside its terms, or too large. @param twice_AB  2⟨A, B⟩
double norm_if_told(const QuadraticForm& of_A, double twice_AB, const QuadraticForm& of_B) {
  const double norm = of_A.value + twice_AB + of_B.value;
  const double terms = std::abs(of_A.value) + std::abs(twice_AB) + std::abs(of_B.value);
  const double root = std::sqrt(of_A.orthogonal) + std::sqrt(of_B.orthogonal);
  return norm > least_told * root * root && norm > least_of_terms * terms && norm < most_told ? norm : std::nan("");
}

}  // namespace

OutputNorms output_norms(const GramProducts& products, const Tile& tile) {
  require(products.is_shared() || products.compares(), "output_norms: X = Xq, or products that compare networks");
  require(tile.finished(), "output_norms: a finished tile");
  const Index n = tile.width();
  const Index N = products.inputs();
  AlignedBuffer<float> weights(N * n);
  AlignedBuffer<float> differences(N * n);
  AlignedBuffer<float> work(work_inputs(N, products.panel_width()) * n);
  tile.copy_weights(0, N, weights.data());
  tile.copy_values(0, N, differences.data());
  for (Index i = 0; i < differences.size(); ++i) differences[i] = weights[i] - differences[i];
  const Scaled W(std::move(weights));
  const Scaled R(std::move(differences));
  const auto G = [&](Index panel) { return products.G(panel); };
  const auto L = [&](Index panel) { return products.L(panel); };
  const QuadraticForm of_R = quadratic_form(products, G, n, R, work);
  const QuadraticForm of_W = quadratic_form(products, G, n, W, work);
  QuadraticForm of_L;
  CrossForms cross;
  if (products.compares()) {
    of_L = quadratic_form(products, L, n, W, work);
    cross = cross_forms(products, n, R, W, work);
  }
  return {norm_if_told(of_L, 2 * cross.of_difference, of_R), norm_if_told(of_L, 2 * cross.of_weights, of_W)};
}

Index output_norms_bytes(Index inputs, Index panel_width, Index tile_width) {
  return 4 * tile_width * (2 * inputs + work_inputs(inputs, panel_width));
}

}  // namespace gpfq::quant
