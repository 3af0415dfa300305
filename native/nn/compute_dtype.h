#pragma once

#include <ATen/core/Tensor.h>

namespace kpop::nn {

/** The dtype in which a forward on `input` computes: its own, except where that would crawl.
 *
 *  On an x86 CPU without instructions for bfloat16 (AVX512-BF16, AMX) or float16 (AVX512-FP16), ATen's
 *  convolutions run in scalar code: 9 GFLOP/s or, for contiguous input, 0.9, against 70 in float32, measured
 *  on a Zen 3 core. There the half-width types are for storage and the arithmetic is float32. */
at::ScalarType compute_dtype(const at::Tensor& input);

}  // namespace kpop::nn
