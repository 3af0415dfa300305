#include "clip_text_model.h"

#include <ATen/TensorIndexing.h>
#include <ATen/ops/arange.h>

#include "clip_text_transformer.h"
#include "compute_dtype.h"

namespace kpop::nn {

CLIPTextTransformer::CLIPTextTransformer(const CLIPTextConfig& c)
    : width_(c.hidden_size), positions_(c.max_position_embeddings), eos_token_id_(c.eos_token_id) {
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

Tensor CLIPTextTransformer::with_positions(const Tensor& embeds) const {
  check_argument(embeds.dim() == 3 && embeds.size(2) == width_ && embeds.is_floating_point(),
                 "Expected inputs_embeds to be a floating-point tensor of shape (B, L, ", width_,
                 ") but received ", embeds.sizes(), " of ", embeds.scalar_type());
  check_argument(embeds.size(1) <= positions_, "Expected at most ", positions_, " tokens but received ",
                 embeds.size(1));
  const auto positions = at::arange(embeds.size(1), embeds.options().dtype(at::kLong));
  return embeds + position_embedding_->forward(positions, embeds.scalar_type());
}

Tensor CLIPTextTransformer::forward(const Tensor& embeds) const {
  return final_layer_norm_->forward(encoder_->forward(with_positions(embeds)));
}

CLIPTextTransformer::States CLIPTextTransformer::forward(const Tensor& embeds, int64_t skip,
                                                         bool whole) const {
  const auto layers = encoder_->size(), end = layers - skip;
  check_argument(skip >= 1 && end >= 0, "Expected to skip 1 to ", layers, " layers but received ", skip);
  const auto hidden = encoder_->forward(with_positions(embeds), 0, end);
  if (!whole) return {hidden, {}};
  return {hidden, final_layer_norm_->forward(encoder_->forward(hidden, end, layers))};
}

Tensor CLIPTextTransformer::pool(const Tensor& ids, const Tensor& states) const {
  const auto rows = at::arange(ids.size(0), ids.options());
  // Configurations from before transformers 4.31 say 2, which never was the end token: theirs has the highest
  // id.
  if (eos_token_id_ == 2) return states.index({rows, ids.argmax(1)});
  const auto ends = ids.eq(eos_token_id_);
  check_argument(ends.any(1).all().item<bool>(), "Expected every text to have the end token ", eos_token_id_,
                 " (eos_token_id)");
  return states.index({rows, ends.to(at::kInt).argmax(1)});
}

CLIPTextModel::CLIPTextModel(const CLIPTextConfig& config) : Network("CLIPTextModel"), config_(config) {
  check_argument(config_.projection_dim >= 0,
                 "Expected projection_dim to be positive, or 0 for none, but received ",
                 config_.projection_dim);
  text_model_ = register_module("text_model", std::make_shared<CLIPTextTransformer>(config_));
  if (config_.projection_dim > 0)
    text_projection_ = register_module(
        "text_projection",
        std::make_shared<Linear>(config_.hidden_size, config_.projection_dim, /*bias=*/false));
  index_parameters();
}

Tensor CLIPTextModel::embed_tokens(const Tensor& input_ids) const {
  check_assigned();
  return text_model_->embed(input_ids);
}

Tensor CLIPTextModel::embeds_of(const Tensor& input_ids, const std::optional<Tensor>& inputs_embeds) const {
  check_assigned();
  const auto embeds = inputs_embeds ? *inputs_embeds : text_model_->embed(input_ids);
  if (inputs_embeds && input_ids.defined()) {
    check_argument(embeds.dim() == 3 && embeds.sizes().slice(0, 2) == input_ids.sizes(),
                   "Expected inputs_embeds for input_ids of shape ", input_ids.sizes(), " but received ",
                   embeds.sizes());
  }
  return embeds;
}

Tensor CLIPTextModel::forward(const Tensor& input_ids, const std::optional<Tensor>& inputs_embeds) const {
  const auto embeds = embeds_of(input_ids, inputs_embeds);
  return text_model_->forward(embeds.to(compute_dtype(embeds))).to(embeds.scalar_type());
}

CLIPTextModel::States CLIPTextModel::hidden_states(const Tensor& input_ids,
                                                   const std::optional<Tensor>& inputs_embeds,
                                                   int64_t skip) const {
  const auto embeds = embeds_of(input_ids, inputs_embeds);
  const auto dtype = embeds.scalar_type();
  const bool pools = text_projection_ != nullptr;
  const auto [hidden, last] = text_model_->forward(embeds.to(compute_dtype(embeds)), skip, pools);
  if (!pools) return {hidden.to(dtype), {}};
  return {hidden.to(dtype), text_projection_->forward(text_model_->pool(input_ids, last)).to(dtype)};
}

}  // namespace kpop::nn
