#pragma once

#include <ATen/ops/gelu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>

#include <string>

#include "module.h"

namespace kpop::nn {

enum class Activation { silu, gelu, quick_gelu, relu };

/** @param field the config field, for the message   @throws ArgumentError on an unknown name */
inline Activation parse_activation(const std::string& name, const char* field) {
  if (name == "silu" || name == "swish") return Activation::silu;
  if (name == "gelu") return Activation::gelu;
  if (name == "quick_gelu") return Activation::quick_gelu;
  if (name == "relu") return Activation::relu;
  throw ArgumentError(c10::str("Expected ", field,
                               " to be silu, swish, gelu, quick_gelu or relu but received \"", name, "\""));
}

/** Applies `kind` to a temporary, which is overwritten when no graph needs it. */
inline Tensor activate(Tensor x, Activation kind) {
  const bool in_place = !x.requires_grad();
  switch (kind) {
    case Activation::silu:
      return in_place ? at::silu_(x) : at::silu(x);
    case Activation::gelu:
      return in_place ? at::gelu_(x) : at::gelu(x);
    case Activation::quick_gelu:
      return x * at::sigmoid(1.702 * x);
    case Activation::relu:
      return in_place ? at::relu_(x) : at::relu(x);
  }
  return x;
}

/** `fresh` + `residual`, written into `fresh`, a temporary, when no graph needs it. */
inline Tensor add_residual(Tensor fresh, const Tensor& residual) {
  return fresh.requires_grad() || residual.requires_grad() ? fresh + residual : fresh.add_(residual);
}

}  // namespace kpop::nn
