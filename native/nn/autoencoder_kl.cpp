#include "autoencoder_kl.h"

#include <algorithm>

#include "compute_dtype.h"

namespace kpop::nn {
namespace {

constexpr double norm_eps = 1e-6;

ResnetOptions resnet(const AutoencoderKLConfig& c, int64_t in, int64_t out) {
  return {.in_channels = in,
          .out_channels = out,
          .groups = c.norm_num_groups,
          .eps = norm_eps,
          .act = parse_activation(c.act_fn, "act_fn")};
}

void check_config(const AutoencoderKLConfig& c) {
  const auto all = [](const std::vector<std::string>& types, const char* type) {
    return std::all_of(types.begin(), types.end(), [type](const auto& t) { return t == type; });
  };
  const auto levels = c.block_out_channels.size();
  check_argument(
      levels > 0 && c.down_block_types.size() == levels && c.up_block_types.size() == levels,
      "Expected block_out_channels, down_block_types and up_block_types to have the same number of "
      "entries, at least one, but received ",
      levels, ", ", c.down_block_types.size(), " and ", c.up_block_types.size());
  check_argument(all(c.down_block_types, "DownEncoderBlock2D") && all(c.up_block_types, "UpDecoderBlock2D"),
                 "Expected every down_block_types to be DownEncoderBlock2D and every up_block_types to be "
                 "UpDecoderBlock2D");
  check_argument(
      c.in_channels > 0 && c.out_channels > 0 && c.latent_channels > 0 && c.layers_per_block > 0,
      "Expected in_channels, out_channels, latent_channels and layers_per_block to be positive but "
      "received ",
      c.in_channels, ", ", c.out_channels, ", ", c.latent_channels, " and ", c.layers_per_block);
}

void check_image(const Tensor& x, int64_t channels, int64_t smallest, const char* name) {
  check_argument(x.dim() == 4 && x.size(1) == channels && x.is_floating_point() && x.size(2) >= smallest &&
                     x.size(3) >= smallest,
                 "Expected ", name, " to be a floating-point tensor of shape (B, ", channels,
                 ", height, width), height and width at least ", smallest, ", but received ", x.sizes(),
                 " of ", x.scalar_type());
}

/** Self-attention of one head over all pixels, added to its input.  (B, channels, h, w) → same */
class PixelAttention : public Attention {
 public:
  PixelAttention(const AutoencoderKLConfig& c, int64_t channels)
      : Attention({.width = channels, .heads = 1, .bias = true}) {
    group_norm_ =
        register_module("group_norm", std::make_shared<GroupNorm>(c.norm_num_groups, channels, norm_eps));
  }
  Tensor forward(const Tensor& x) const {
    const auto tokens = group_norm_->forward(x).permute({0, 2, 3, 1}).flatten(1, 2);  // (B, h·w, channels)
    const auto mixed = Attention::forward(tokens, tokens);
    return add_residual(mixed.unflatten(1, {x.size(2), x.size(3)}).permute({0, 3, 1, 2}), x);
  }

 private:
  std::shared_ptr<GroupNorm> group_norm_;
};

/** Residual block, attention, residual block at the lowest resolution.  (B, channels, h, w) → same */
class MidBlock : public torch::nn::Module {
 public:
  MidBlock(const AutoencoderKLConfig& c, int64_t channels) {
    attentions_ = std::make_shared<List<PixelAttention>>();
    if (c.mid_block_add_attention) {
      register_module("attentions", attentions_);
      attentions_->emplace_back(c, channels);
    }
    resnets_ = register_module("resnets", std::make_shared<List<ResnetBlock2D>>());
    for (int i = 0; i < 2; ++i) resnets_->emplace_back(resnet(c, channels, channels));
  }
  Tensor forward(Tensor x) const {
    x = (*resnets_)[0].forward(x);
    if (!attentions_->empty()) x = (*attentions_)[0].forward(x);
    return (*resnets_)[1].forward(x);
  }

 private:
  std::shared_ptr<List<PixelAttention>> attentions_;
  std::shared_ptr<List<ResnetBlock2D>> resnets_;
};

/** Residual blocks, then half the resolution unless it is the last.  (B, in, h, w) → (B, out, h', w') */
class DownEncoderBlock2D : public torch::nn::Module {
 public:
  DownEncoderBlock2D(const AutoencoderKLConfig& c, int64_t in, int64_t out, bool last) {
    resnets_ = register_module("resnets", std::make_shared<List<ResnetBlock2D>>());
    for (int64_t i = 0; i < c.layers_per_block; ++i)
      resnets_->emplace_back(resnet(c, i == 0 ? in : out, out));
    downsamplers_ = std::make_shared<List<Downsample2D>>();
    if (!last) {
      register_module("downsamplers", downsamplers_);
      downsamplers_->emplace_back(out, /*padding=*/0);
    }
  }
  Tensor forward(Tensor x) const {
    for (size_t i = 0; i < resnets_->size(); ++i) x = (*resnets_)[i].forward(x);
    return downsamplers_->empty() ? x : (*downsamplers_)[0].forward(x);
  }

 private:
  std::shared_ptr<List<ResnetBlock2D>> resnets_;
  std::shared_ptr<List<Downsample2D>> downsamplers_;
};

/** One residual block more than the encoder's, then twice the resolution unless it is the last.
 *  (B, in, h, w) → (B, out, H, W) */
class UpDecoderBlock2D : public torch::nn::Module {
 public:
  UpDecoderBlock2D(const AutoencoderKLConfig& c, int64_t in, int64_t out, bool last) {
    resnets_ = register_module("resnets", std::make_shared<List<ResnetBlock2D>>());
    for (int64_t i = 0; i <= c.layers_per_block; ++i)
      resnets_->emplace_back(resnet(c, i == 0 ? in : out, out));
    upsamplers_ = std::make_shared<List<Upsample2D>>();
    if (!last) {
      register_module("upsamplers", upsamplers_);
      upsamplers_->emplace_back(out);
    }
  }
  Tensor forward(Tensor x) const {
    for (size_t i = 0; i < resnets_->size(); ++i) x = (*resnets_)[i].forward(x);
    return upsamplers_->empty() ? x : (*upsamplers_)[0].forward(x, {2 * x.size(2), 2 * x.size(3)});
  }

 private:
  std::shared_ptr<List<ResnetBlock2D>> resnets_;
  std::shared_ptr<List<Upsample2D>> upsamplers_;
};

}  // namespace

/** (B, in_channels, H, W) → (B, 2 · latent_channels, h, w): means, then log variances */
class Encoder : public torch::nn::Module {
 public:
  explicit Encoder(const AutoencoderKLConfig& c) : act_(parse_activation("silu", "act_fn")) {
    const auto& channels = c.block_out_channels;
    conv_in_ = register_module("conv_in", std::make_shared<Conv2d>(c.in_channels, channels.front(), 3, 1, 1));
    down_blocks_ = register_module("down_blocks", std::make_shared<List<DownEncoderBlock2D>>());
    for (size_t i = 0; i < channels.size(); ++i)
      down_blocks_->emplace_back(c, channels[i == 0 ? 0 : i - 1], channels[i], i + 1 == channels.size());
    mid_block_ = register_module("mid_block", std::make_shared<MidBlock>(c, channels.back()));
    conv_norm_out_ = register_module(
        "conv_norm_out", std::make_shared<GroupNorm>(c.norm_num_groups, channels.back(), norm_eps));
    conv_out_ = register_module("conv_out",
                                std::make_shared<Conv2d>(channels.back(), 2 * c.latent_channels, 3, 1, 1));
  }
  Tensor forward(const Tensor& image) const {
    auto x = conv_in_->forward(conv_in_->in_layout(image));
    for (size_t i = 0; i < down_blocks_->size(); ++i) x = (*down_blocks_)[i].forward(x);
    x = mid_block_->forward(x);
    return conv_out_->forward(conv_norm_out_->forward(x, act_));
  }

 private:
  Activation act_;
  std::shared_ptr<Conv2d> conv_in_, conv_out_;
  std::shared_ptr<List<DownEncoderBlock2D>> down_blocks_;
  std::shared_ptr<MidBlock> mid_block_;
  std::shared_ptr<GroupNorm> conv_norm_out_;
};

/** (B, latent_channels, h, w) → (B, out_channels, H, W) */
class Decoder : public torch::nn::Module {
 public:
  explicit Decoder(const AutoencoderKLConfig& c) : act_(parse_activation("silu", "act_fn")) {
    const auto& channels = c.block_out_channels;
    const auto top = channels.size() - 1;
    conv_in_ =
        register_module("conv_in", std::make_shared<Conv2d>(c.latent_channels, channels.back(), 3, 1, 1));
    mid_block_ = register_module("mid_block", std::make_shared<MidBlock>(c, channels.back()));
    up_blocks_ = register_module("up_blocks", std::make_shared<List<UpDecoderBlock2D>>());
    for (size_t i = 0; i <= top; ++i)
      up_blocks_->emplace_back(c, channels[i == 0 ? top : top - i + 1], channels[top - i], i == top);
    conv_norm_out_ = register_module(
        "conv_norm_out", std::make_shared<GroupNorm>(c.norm_num_groups, channels.front(), norm_eps));
    conv_out_ =
        register_module("conv_out", std::make_shared<Conv2d>(channels.front(), c.out_channels, 3, 1, 1));
  }
  Tensor forward(const Tensor& latents) const {
    auto x = mid_block_->forward(conv_in_->forward(conv_in_->in_layout(latents)));
    for (size_t i = 0; i < up_blocks_->size(); ++i) x = (*up_blocks_)[i].forward(x);
    return conv_out_->forward(conv_norm_out_->forward(x, act_));
  }

 private:
  Activation act_;
  std::shared_ptr<Conv2d> conv_in_, conv_out_;
  std::shared_ptr<MidBlock> mid_block_;
  std::shared_ptr<List<UpDecoderBlock2D>> up_blocks_;
  std::shared_ptr<GroupNorm> conv_norm_out_;
};

AutoencoderKL::AutoencoderKL(const AutoencoderKLConfig& config) : Network("AutoencoderKL"), config_(config) {
  check_config(config_);
  const int64_t z = config_.latent_channels;
  encoder_ = register_module("encoder", std::make_shared<Encoder>(config_));
  decoder_ = register_module("decoder", std::make_shared<Decoder>(config_));
  if (config_.use_quant_conv)
    quant_conv_ = register_module("quant_conv", std::make_shared<Conv2d>(2 * z, 2 * z, 1));
  if (config_.use_post_quant_conv)
    post_quant_conv_ = register_module("post_quant_conv", std::make_shared<Conv2d>(z, z, 1));
  index_parameters();
}

LatentDistribution AutoencoderKL::encode(const Tensor& image) const {
  check_assigned();
  check_image(image, config_.in_channels, int64_t{1} << (config_.block_out_channels.size() - 1), "image");
  auto moments = encoder_->forward(image.to(compute_dtype(image)));
  if (quant_conv_) moments = quant_conv_->forward(moments);
  const auto halves = moments.to(image.scalar_type()).chunk(2, 1);
  return {halves[0], halves[1].clamp(-30, 20)};
}

Tensor AutoencoderKL::decode(const Tensor& latents) const {
  check_assigned();
  check_image(latents, config_.latent_channels, 1, "latents");
  const auto z = latents.to(compute_dtype(latents));
  return decoder_->forward(post_quant_conv_ ? post_quant_conv_->forward(z) : z).to(latents.scalar_type());
}

}  // namespace kpop::nn
