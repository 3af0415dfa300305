#pragma once

#include <ATen/core/Tensor.h>

namespace kpop::nn {

/** at::group_norm, and at::silu of it if asked for. Of a map that is channels last on a CPU one pass finds
 * the statistics, another does the rest, and its gradient needs nothing but x.  (B, channels, ...) → same */
at::Tensor group_norm(const at::Tensor& x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias,
                      double eps, bool silu);

/** values · gelu(gates), two temporaries; in place of the values where no graph is kept. */
at::Tensor multiply_by_gelu(at::Tensor values, at::Tensor gates);

}  // namespace kpop::nn
