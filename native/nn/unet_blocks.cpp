#include "unet_blocks.h"

#include <ATen/ops/cat.h>

namespace kpop::nn {
namespace {

ResnetOptions resnet(const UNetBlockOptions& o, int64_t in, int64_t out) {
  auto options = o.resnet;
  options.in_channels = in;
  options.out_channels = out;
  return options;
}

TransformerOptions transformer(const UNetBlockOptions& o) {
  auto options = o.transformer;
  options.channels = o.out_channels;
  return options;
}

}  // namespace

UNetDownBlock::UNetDownBlock(const UNetBlockOptions& o) {
  attentions_ = std::make_shared<List<Transformer2DModel>>();
  if (o.attention) register_module("attentions", attentions_);
  resnets_ = register_module("resnets", std::make_shared<List<ResnetBlock2D>>());
  downsamplers_ = std::make_shared<List<Downsample2D>>();
  if (o.resample) register_module("downsamplers", downsamplers_);

  for (int64_t i = 0; i < o.layers; ++i) {
    resnets_->emplace_back(resnet(o, i == 0 ? o.in_channels : o.out_channels, o.out_channels));
    if (o.attention) attentions_->emplace_back(transformer(o));
  }
  if (o.resample) downsamplers_->emplace_back(o.out_channels, o.downsample_padding);
}

Tensor UNetDownBlock::forward(Tensor x, const Tensor& time, const Conditioning& conditioning,
                              std::vector<Tensor>& skips) const {
  for (size_t i = 0; i < resnets_->size(); ++i) {
    x = (*resnets_)[i].forward(x, time);
    if (!attentions_->empty()) x = (*attentions_)[i].forward(std::move(x), conditioning);
    skips.push_back(x);
  }
  if (!downsamplers_->empty()) {
    x = (*downsamplers_)[0].forward(x);
    skips.push_back(x);
  }
  return x;
}

UNetMidBlock2DCrossAttn::UNetMidBlock2DCrossAttn(const UNetBlockOptions& o) {
  attentions_ = register_module("attentions", std::make_shared<List<Transformer2DModel>>());
  resnets_ = register_module("resnets", std::make_shared<List<ResnetBlock2D>>());
  resnets_->emplace_back(resnet(o, o.in_channels, o.out_channels));
  for (int64_t i = 0; i < o.layers; ++i) {
    attentions_->emplace_back(transformer(o));
    resnets_->emplace_back(resnet(o, o.out_channels, o.out_channels));
  }
}

Tensor UNetMidBlock2DCrossAttn::forward(Tensor x, const Tensor& time,
                                        const Conditioning& conditioning) const {
  x = (*resnets_)[0].forward(x, time);
  for (size_t i = 0; i < attentions_->size(); ++i) {
    x = (*attentions_)[i].forward(std::move(x), conditioning);
    x = (*resnets_)[i + 1].forward(x, time);
  }
  return x;
}

UNetUpBlock::UNetUpBlock(const UNetBlockOptions& o) {
  attentions_ = std::make_shared<List<Transformer2DModel>>();
  if (o.attention) register_module("attentions", attentions_);
  resnets_ = register_module("resnets", std::make_shared<List<ResnetBlock2D>>());
  upsamplers_ = std::make_shared<List<Upsample2D>>();
  if (o.resample) register_module("upsamplers", upsamplers_);

  for (int64_t i = 0; i < o.layers; ++i) {
    const int64_t below = i == 0 ? o.in_channels : o.out_channels;
    resnets_->emplace_back(resnet(o, below + o.skip_channels[i], o.out_channels));
    if (o.attention) attentions_->emplace_back(transformer(o));
  }
  if (o.resample) upsamplers_->emplace_back(o.out_channels);
}

Tensor UNetUpBlock::forward(Tensor x, const Tensor& time, const Conditioning& conditioning,
                            std::vector<Tensor>& skips) const {
  for (size_t i = 0; i < resnets_->size(); ++i) {
    x = (*resnets_)[i].forward(at::cat({x, skips.back()}, 1), time);
    skips.pop_back();
    if (!attentions_->empty()) x = (*attentions_)[i].forward(std::move(x), conditioning);
  }
  // The next level's skip, not a factor of two, sets the size: odd sizes were rounded up on the way down.
  if (!upsamplers_->empty()) x = (*upsamplers_)[0].forward(x, skips.back().sizes().slice(2));
  return x;
}

}  // namespace kpop::nn
