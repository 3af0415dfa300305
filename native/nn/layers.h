#pragma once

#include <ATen/ops/conv2d.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/thnn_conv2d.h>

#include <algorithm>
#include <array>

#include "activation.h"
#include "fused.h"
#include "linear.h"
#include "module.h"
#include "winograd.h"

namespace kpop::nn {

/** y = x W^T + b.  weight (out, in), bias (out).  (..., in) → (..., out) */
class Linear : public Leaf {
 public:
  Linear(int64_t in, int64_t out, bool bias = true) {
    declare("weight", {out, in});
    if (bias) declare("bias", {out});
  }
  Tensor forward(const Tensor& x) const {
    const auto dtype = x.scalar_type();
    return linear(x, cast(0, dtype), slot_count() > 1 ? cast(1, dtype) : Tensor());
  }
  /** The first and the second half of the output features, each contiguous; for a layer with bias.
   *  (..., in) → two of (..., out / 2) */
  std::pair<Tensor, Tensor> forward_halves(const Tensor& x) const {
    const auto dtype = x.scalar_type();
    const auto weights = cast(0, dtype).chunk(2), biases = cast(1, dtype).chunk(2);
    return {linear(x, weights[0], biases[0]), linear(x, weights[1], biases[1])};
  }
};

/** Of a kernel or a padding, in pixels. */
struct Extent {
  int64_t height, width;
};

/** Convolution.  weight (out, in, k.height, k.width), bias (out).
 *  (B, in, h, w) → (B, out, h', w') */
class Conv2d : public Leaf {
 public:
  /** One with a square kernel. */
  Conv2d(int64_t in, int64_t out, int64_t kernel, int64_t stride = 1, int64_t padding = 0, bool bias = true)
      : Conv2d(in, out, Extent{kernel, kernel}, stride, Extent{padding, padding}, bias) {}
  Conv2d(int64_t in, int64_t out, Extent kernel, int64_t stride, Extent padding, bool bias)
      : kernel_(kernel), padding_(padding), stride_(stride) {
    declare("weight", {out, in, kernel.height, kernel.width});
    if (bias) declare("bias", {out});
  }
  void use_fastest_layout(bool on_use) override {
    to_lay_out_ = true;
    if (!on_use) lay_out();
  }
  void lay_out() const override {
    if (!to_lay_out_) [[likely]]
      return;
    at::NoGradGuard no_grad;
    const Tensor& weight = parameters_[0].value();
    const auto placed = fastest_layout(weight);
    if (!placed.is_same(weight)) weight.set_data(placed);
    to_lay_out_ = false;
  }
  Tensor forward(const Tensor& x) const {
    lay_out();
    const auto dtype = x.scalar_type();
    const auto weight = cast(0, dtype), bias = slot_count() > 1 ? cast(1, dtype) : Tensor();
    if (keeps_size_of_3_by_3() && winograd_pays(x, weight)) return winograd_conv2d(x, weight, bias);
    const std::array<int64_t, 2> padding{padding_.height, padding_.width};
    if (!unfolds(x)) return at::conv2d(x, aligned_for(pixels(x), weight), bias, stride_, padding);
    return at::thnn_conv2d(x, weight, {kernel_.height, kernel_.width}, bias, {stride_, stride_}, padding);
  }
  /** `x` in the memory layout of the weights: activations keep the layout in which a network's first
   *  convolution starts, and a mismatch costs a copy of the weights at every call. */
  Tensor in_layout(const Tensor& x) const {
    lay_out();
    return x.contiguous(parameters_[0].value().suggest_memory_format());
  }
  /** A 1×1 kernel applied to tokens: (B, N, in) → (B, N, out). */
  Tensor forward_tokens(const Tensor& x) const {
    const auto dtype = x.scalar_type();
    return linear(x, cast(0, dtype).flatten(1), cast(1, dtype));
  }

 private:
  /** Whether to unfold the input for one matrix product. On a CPU at::conv2d repacks its weights at every
   *  call, which costs as much as convolving about a hundred pixels with them: measured on the 1280-channel
   *  maps of SD-1.4, unfolding takes 0.45 of the time at 8×8, 0.8 at 16×16, 1.1 at 32×32. */
  bool unfolds(const Tensor& x) const {
    const bool reaches = kernel_.height > 1 || kernel_.width > 1;
    return reaches && pixels(x) <= 256 && x.is_cpu() && x.scalar_type() == at::kFloat;
  }

  /** Whether `winograd_conv2d` knows this kind. */
  bool keeps_size_of_3_by_3() const {
    return kernel_.height == 3 && kernel_.width == 3 && padding_.height == 1 && padding_.width == 1 &&
           stride_ == 1;
  }

  /** About how many pixels come of `x`. */
  int64_t pixels(const Tensor& x) const { return x.size(0) * x.size(2) * x.size(3) / (stride_ * stride_); }

  Extent kernel_, padding_;
  int64_t stride_;
  mutable bool to_lay_out_ = false;
};

/** Normalises groups of channels; ATen accumulates the statistics in float32 for the half-width types.
 *  weight, bias (channels).  (B, channels, ...) → same */
class GroupNorm : public Leaf {
 public:
  GroupNorm(int64_t groups, int64_t channels, double eps) : groups_(groups), eps_(eps) {
    check_argument(groups > 0 && channels % groups == 0, "Expected the number of channels (", channels,
                   ") to be a multiple of norm_num_groups, but received ", groups);
    declare("weight", {channels});
    declare("bias", {channels});
  }
  Tensor forward(const Tensor& x) const { return normalise(x, false); }
  /** The activation of what comes out. */
  Tensor forward(const Tensor& x, Activation act) const {
    const bool silu = act == Activation::silu;
    auto normed = normalise(x, silu);
    return silu ? normed : activate(std::move(normed), act);
  }

 private:
  Tensor normalise(const Tensor& x, bool silu) const {
    const auto dtype = x.scalar_type();
    return group_norm(x, groups_, cast(0, dtype), cast(1, dtype), eps_, silu);
  }

  int64_t groups_;
  double eps_;
};

/** Normalises the last dimension.  weight, bias (width).  (..., width) → same */
class LayerNorm : public Leaf {
 public:
  explicit LayerNorm(int64_t width, double eps = 1e-5) : width_(width), eps_(eps) {
    declare("weight", {width});
    declare("bias", {width});
  }
  Tensor forward(const Tensor& x) const {
    const auto dtype = x.scalar_type();
    return at::layer_norm(x, width_, cast(0, dtype), cast(1, dtype), eps_);
  }

 private:
  int64_t width_;
  double eps_;
};

/** Rows of a table.  weight (rows, width).  ids (...) int64 → (..., width) in `dtype` */
class Embedding : public Leaf {
 public:
  Embedding(int64_t rows, int64_t width) { declare("weight", {rows, width}); }
  Tensor forward(const Tensor& ids, at::ScalarType dtype) const {
    // Rows are looked up before the cast: the table has 49408 of them, a prompt 77.
    return at::embedding(parameters_[0].value(), ids).to(dtype);
  }
};

}  // namespace kpop::nn
