// Compiled for AVX2 and FMA, and for AVX-512: no header whose functions other files share may come in here.
#include "fused.h"

#include "lanes.h"

namespace kpop::kernels::fused {

namespace {

[[gnu::always_inline]] inline Lanes magnitude(Lanes x) {
  return larger(x, -x);
}

[[gnu::always_inline]] inline Lanes sigmoid(Lanes x) {
  const Lanes e = exponential(-magnitude(x));
  return (x < 0 ? e : every(1)) / (e + 1);
}

/** Of the normal distribution: its function Φ, to 1e-7, by 7.1.26 of Abramowitz and Stegun; and e^(-x²/2). */
struct Normal {
  Lanes function, exponential;
};
[[gnu::always_inline]] inline Normal normal(Lanes x) {
  constexpr float kRootHalf = 0.70710678F;
  const Lanes z = magnitude(x) * kRootHalf;
  const Lanes e = exponential(-z * z);
  const Lanes t = 1 / (z * 0.3275911F + 1);
  Lanes p = t * 1.061405429F - 1.453152027F;
  p = p * t + 1.421413741F;
  p = p * t - 0.284496736F;
  p = p * t + 0.254829592F;
  const Lanes tail = p * t * e * 0.5F;
  return {x < 0 ? tail : 1 - tail, e};
}

/** Sums over pixels of what `terms` gives for a pixel's channels: two vectors. */
template <int Columns, class Terms>
[[gnu::always_inline]] inline void sum_columns(int64_t pixels, int64_t channels, int64_t channel,
                                               const Terms& terms, float* first, float* second) {
  Lanes sums[2][Columns]{};
  for (int64_t pixel = 0; pixel < pixels; ++pixel)
#pragma GCC unroll 4
    for (int j = 0; j < Columns; ++j) {
      const int64_t at = channel + j * kLanes;
      Lanes one, other;
      terms(pixel * channels + at, at, one, other);
      sums[0][j] += one;
      sums[1][j] += other;
    }
#pragma GCC unroll 4
  for (int j = 0; j < Columns; ++j) {
    store(first + channel + j * kLanes, sums[0][j]);
    store(second + channel + j * kLanes, sums[1][j]);
  }
}

/** Of all channels. @param terms of a place in the pixels and its channel: vectors */
template <class Terms>
void sum_pixels(const Pixels& x, float* first, float* second, const Terms& terms) {
  constexpr int kColumns = 4;
  int64_t channel = 0;
  for (; channel + kColumns * kLanes <= x.channels; channel += kColumns * kLanes)
    sum_columns<kColumns>(x.count, x.channels, channel, terms, first, second);
  for (; channel < x.channels; channel += kLanes)
    sum_columns<1>(x.count, x.channels, channel, terms, first, second);
}

/** Calls `use` with each place of lanes in the pixels and their channel. */
template <class Use>
[[gnu::always_inline]] inline void each_lanes(const Pixels& x, const Use& use) {
  for (int64_t pixel = 0; pixel < x.count; ++pixel)
    for (int64_t channel = 0; channel < x.channels; channel += kLanes)
      use(pixel * x.channels + channel, channel);
}

[[gnu::always_inline]] inline Lanes scaled(const Pixels& x, const Scaling& by, int64_t at, int64_t channel) {
  return load(x.data + at) * load(by.scales + channel) + load(by.offsets + channel);
}

/** Calls `use` with each place of lanes and how many numbers it has: at the end they may be fewer. */
template <class Use>
void each_lanes(int64_t count, const Use& use) {
  int64_t at = 0;
  for (; at + kLanes <= count; at += kLanes) use(at, kLanes);
  if (at < count) use(at, count - at);
}

[[gnu::always_inline]] inline Lanes load_some(const float* from, int64_t count) {
  if (count == kLanes) [[likely]]
    return load(from);
  Lanes values{};
  for (int64_t i = 0; i < count; ++i) values[i] = from[i];
  return values;
}
[[gnu::always_inline]] inline void store_some(float* to, Lanes values, int64_t count) {
  if (count == kLanes) [[likely]]
    return store(to, values);
  for (int64_t i = 0; i < count; ++i) to[i] = values[i];
}

void moments(const Pixels& x, const float* origin, float* sums, float* squares) {
  sum_pixels(x, sums, squares, [&](int64_t at, int64_t channel, Lanes& value, Lanes& square) {
    value = load(x.data + at) - load(origin + channel);
    square = value * value;
  });
}

void scale(const Pixels& x, const Scaling& scaling, float* result) {
  if (scaling.silu)
    each_lanes(x, [&](int64_t at, int64_t channel) {
      const Lanes y = scaled(x, scaling, at, channel);
      store(result + at, y * sigmoid(y));
    });
  else
    each_lanes(x, [&](int64_t at, int64_t channel) { store(result + at, scaled(x, scaling, at, channel)); });
}

void scale_backward(const Pixels& x, const Scaling& scaling, const float* gradient, const float* centres,
                    float* of_y, float* sums, float* products) {
  sum_pixels(x, sums, products, [&](int64_t at, int64_t channel, Lanes& own, Lanes& product) {
    own = load(gradient + at);
    if (scaling.silu) {
      const Lanes y = scaled(x, scaling, at, channel), share = sigmoid(y);
      own *= share * (y * (1 - share) + 1);
    }
    store(of_y + at, own);
    product = own * (load(x.data + at) - load(centres + channel));
  });
}

void combine(const Pixels& x, const float* a, const float* b, const float* c, float* to) {
  each_lanes(x, [&](int64_t at, int64_t channel) {
    store(to + at,
          load(to + at) * load(a + channel) + (load(x.data + at) * load(b + channel) + load(c + channel)));
  });
}

void multiply_by_gelu(const float* values, const float* gates, int64_t count, float* result) {
  each_lanes(count, [&](int64_t at, int64_t some) {
    const Lanes gate = load_some(gates + at, some);
    store_some(result + at, load_some(values + at, some) * (gate * normal(gate).function), some);
  });
}

void multiply_by_gelu_backward(const float* values, const float* gates, const float* gradient, int64_t count,
                               float* of_values, float* of_gates) {
  constexpr float kDensity = 0.39894228F;  // 1 / √(2π)
  each_lanes(count, [&](int64_t at, int64_t some) {
    const Lanes gate = load_some(gates + at, some), own = load_some(gradient + at, some);
    const Normal found = normal(gate);
    store_some(of_values + at, own * (gate * found.function), some);
    const Lanes slope = found.function + gate * found.exponential * kDensity;
    store_some(of_gates + at, own * load_some(values + at, some) * slope, some);
  });
}

constexpr Kernels kKernels{
    kLanes, moments, scale, scale_backward, combine, multiply_by_gelu, multiply_by_gelu_backward};

}  // namespace

const Kernels Kernels::KPOP_INSTRUCTIONS = kKernels;

}  // namespace kpop::kernels::fused
