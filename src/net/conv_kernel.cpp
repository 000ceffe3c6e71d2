// SPDX-License-Identifier: Apache-2.0
// The kernel on the compiler's own vectors: loops of constant length whose sums stay in registers.
#include "net/conv_kernel.hpp"

#include <array>
#include <cstring>
#include <type_traits>
#include <utility>

#include "gpfq/base/error.hpp"

namespace gpfq::net {
namespace {

using Lanes = float __attribute__((vector_size(lane_count * sizeof(float))));

/// body(0), body(1), ..., body(count − 1) with indexes known to the compiler: what keeps the sums in registers.
template <int count, class Body>
[[gnu::always_inline]] inline void unrolled(Body body) {
  [&]<int... i>(std::integer_sequence<int, i...>) __attribute__((always_inline)) {
    (body(std::integral_constant<int, i>()), ...);
  }
  (std::make_integer_sequence<int, count>());
}

template <int filters, int vectors>
void multiply(const ConvBlock& block) {
  constexpr int sum_count = filters * vectors;
  Lanes sums[sum_count] = {};
  const float* weight = block.weights;
  for (Index t = 0; t < block.inputs; ++t, weight += filters) {
    const float* from = block.values + block.offsets[t];
    Lanes x[vectors];
    unrolled<vectors>([&](auto v)
                          __attribute__((always_inline)) { std::memcpy(&x[v], from + v * lane_count, sizeof(Lanes)); });
    unrolled<sum_count>([&](auto i)
                            __attribute__((always_inline)) { sums[i] += weight[i / vectors] * x[i % vectors]; });
  }
  unrolled<sum_count>([&](auto i) __attribute__((always_inline)) {
    float* to = block.out + i / vectors * block.stride + i % vectors * lane_count;
    if (block.accumulate) {
      Lanes before;
      std::memcpy(&before, to, sizeof(Lanes));
      sums[i] += before;
    }
    std::memcpy(to, &sums[i], sizeof(Lanes));
  });
}

using Multiply = void (*)(const ConvBlock&);

template <int filters, std::size_t... v>
constexpr std::array<Multiply, sizeof...(v)> kernels_of(std::index_sequence<v...>) {
  return {{multiply<filters, static_cast<int>(v) + 1>...}};
}

template <int filters>
void dispatch(const ConvBlock& block) {
  constexpr std::size_t most = static_cast<std::size_t>(panel_vectors(filters));
  static constexpr auto kernels = kernels_of<filters>(std::make_index_sequence<most>());
  require(block.vectors >= 1 && block.vectors <= panel_vectors(filters), "multiply_block: too many vectors");
  kernels[static_cast<std::size_t>(block.vectors - 1)](block);
}

}  // namespace

void multiply_block(const ConvBlock& block) {
  switch (block.filters) {
    case 1:
      return dispatch<1>(block);
    case 2:
      return dispatch<2>(block);
    case 3:
      return dispatch<3>(block);
    case 4:
      return dispatch<4>(block);
    default:
      throw_fault("multiply_block: {} filters", block.filters);
  }
}

}  // namespace gpfq::net
