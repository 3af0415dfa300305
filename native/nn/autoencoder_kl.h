#pragma once

#include <string>
#include <vector>

#include "attention.h"
#include "resnet.h"

namespace kpop::nn {

/** Fields of diffusers' config.json; the defaults are Stable Diffusion 1.4's. */
struct AutoencoderKLConfig {
  int64_t in_channels = 3;
  int64_t out_channels = 3;
  int64_t latent_channels = 4;
  std::vector<std::string> down_block_types = {4, "DownEncoderBlock2D"};
  std::vector<std::string> up_block_types = {4, "UpDecoderBlock2D"};
  std::vector<int64_t> block_out_channels = {128, 256, 512, 512};
  int64_t layers_per_block = 2;
  std::string act_fn = "silu";
  int64_t norm_num_groups = 32;
  bool use_quant_conv = true;
  bool use_post_quant_conv = true;
  bool mid_block_add_attention = true;
};

/** A diagonal Gaussian over latents. */
struct LatentDistribution {
  Tensor mean;    // (B, latent_channels, h, w), not multiplied by the scaling factor
  Tensor logvar;  // likewise, clamped to [-30, 20]
};

class Encoder;
class Decoder;

/** The autoencoder between images and latents (Rombach et al. 2022, arXiv 2112.10752, section 3.1).
 *  With n levels the latents have 1 / 2^(n-1) of the image's height and width. */
class AutoencoderKL : public Network {
 public:
  /** @throws ArgumentError for a configuration outside this family */
  explicit AutoencoderKL(const AutoencoderKLConfig& config = {});

  /** @param image (B, in_channels, H, W) in [-1, 1], H and W at least 2^(n-1); its dtype is the compute dtype
   *  @throws ArgumentError when the shape does not fit or a parameter has no data */
  LatentDistribution encode(const Tensor& image) const;

  /** @param latents (B, latent_channels, h, w), unscaled; their dtype is the compute dtype
   *  @returns (B, out_channels, h · 2^(n-1), w · 2^(n-1)), about [-1, 1], not clamped
   *  @throws ArgumentError when the shape does not fit or a parameter has no data */
  Tensor decode(const Tensor& latents) const;

  const AutoencoderKLConfig& config() const { return config_; }

 private:
  AutoencoderKLConfig config_;
  std::shared_ptr<Encoder> encoder_;
  std::shared_ptr<Decoder> decoder_;
  std::shared_ptr<Conv2d> quant_conv_, post_quant_conv_;
};

}  // namespace kpop::nn
