#include "clip_text_model.h"

#include <ATen/ops/arange.h>

#include "activation.h"
#include "attention.h"
#include "compute_dtype.h"

namespace kpop::nn {
namespace {

/** Causal self-attention.  (B, L, width) → same */
class CLIPAttention : public torch::nn::Module {
 public:
  CLIPAttention(int64_t width, int64_t heads) : heads_(heads) {
    k_proj_ = register_module("k_proj", std::make_shared<Linear>(width, width));
    v_proj_ = register_module("v_proj", std::make_shared<Linear>(width, width));
    q_proj_ = register_module("q_proj", std::make_shared<Linear>(width, width));
    out_proj_ = register_module("out_proj", std::make_shared<Linear>(width, width));
  }
  Tensor forward(const Tensor& x) const {
    return out_proj_->forward(
        attend(q_proj_->forward(x), k_proj_->forward(x), v_proj_->forward(x), heads_, /*causal=*/true));
  }

 private:
  int64_t heads_;
  std::shared_ptr<Linear> k_proj_, v_proj_, q_proj_, out_proj_;
};

/** Two linear layers around an activation.  (B, L, width) → same */
class CLIPMLP : public torch::nn::Module {
 public:
  CLIPMLP(int64_t width, int64_t inner, Activation act) : act_(act) {
    fc1_ = register_module("fc1", std::make_shared<Linear>(width, inner));
    fc2_ = register_module("fc2", std::make_shared<Linear>(inner, width));
  }
  Tensor forward(const Tensor& x) const { return fc2_->forward(activate(fc1_->forward(x), act_)); }

 private:
  Activation act_;
  std::shared_ptr<Linear> fc1_, fc2_;
};

/** (B, L, width) → same */
class CLIPEncoderLayer : public torch::nn::Module {
 public:
  explicit CLIPEncoderLayer(const CLIPTextConfig& c) {
    const auto norm = [&c] { return std::make_shared<LayerNorm>(c.hidden_size, c.layer_norm_eps); };
    self_attn_ =
        register_module("self_attn", std::make_shared<CLIPAttention>(c.hidden_size, c.num_attention_heads));
    layer_norm1_ = register_module("layer_norm1", norm());
    mlp_ = register_module("mlp", std::make_shared<CLIPMLP>(c.hidden_size, c.intermediate_size,
                                                            parse_activation(c.hidden_act, "hidden_act")));
    layer_norm2_ = register_module("layer_norm2", norm());
  }
  Tensor forward(Tensor x) const {
    x = add_residual(self_attn_->forward(layer_norm1_->forward(x)), x);
    return add_residual(mlp_->forward(layer_norm2_->forward(x)), x);
  }

 private:
  std::shared_ptr<CLIPAttention> self_attn_;
  std::shared_ptr<CLIPMLP> mlp_;
  std::shared_ptr<LayerNorm> layer_norm1_, layer_norm2_;
};

}  // namespace

/** Token plus position embeddings, the layers, the final norm. */
class CLIPTextTransformer : public torch::nn::Module {
 public:
  explicit CLIPTextTransformer(const CLIPTextConfig& c) {
    auto embeddings = register_module("embeddings", std::make_shared<torch::nn::Module>());
    token_embedding_ = embeddings->register_module("token_embedding",
                                                   std::make_shared<Embedding>(c.vocab_size, c.hidden_size));
    position_embedding_ = embeddings->register_module(
        "position_embedding", std::make_shared<Embedding>(c.max_position_embeddings, c.hidden_size));
    auto encoder = register_module("encoder", std::make_shared<torch::nn::Module>());
    layers_ = encoder->register_module("layers", std::make_shared<List<CLIPEncoderLayer>>());
    for (int64_t i = 0; i < c.num_hidden_layers; ++i) layers_->emplace_back(c);
    final_layer_norm_ =
        register_module("final_layer_norm", std::make_shared<LayerNorm>(c.hidden_size, c.layer_norm_eps));
  }

  Tensor embed(const Tensor& ids) const {
    return token_embedding_->forward(ids, final_layer_norm_->slot(0).scalar_type());
  }

  Tensor forward(const Tensor& embeds) const {
    const auto positions = at::arange(embeds.size(1), embeds.options().dtype(at::kLong));
    auto x = embeds + position_embedding_->forward(positions, embeds.scalar_type());
    for (size_t i = 0; i < layers_->size(); ++i) x = (*layers_)[i].forward(x);
    return final_layer_norm_->forward(x);
  }

 private:
  std::shared_ptr<Embedding> token_embedding_, position_embedding_;
  std::shared_ptr<List<CLIPEncoderLayer>> layers_;
  std::shared_ptr<LayerNorm> final_layer_norm_;
};

CLIPTextModel::CLIPTextModel(const CLIPTextConfig& config) : Network("CLIPTextModel"), config_(config) {
  const auto& c = config_;
  check_argument(
      c.vocab_size > 0 && c.intermediate_size > 0 && c.num_hidden_layers > 0 && c.max_position_embeddings > 0,
      "Expected vocab_size, intermediate_size, num_hidden_layers and max_position_embeddings to be "
      "positive but received ",
      c.vocab_size, ", ", c.intermediate_size, ", ", c.num_hidden_layers, " and ", c.max_position_embeddings);
  check_argument(c.hidden_size > 0 && c.num_attention_heads > 0 && c.hidden_size % c.num_attention_heads == 0,
                 "Expected hidden_size (", c.hidden_size,
                 ") to be a multiple of num_attention_heads, but received ", c.num_attention_heads);
  text_model_ = register_module("text_model", std::make_shared<CLIPTextTransformer>(c));
  index_parameters();
}

Tensor CLIPTextModel::embed_tokens(const Tensor& input_ids) const {
  check_assigned();
  check_argument(input_ids.defined() && input_ids.dim() == 2 && input_ids.scalar_type() == at::kLong,
                 "Expected input_ids to be an int64 tensor of shape (B, L)");
  // On a GPU an id out of range would abort the device, not throw.
  const auto [lowest, highest] = input_ids.aminmax();
  check_argument(lowest.item<int64_t>() >= 0 && highest.item<int64_t>() < config_.vocab_size,
                 "Expected input_ids from 0 to ", config_.vocab_size - 1, " but received ",
                 lowest.item<int64_t>(), " to ", highest.item<int64_t>());
  return text_model_->embed(input_ids);
}

Tensor CLIPTextModel::forward(const Tensor& input_ids, const std::optional<Tensor>& inputs_embeds) const {
  check_assigned();
  const auto embeds = inputs_embeds ? *inputs_embeds : embed_tokens(input_ids);
  check_argument(embeds.dim() == 3 && embeds.size(2) == config_.hidden_size && embeds.is_floating_point(),
                 "Expected inputs_embeds to be a floating-point tensor of shape (B, L, ", config_.hidden_size,
                 ") but received ", embeds.sizes(), " of ", embeds.scalar_type());
  check_argument(embeds.size(1) <= config_.max_position_embeddings, "Expected at most ",
                 config_.max_position_embeddings, " tokens but received ", embeds.size(1));
  return text_model_->forward(embeds.to(compute_dtype(embeds))).to(embeds.scalar_type());
}

}  // namespace kpop::nn
