#pragma once

#include <vector>

#include "resnet.h"
#include "transformer_2d_model.h"

namespace kpop::nn {

/** One level of the UNet, down or up. */
struct UNetBlockOptions {
  int64_t in_channels = 0;
  int64_t out_channels = 0;
  int64_t layers = 2;      // residual blocks
  bool attention = false;  // a transformer after each of them
  bool resample = true;    // a down- or upsampler at the end
  int64_t downsample_padding = 1;
  std::vector<int64_t> skip_channels = {};  // up only: of the feature map that each layer consumes
  ResnetOptions resnet = {};                // its channels are set per layer
  TransformerOptions transformer = {};      // likewise
};

/** DownBlock2D, or CrossAttnDownBlock2D with attention: out_channels, then half the resolution. */
class UNetDownBlock : public torch::nn::Module {
 public:
  explicit UNetDownBlock(const UNetBlockOptions& o);

  /** (B, in, h, w) → (B, out, h', w'); the output of each layer and of the downsampler is left as a skip. */
  void append_steps(Steps& steps, const std::string& name) const;

 private:
  std::shared_ptr<List<Transformer2DModel>> attentions_;
  std::shared_ptr<List<ResnetBlock2D>> resnets_;
  std::shared_ptr<List<Downsample2D>> downsamplers_;
};

/** Residual block, then transformer and residual block once per layer, at the lowest resolution. */
class UNetMidBlock2DCrossAttn : public torch::nn::Module {
 public:
  explicit UNetMidBlock2DCrossAttn(const UNetBlockOptions& o);

  /** (B, channels, h, w) → same */
  void append_steps(Steps& steps, const std::string& name) const;

 private:
  std::shared_ptr<List<Transformer2DModel>> attentions_;
  std::shared_ptr<List<ResnetBlock2D>> resnets_;
};

/** UpBlock2D, or CrossAttnUpBlock2D with attention: each layer takes one skip, the last skip first. */
class UNetUpBlock : public torch::nn::Module {
 public:
  explicit UNetUpBlock(const UNetBlockOptions& o);

  /** (B, in, h, w) → (B, out, H, W), the resolution of the next skip when the block has an upsampler. Takes
   *  skips of (B, skip_channels, h, w). */
  void append_steps(Steps& steps, const std::string& name) const;

 private:
  std::shared_ptr<List<Transformer2DModel>> attentions_;
  std::shared_ptr<List<ResnetBlock2D>> resnets_;
  std::shared_ptr<List<Upsample2D>> upsamplers_;
};

}  // namespace kpop::nn
