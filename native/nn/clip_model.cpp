#include "clip_model.h"

#include <ATen/TensorIndexing.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>

#include "clip_text_transformer.h"
#include "compute_dtype.h"

namespace kpop::nn {
namespace {

/** Patches as tokens behind a class token, with their positions.
 *  pixels (B, channels, size, size) → (B, 1 + (size / patch)², width) */
class CLIPVisionEmbeddings : public Leaf {
 public:
  explicit CLIPVisionEmbeddings(const CLIPVisionConfig& c) {
    const int64_t patches = (c.image_size / c.patch_size) * (c.image_size / c.patch_size);
    declare("class_embedding", {c.hidden_size});
    patch_embedding_ = register_module(
        "patch_embedding", std::make_shared<Conv2d>(c.num_channels, c.hidden_size, c.patch_size, c.patch_size,
                                                    /*padding=*/0, /*bias=*/false));
    position_embedding_ =
        register_module("position_embedding", std::make_shared<Embedding>(patches + 1, c.hidden_size));
  }
  Tensor forward(const Tensor& pixels) const {
    const auto patches = patch_embedding_->forward(patch_embedding_->in_layout(pixels)).flatten(2).mT();
    const auto classes = cast(0, pixels.scalar_type()).expand({pixels.size(0), 1, -1});
    const auto tokens = at::cat({classes, patches}, 1);
    const auto positions = at::arange(tokens.size(1), tokens.options().dtype(at::kLong));
    return tokens + position_embedding_->forward(positions, tokens.scalar_type());
  }

 private:
  std::shared_ptr<Conv2d> patch_embedding_;
  std::shared_ptr<Embedding> position_embedding_;
};

const CLIPVisionConfig& checked(const CLIPVisionConfig& c) {
  check_argument(c.num_channels > 0 && c.patch_size > 0 && c.image_size >= c.patch_size,
                 "Expected num_channels and patch_size to be positive and image_size at least patch_size but "
                 "received ",
                 c.num_channels, ", ", c.patch_size, " and ", c.image_size);
  return c;
}

}  // namespace

/** CLIP's vision tower (a ViT).  (B, channels, size, size) → the class token after the last norm, (B, width)
 */
class CLIPVisionTransformer : public torch::nn::Module {
 public:
  explicit CLIPVisionTransformer(const CLIPVisionConfig& c) {
    auto encoder =
        std::make_shared<CLIPEncoder>(CLIPEncoderOptions{.hidden_size = c.hidden_size,
                                                         .intermediate_size = c.intermediate_size,
                                                         .num_hidden_layers = c.num_hidden_layers,
                                                         .num_attention_heads = c.num_attention_heads,
                                                         .hidden_act = c.hidden_act,
                                                         .layer_norm_eps = c.layer_norm_eps,
                                                         .causal = false});
    const auto norm = [&c] { return std::make_shared<LayerNorm>(c.hidden_size, c.layer_norm_eps); };
    embeddings_ = register_module("embeddings", std::make_shared<CLIPVisionEmbeddings>(checked(c)));
    pre_layrnorm_ = register_module("pre_layrnorm", norm());  // the checkpoints' spelling
    encoder_ = register_module("encoder", std::move(encoder));
    post_layernorm_ = register_module("post_layernorm", norm());
  }
  Tensor forward(const Tensor& pixels) const {
    const auto tokens = encoder_->forward(pre_layrnorm_->forward(embeddings_->forward(pixels)));
    return post_layernorm_->forward(tokens.select(1, 0));
  }

 private:
  std::shared_ptr<CLIPVisionEmbeddings> embeddings_;
  std::shared_ptr<CLIPEncoder> encoder_;
  std::shared_ptr<LayerNorm> pre_layrnorm_, post_layernorm_;
};

CLIPModel::CLIPModel(const CLIPConfig& config) : Network("CLIPModel"), config_(config) {
  const auto& c = config_;
  check_argument(c.projection_dim > 0, "Expected projection_dim to be positive but received ",
                 c.projection_dim);
  const auto projection = [&c](int64_t width) {
    return std::make_shared<Linear>(width, c.projection_dim, /*bias=*/false);
  };
  declare("logit_scale", {});
  text_model_ = register_module("text_model", std::make_shared<CLIPTextTransformer>(c.text_config));
  vision_model_ = register_module("vision_model", std::make_shared<CLIPVisionTransformer>(c.vision_config));
  visual_projection_ = register_module("visual_projection", projection(c.vision_config.hidden_size));
  text_projection_ = register_module("text_projection", projection(c.text_config.hidden_size));
  index_parameters();
}

Tensor CLIPModel::text_features(const Tensor& input_ids) const {
  check_assigned();
  const auto embeds = text_model_->embed(input_ids);
  const auto states = text_model_->forward(embeds.to(compute_dtype(embeds)));  // (B, L, width)
  return text_projection_->forward(text_model_->pool(input_ids, states)).to(embeds.scalar_type());
}

Tensor CLIPModel::image_features(const Tensor& pixels) const {
  check_assigned();
  const auto& c = config_.vision_config;
  check_argument(pixels.dim() == 4 && pixels.size(1) == c.num_channels && pixels.size(2) == c.image_size &&
                     pixels.size(3) == c.image_size && pixels.size(0) > 0 && pixels.is_floating_point(),
                 "Expected pixels to be a floating-point tensor of shape (B, ", c.num_channels, ", ",
                 c.image_size, ", ", c.image_size, ") but received ", pixels.sizes(), " of ",
                 pixels.scalar_type());
  const auto pooled = vision_model_->forward(pixels.to(compute_dtype(pixels)));
  return visual_projection_->forward(pooled).to(pixels.scalar_type());
}

}  // namespace kpop::nn
