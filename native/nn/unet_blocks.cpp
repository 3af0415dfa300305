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

std::string part(const std::string& block, const char* list, size_t index) {
  return block + "." + list + "." + std::to_string(index);
}

void append_resnet(Steps& steps, std::string name, const ResnetBlock2D& resnet) {
  steps.add(std::move(name), [&resnet](UNetState& s) { s.x = resnet.forward(s.x, s.time); });
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

void UNetDownBlock::append_steps(Steps& steps, const std::string& name) const {
  for (size_t i = 0; i < resnets_->size(); ++i) {
    append_resnet(steps, part(name, "resnets", i), (*resnets_)[i]);
    if (!attentions_->empty()) (*attentions_)[i].append_steps(steps, part(name, "attentions", i));
    steps.keep_skip();
  }
  if (!downsamplers_->empty()) {
    steps.add(part(name, "downsamplers", 0),
              [this](UNetState& s) { s.x = (*downsamplers_)[0].forward(s.x); });
    steps.keep_skip();
  }
  steps.name_current(name);
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

void UNetMidBlock2DCrossAttn::append_steps(Steps& steps, const std::string& name) const {
  append_resnet(steps, part(name, "resnets", 0), (*resnets_)[0]);
  for (size_t i = 0; i < attentions_->size(); ++i) {
    (*attentions_)[i].append_steps(steps, part(name, "attentions", i));
    append_resnet(steps, part(name, "resnets", i + 1), (*resnets_)[i + 1]);
  }
  steps.name_current(name);
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

void UNetUpBlock::append_steps(Steps& steps, const std::string& name) const {
  for (size_t i = 0; i < resnets_->size(); ++i) {
    steps.add(part(name, "resnets", i), [&resnet = (*resnets_)[i]](UNetState& s) {
      s.x = resnet.forward(at::cat({s.x, s.skips.back()}, 1), s.time);
      s.skips.pop_back();
    });
    if (!attentions_->empty()) (*attentions_)[i].append_steps(steps, part(name, "attentions", i));
  }
  if (!upsamplers_->empty()) {
    // The next level's skip, not a factor of two, sets the size: odd sizes were rounded up on the way down.
    steps.add(part(name, "upsamplers", 0), [this](UNetState& s) {
      s.x = (*upsamplers_)[0].forward(s.x, s.skips.back().sizes().slice(2));
    });
  }
  steps.name_current(name);
}

}  // namespace kpop::nn
