#pragma once

#include <ATen/core/Tensor.h>

namespace kpop::nn {

/** (B, N, heads · head_dim) → (B, heads, N, head_dim) */
inline at::Tensor split_heads(const at::Tensor& x, int64_t heads) {
  return x.view({x.size(0), x.size(1), heads, -1}).transpose(1, 2);
}

/** Multi-head scaled dot-product attention on q (B, N, heads · head_dim), k and v (B, L, heads · head_dim).
 *  @param causal row i sees rows 0..i only   @returns (B, N, heads · head_dim) */
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads,
                  bool causal = false);

}  // namespace kpop::nn
