#pragma once

#include <ATen/core/Tensor.h>

namespace kpop::nn {

/** `weight` for a product with `rows` rows of activations: itself, or an aligned copy.
 *
 *  Weights that are pages of a file lie wherever its header has left them, and MKL's products of few rows
 *  depend on that in their last bits: measured, those of up to 8 rows, unless it is a multiple of 16 bytes.
 *  With a copy, which for a time embedding, (B, width), is 3 % of the weights, the result is that of weights
 *  in memory. */
at::Tensor aligned_for(int64_t rows, const at::Tensor& weight);

/** x W^T + b.  x (..., in), weight (out, in), bias (out) or undefined → (..., out) */
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace kpop::nn
