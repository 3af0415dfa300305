#include "clip_text_model.h"

#include <ATen/ops/arange.h>

#include "clip_text_transformer.h"
#include "compute_dtype.h"

namespace kpop::nn {

CLIPTextTransformer::CLIPTextTransformer(const CLIPTextConfig& c)
    : width_(c.hidden_size), positions_(c.max_position_embeddings) {
  check_argument(c.vocab_size > 0 && c.max_position_embeddings > 0,
                 "Expected vocab_size and max_position_embeddings to be positive but received ", c.vocab_size,
                 " and ", c.max_position_embeddings);
  auto encoder =
      std::make_shared<CLIPEncoder>(CLIPEncoderOptions{.hidden_size = c.hidden_size,
                                                       .intermediate_size = c.intermediate_size,
                                                       .num_hidden_layers = c.num_hidden_layers,
                                                       .num_attention_heads = c.num_attention_heads,
                                                       .hidden_act = c.hidden_act,
                                                       .layer_norm_eps = c.layer_norm_eps,
                                                       .causal = true});
  const auto table = [&c](int64_t rows) { return std::make_shared<Embedding>(rows, c.hidden_size); };
  auto embeddings = register_module("embeddings", std::make_shared<torch::nn::Module>());
  token_embedding_ = embeddings->register_module("token_embedding", table(c.vocab_size));
  position_embedding_ = embeddings->register_module("position_embedding", table(c.max_position_embeddings));
  encoder_ = register_module("encoder", std::move(encoder));
  final_layer_norm_ =
      register_module("final_layer_norm", std::make_shared<LayerNorm>(c.hidden_size, c.layer_norm_eps));
}

Tensor CLIPTextTransformer::embed(const Tensor& ids) const {
  check_argument(ids.defined() && ids.dim() == 2 && ids.numel() > 0 && ids.scalar_type() == at::kLong,
                 "Expected input_ids to be an int64 tensor of shape (B, L)");
  return token_embedding_->forward(ids, final_layer_norm_->slot(0).scalar_type());
}

Tensor CLIPTextTransformer::forward(const Tensor& embeds) const {
  check_argument(embeds.dim() == 3 && embeds.size(2) == width_ && embeds.is_floating_point(),
                 "Expected inputs_embeds to be a floating-point tensor of shape (B, L, ", width_,
                 ") but received ", embeds.sizes(), " of ", embeds.scalar_type());
  check_argument(embeds.size(1) <= positions_, "Expected at most ", positions_, " tokens but received ",
                 embeds.size(1));
  const auto positions = at::arange(embeds.size(1), embeds.options().dtype(at::kLong));
  const auto x = embeds + position_embedding_->forward(positions, embeds.scalar_type());
  return final_layer_norm_->forward(encoder_->forward(x));
}

CLIPTextModel::CLIPTextModel(const CLIPTextConfig& config) : Network("CLIPTextModel"), config_(config) {
  text_model_ = register_module("text_model", std::make_shared<CLIPTextTransformer>(config_));
  index_parameters();
}

Tensor CLIPTextModel::embed_tokens(const Tensor& input_ids) const {
  check_assigned();
  return text_model_->embed(input_ids);
}

Tensor CLIPTextModel::forward(const Tensor& input_ids, const std::optional<Tensor>& inputs_embeds) const {
  check_assigned();
  const auto embeds = inputs_embeds ? *inputs_embeds : text_model_->embed(input_ids);
  if (inputs_embeds && input_ids.defined()) {
    check_argument(embeds.dim() == 3 && embeds.sizes().slice(0, 2) == input_ids.sizes(),
                   "Expected inputs_embeds for input_ids of shape ", input_ids.sizes(), " but received ",
                   embeds.sizes());
  }
  return text_model_->forward(embeds.to(compute_dtype(embeds))).to(embeds.scalar_type());
}

}  // namespace kpop::nn
