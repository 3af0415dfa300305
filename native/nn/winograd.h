#pragma once

#include <ATen/core/Tensor.h>

namespace kpop::nn {

/** Whether `winograd_conv2d` convolves `x` with `weight` faster than ATen does. */
bool winograd_pays(const at::Tensor& x, const at::Tensor& weight);

/** A convolution with a 3×3 kernel, stride 1 and padding 1 in a third to a half of the products: x in tiles
 *  of 4×4 or 6×6 that overlap by two, transformed, multiplied place by place, and transformed back (Lavin
 *  and Gray, arXiv 1509.09308). Differentiable once. Its error against float64 was measured as 0.4e-6 with the
 *  small tiles and as 1.7e-6 with the large ones; ATen's grows with the channels: 0.4e-6 of 64, 0.9e-6 of 320,
 *  1.9e-6 of 1280.
 *  x (B, in, h, w), weight (out, in, 3, 3), float32 on a CPU, in and out multiples of 8, bias (out) or
 *  undefined → (B, out, h, w), channels last */
at::Tensor winograd_conv2d(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace kpop::nn
