#pragma once

#include "clip_text_model.h"

namespace kpop::nn {

/** Fields of transformers' vision_config; the defaults are CLIP ViT-L/14's. */
struct CLIPVisionConfig {
  int64_t hidden_size = 1024;
  int64_t intermediate_size = 4096;
  int64_t num_hidden_layers = 24;
  int64_t num_attention_heads = 16;
  int64_t num_channels = 3;
  int64_t image_size = 224;
  int64_t patch_size = 14;
  std::string hidden_act = "quick_gelu";
  double layer_norm_eps = 1e-5;
};

struct CLIPConfig {
  CLIPTextConfig text_config;
  CLIPVisionConfig vision_config;
  int64_t projection_dim = 768;
};

class CLIPVisionTransformer;
class Linear;

/** CLIP: a text and a vision tower that project into one space (Radford et al. 2021, arXiv 2103.00020). */
class CLIPModel : public Network {
 public:
  /** @throws ArgumentError for a configuration that cannot be built */
  explicit CLIPModel(const CLIPConfig& config = {});

  /** @param input_ids (B, L) int64, each row with its end token
   *  @returns the projected state at each row's first end token, (B, projection_dim), not normalised
   *  @throws ArgumentError when a shape does not fit, a row has no end, or a parameter has no data
   */
  Tensor text_features(const Tensor& input_ids) const;

  /** @param pixels (B, num_channels, image_size, image_size), normalised; their dtype is the compute dtype
   *  @returns the projected class token, (B, projection_dim), not normalised
   *  @throws ArgumentError when the shape does not fit or a parameter has no data */
  Tensor image_features(const Tensor& pixels) const;

  const CLIPConfig& config() const { return config_; }

 private:
  CLIPConfig config_;
  std::shared_ptr<CLIPTextTransformer> text_model_;
  std::shared_ptr<CLIPVisionTransformer> vision_model_;
  std::shared_ptr<Linear> visual_projection_, text_projection_;
};

}  // namespace kpop::nn
