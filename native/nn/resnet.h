#pragma once

#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/upsample_nearest2d.h>

#include "layers.h"

namespace kpop::nn {

/** Shape and options of one residual block. */
struct ResnetOptions {
  int64_t in_channels = 0;
  int64_t out_channels = 0;
  int64_t time_width = 0;  // of the timestep embedding; 0: the block takes none
  int64_t groups = 32;
  double eps = 1e-5;
  Activation act = Activation::silu;
  double output_scale_factor = 1;
};

/** Norm, activation, convolution, twice, around an added timestep embedding; plus its (projected) input.
 *  x (B, in, h, w), time (B, time_width) after its activation → (B, out, h, w) */
class ResnetBlock2D : public torch::nn::Module {
 public:
  explicit ResnetBlock2D(const ResnetOptions& o) : act_(o.act), scale_(o.output_scale_factor) {
    norm1_ = register_module("norm1", std::make_shared<GroupNorm>(o.groups, o.in_channels, o.eps));
    conv1_ = register_module("conv1", std::make_shared<Conv2d>(o.in_channels, o.out_channels, 3, 1, 1));
    if (o.time_width > 0)
      time_emb_proj_ =
          register_module("time_emb_proj", std::make_shared<Linear>(o.time_width, o.out_channels));
    norm2_ = register_module("norm2", std::make_shared<GroupNorm>(o.groups, o.out_channels, o.eps));
    conv2_ = register_module("conv2", std::make_shared<Conv2d>(o.out_channels, o.out_channels, 3, 1, 1));
    if (o.in_channels != o.out_channels)
      conv_shortcut_ =
          register_module("conv_shortcut", std::make_shared<Conv2d>(o.in_channels, o.out_channels, 1));
  }

  Tensor forward(const Tensor& x, const Tensor& time = {}) const {
    auto h = conv1_->forward(norm1_->forward(x, act_));
    if (time_emb_proj_) h = add_residual(h, time_emb_proj_->forward(time).unsqueeze(2).unsqueeze(3));
    h = conv2_->forward(norm2_->forward(h, act_));
    h = add_residual(h, conv_shortcut_ ? conv_shortcut_->forward(x) : x);
    return scale_ == 1 ? h : h / scale_;
  }

 private:
  Activation act_;
  double scale_;
  std::shared_ptr<GroupNorm> norm1_, norm2_;
  std::shared_ptr<Conv2d> conv1_, conv2_, conv_shortcut_;
  std::shared_ptr<Linear> time_emb_proj_;
};

/** Halves the resolution.  (B, channels, h, w) → (B, out, h', w')
 *  @param padding 1: symmetric, h' = ceil(h/2); 0: one row and column at the end, h' = floor(h/2) */
class Downsample2D : public torch::nn::Module {
 public:
  Downsample2D(int64_t channels, int64_t padding) : padding_(padding) {
    conv_ = register_module("conv", std::make_shared<Conv2d>(channels, channels, 3, 2, padding));
  }
  Tensor forward(const Tensor& x) const {
    return conv_->forward(padding_ == 0 ? at::constant_pad_nd(x, {0, 1, 0, 1}) : x);
  }

 private:
  int64_t padding_;
  std::shared_ptr<Conv2d> conv_;
};

/** Nearest-neighbour enlargement to a given size, then a convolution.  (B, channels, h, w) → (B, channels, H,
 *  W) */
class Upsample2D : public torch::nn::Module {
 public:
  explicit Upsample2D(int64_t channels) {
    conv_ = register_module("conv", std::make_shared<Conv2d>(channels, channels, 3, 1, 1));
  }
  Tensor forward(const Tensor& x, at::IntArrayRef size) const {
    return conv_->forward(at::upsample_nearest2d(x, size));
  }

 private:
  std::shared_ptr<Conv2d> conv_;
};

}  // namespace kpop::nn
