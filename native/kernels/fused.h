#pragma once

#include <cstdint>

/** Passes over float32 numbers that do at once what takes ATen several. */
namespace kpop::kernels::fused {

/** Some pixels of a map, (count, channels), the channels a multiple of the lanes. */
struct Pixels {
  const float* data;
  int64_t count, channels;
};

/** y = x · scale + offset, by channel; then, perhaps, silu(y). */
struct Scaling {
  const float *scales, *offsets;
  bool silu;
};

/** What is compiled for each set of instructions. */
struct Kernels {
  /** Numbers that are computed at once. */
  int64_t lanes;

  /** Σ (x - origin) and Σ (x - origin)² of each channel. */
  void (*moments)(const Pixels& x, const float* origin, float* sums, float* squares);

  void (*scale)(const Pixels& x, const Scaling& scaling, float* result);

  /** The gradient of y, from that of what `scale` gives; and of each channel Σ dy and Σ dy (x - centre). */
  void (*scale_backward)(const Pixels& x, const Scaling& scaling, const float* gradient, const float* centres,
                         float* of_y, float* sums, float* products);

  /** to = to · a + x · b + c, by channel. */
  void (*combine)(const Pixels& x, const float* a, const float* b, const float* c, float* to);

  /** values · gelu(gates); `result` may be the values. */
  void (*multiply_by_gelu)(const float* values, const float* gates, int64_t count, float* result);

  /** The gradients of the same. */
  void (*multiply_by_gelu_backward)(const float* values, const float* gates, const float* gradient,
                                    int64_t count, float* of_values, float* of_gates);

  static const Kernels avx2, avx512;
};

}  // namespace kpop::kernels::fused
