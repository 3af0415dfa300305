#pragma once

#include <cstdint>

// For files that are compiled for AVX2 and FMA alone. Each has functions of its own: the linker keeps one
// copy of those that files share, and others may run on a processor without these instructions.
namespace kpop::nn {

/** Numbers that are computed at once. */
using Lanes [[gnu::vector_size(32), gnu::aligned(4), gnu::may_alias]] = float;
constexpr int64_t kLanes = 8;

[[gnu::always_inline]] static inline Lanes load(const float* from) {
  return *reinterpret_cast<const Lanes*>(from);
}
[[gnu::always_inline]] static inline void store(float* to, Lanes value) {
  *reinterpret_cast<Lanes*>(to) = value;
}
/** The same number in each. */
[[gnu::always_inline]] static inline Lanes every(float x) {
  return Lanes{x, x, x, x, x, x, x, x};
}

}  // namespace kpop::nn
