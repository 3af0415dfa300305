#pragma once

#include <ATen/core/Tensor.h>

namespace kpop::nn {

/** Whether the kernels that are compiled for AVX2 and FMA can be called with numbers of this kind. */
inline bool has_kernels(const at::Tensor& x) {
  static const bool has_instructions = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return has_instructions && x.is_cpu() && x.scalar_type() == at::kFloat && x.numel() > 0;
}

}  // namespace kpop::nn
