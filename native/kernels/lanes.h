#pragma once

#include <cstdint>

// For files that are compiled for AVX2 and FMA, and once more for AVX-512. Each has functions of its own: the
// linker keeps one copy of those that files share, and others may run on a processor without these
// instructions.
namespace kpop::kernels {
namespace {

#ifdef __AVX512F__
constexpr int64_t kLanes = 16;
#else
constexpr int64_t kLanes = 8;
#endif

/** Numbers that are computed at once. */
using Lanes [[gnu::vector_size(4 * kLanes), gnu::aligned(4), gnu::may_alias]] = float;

[[gnu::always_inline]] inline Lanes load(const float* from) {
  return *reinterpret_cast<const Lanes*>(from);
}
[[gnu::always_inline]] inline void store(float* to, Lanes value) {
  *reinterpret_cast<Lanes*>(to) = value;
}
/** The same number in each. */
[[gnu::always_inline]] inline Lanes every(float x) {
#ifdef __AVX512F__
  return Lanes{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
#else
  return Lanes{x, x, x, x, x, x, x, x};
#endif
}
/** The larger of each two; of those with one that is no number, `b`. */
[[gnu::always_inline]] inline Lanes larger(Lanes a, Lanes b) {
  return a > b ? a : b;
}

/** e^x for x ≤ 0, to 1e-7 of it: 2^n e^r, r in ± ln 2 / 2, e^r by the polynomial of Cephes' expf. */
[[gnu::always_inline]] inline Lanes exponential(Lanes x) {
  using Bits [[gnu::vector_size(4 * kLanes)]] = int32_t;
  constexpr float kLowest = -87;     // whose 2^n is a normal number still
  constexpr float kRound = 3 << 22;  // a float this large has no digits behind the point
  constexpr int kMantissa = 23;
  constexpr float kLog2E = 1.44269504F;
  constexpr float kLn2 = 0.693359375F, kLn2Rest = -2.12194440e-4F;
  x = larger(every(kLowest), x);
  const Lanes shifted = x * kLog2E + kRound;
  const Lanes n = shifted - kRound;
  const Lanes r = x - n * kLn2 - n * kLn2Rest;
  Lanes p = r * 1.9875691500e-4F + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * (r * r) + (r + 1);
  return (Lanes)((Bits)p + ((Bits)shifted << kMantissa));
}

}  // namespace
}  // namespace kpop::kernels
