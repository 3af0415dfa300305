#pragma once

#include <ATen/Version.h>
#include <ATen/core/Tensor.h>

#include <string>

namespace kpop::kernels {

/** Instructions that kernels are compiled for. */
enum class Instructions { none, avx2, avx512 };

/** Those that ATen's own kernels use here: what the processor has, or less by ATEN_CPU_CAPABILITY. */
inline Instructions instructions() {
  static const auto found = [] {
    const auto name = at::get_cpu_capability();
    if (name == "AVX2") return Instructions::avx2;
    return name.starts_with("AVX512") ? Instructions::avx512 : Instructions::none;
  }();
  return found;
}

/** Whether kernels can be called with numbers of this kind. */
inline bool has_kernels(const at::Tensor& x) {
  return instructions() != Instructions::none && x.is_cpu() && x.scalar_type() == at::kFloat && x.numel() > 0;
}

/** A set of kernels. @param wide_fits whether those with the longer vectors can be used, and pay */
template <class Kernels>
const Kernels& choose(bool wide_fits) {
  return wide_fits && instructions() == Instructions::avx512 ? Kernels::avx512 : Kernels::avx2;
}

}  // namespace kpop::kernels
