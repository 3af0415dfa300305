#include "compute_dtype.h"

namespace kpop::nn {
namespace {

bool cpu_computes(at::ScalarType dtype) {
#if defined(__x86_64__) && defined(__GNUC__)
  static const bool bfloat16 = __builtin_cpu_supports("avx512bf16");
  static const bool float16 = __builtin_cpu_supports("avx512fp16");
  if (dtype == at::kBFloat16) return bfloat16;
  if (dtype == at::kHalf) return float16;
#endif
  return true;
}

}  // namespace

at::ScalarType compute_dtype(const at::Tensor& input) {
  const auto dtype = input.scalar_type();
  return input.is_cpu() && !cpu_computes(dtype) ? at::kFloat : dtype;
}

}  // namespace kpop::nn
