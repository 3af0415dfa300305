#pragma once

#include <string>

#include "activation.h"
#include "attention.h"

namespace kpop::nn {

/** What the encoders of both CLIP towers have in common. */
struct CLIPEncoderOptions {
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 1;
  std::string hidden_act = "quick_gelu";
  double layer_norm_eps = 1e-5;
  bool causal = false;  // a token sees none after it
};

/** Multi-head self-attention.  (B, L, width) → same */
class CLIPAttention : public torch::nn::Module {
 public:
  explicit CLIPAttention(const CLIPEncoderOptions& o) : heads_(o.num_attention_heads), causal_(o.causal) {
    const auto projection = [&o] { return std::make_shared<Linear>(o.hidden_size, o.hidden_size); };
    k_proj_ = register_module("k_proj", projection());
    v_proj_ = register_module("v_proj", projection());
    q_proj_ = register_module("q_proj", projection());
    out_proj_ = register_module("out_proj", projection());
  }
  Tensor forward(const Tensor& x) const {
    return out_proj_->forward(
        attend(q_proj_->forward(x), k_proj_->forward(x), v_proj_->forward(x), heads_, causal_));
  }

 private:
  int64_t heads_;
  bool causal_;
  std::shared_ptr<Linear> k_proj_, v_proj_, q_proj_, out_proj_;
};

/** Two linear layers around an activation.  (B, L, width) → same */
class CLIPMLP : public torch::nn::Module {
 public:
  explicit CLIPMLP(const CLIPEncoderOptions& o) : act_(parse_activation(o.hidden_act, "hidden_act")) {
    fc1_ = register_module("fc1", std::make_shared<Linear>(o.hidden_size, o.intermediate_size));
    fc2_ = register_module("fc2", std::make_shared<Linear>(o.intermediate_size, o.hidden_size));
  }
  Tensor forward(const Tensor& x) const { return fc2_->forward(activate(fc1_->forward(x), act_)); }

 private:
  Activation act_;
  std::shared_ptr<Linear> fc1_, fc2_;
};

/** Attention and perceptron, each after a norm and around a residual.  (B, L, width) → same */
class CLIPEncoderLayer : public torch::nn::Module {
 public:
  explicit CLIPEncoderLayer(const CLIPEncoderOptions& o) {
    const auto norm = [&o] { return std::make_shared<LayerNorm>(o.hidden_size, o.layer_norm_eps); };
    self_attn_ = register_module("self_attn", std::make_shared<CLIPAttention>(o));
    layer_norm1_ = register_module("layer_norm1", norm());
    mlp_ = register_module("mlp", std::make_shared<CLIPMLP>(o));
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

/** The layers of one tower.  (B, L, width) → same */
class CLIPEncoder : public torch::nn::Module {
 public:
  /** @throws ArgumentError when a size is not positive or the heads do not divide the width */
  explicit CLIPEncoder(const CLIPEncoderOptions& o) {
    check_argument(o.intermediate_size > 0 && o.num_hidden_layers > 0,
                   "Expected intermediate_size and num_hidden_layers to be positive but received ",
                   o.intermediate_size, " and ", o.num_hidden_layers);
    check_argument(
        o.hidden_size > 0 && o.num_attention_heads > 0 && o.hidden_size % o.num_attention_heads == 0,
        "Expected hidden_size (", o.hidden_size, ") to be a multiple of num_attention_heads, but received ",
        o.num_attention_heads);
    layers_ = register_module("layers", std::make_shared<List<CLIPEncoderLayer>>());
    for (int64_t i = 0; i < o.num_hidden_layers; ++i) layers_->emplace_back(o);
  }
  Tensor forward(Tensor x) const { return forward(std::move(x), 0, size()); }

  /** Layers `first` to `last` - 1 alone. */
  Tensor forward(Tensor x, int64_t first, int64_t last) const {
    for (int64_t i = first; i < last; ++i) x = (*layers_)[i].forward(std::move(x));
    return x;
  }

  int64_t size() const { return static_cast<int64_t>(layers_->size()); }

 private:
  std::shared_ptr<List<CLIPEncoderLayer>> layers_;
};

}  // namespace kpop::nn
