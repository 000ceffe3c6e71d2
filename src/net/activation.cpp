// SPDX-License-Identifier: Apache-2.0
// Activation functions. Exponentials are taken in double precision: they are few beside the
// products, and the result then rounds alike whatever vector width the compiler picks.
#include "net/activation.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "gpfq/base/error.hpp"

namespace gpfq::net {
namespace {

template <class Function>
void transform(std::span<float> values, Function function) {
  for (float& value : values) value = function(value);
}

float logistic(double x) { return static_cast<float>(1.0 / (1.0 + std::exp(-x))); }

void apply_exponential(const Node& node, std::span<float> values) {
  const double alpha = node.attribute("alpha", node.op == Op::selu ? 1.6732632423543772 : 1.0);
  const double gamma = node.op == Op::selu ? node.attribute("gamma", 1.0507009873554805) : 1.0;
  transform(values, [=](float x) {
    const double y = x < 0 ? alpha * std::expm1(static_cast<double>(x)) : static_cast<double>(x);
    return static_cast<float>(gamma * y);
  });
}

}  // namespace

void apply_elementwise(const Node& node, std::span<float> values) {
  const auto number = [&](const char* key, double fallback) {
    return static_cast<float>(node.attribute(key, fallback));
  };
  switch (node.op) {
    case Op::relu:
      return transform(values, [](float x) { return x > 0 ? x : (x != x ? x : 0.0F); });
    case Op::leaky_relu:
      return transform(values, [a = number("alpha", 0.01)](float x) { return x < 0 ? a * x : x; });
    case Op::elu:
    case Op::selu:
      return apply_exponential(node, values);
    case Op::sigmoid:
      return transform(values, [](float x) { return logistic(x); });
    case Op::hard_sigmoid:
      return transform(values, [a = number("alpha", 0.2), b = number("beta", 0.5)](float x) {
        return std::clamp(a * x + b, 0.0F, 1.0F);
      });
    case Op::hard_swish:
      return transform(values, [](float x) { return x * std::clamp(x / 6.0F + 0.5F, 0.0F, 1.0F); });
    case Op::swish:
      return transform(values, [](float x) { return x * logistic(x); });
    case Op::gelu:
      return transform(values, [](float x) {
        return static_cast<float>(0.5 * x * (1.0 + std::erf(static_cast<double>(x) / std::numbers::sqrt2)));
      });
    case Op::tanh:
      return transform(values, [](float x) { return static_cast<float>(std::tanh(static_cast<double>(x))); });
    case Op::softplus:
      return transform(values, [](float x) {
        return static_cast<float>(std::max(x, 0.0F) + std::log1p(std::exp(-std::abs(static_cast<double>(x)))));
      });
    case Op::softsign:
      return transform(values, [](float x) { return x / (1.0F + std::abs(x)); });
    case Op::clip: {
      constexpr double unbounded = std::numeric_limits<float>::infinity();
      const float low = number("min", -unbounded);
      const float high = number("max", unbounded);
      return transform(values, [=](float x) { return std::min(std::max(x, low), high); });
    }
    default:
      throw_fault("apply_elementwise: '{}' is not elementwise", op_name(node.op));
  }
}

void apply_softmax(std::span<float> values, Index row_size) {
  for (std::size_t begin = 0; begin < values.size(); begin += static_cast<std::size_t>(row_size)) {
    const std::span<float> row = values.subspan(begin, static_cast<std::size_t>(row_size));
    const double top = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (const float value : row) sum += std::exp(value - top);
    for (float& value : row) value = static_cast<float>(std::exp(value - top) / sum);
  }
}

}  // namespace gpfq::net
