#pragma once

#include <optional>
#include <string>

#include "module.h"

namespace kpop::nn {

/** Fields of transformers' config.json; the defaults are Stable Diffusion 1.4's (CLIP ViT-L/14). */
struct CLIPTextConfig {
  int64_t vocab_size = 49408;
  int64_t hidden_size = 768;
  int64_t intermediate_size = 3072;
  int64_t num_hidden_layers = 12;
  int64_t num_attention_heads = 12;
  int64_t max_position_embeddings = 77;
  std::string hidden_act = "quick_gelu";
  double layer_norm_eps = 1e-5;
  int64_t eos_token_id = 49407;  // 2: the token with the highest id ends a text
  int64_t projection_dim = 0;    // of what CLIPTextModel pools; 0: it has no projection
};

class CLIPTextTransformer;
class Linear;

/** CLIP's text tower: a causal pre-norm transformer (Radford et al. 2021, arXiv 2103.00020). */
class CLIPTextModel : public Network {
 public:
  /** @throws ArgumentError for a configuration that cannot be built */
  explicit CLIPTextModel(const CLIPTextConfig& config = {});

  /** @param input_ids (B, L) int64 in [0, vocab_size), L at most max_position_embeddings
   *  @param inputs_embeds (B, L, hidden_size), used in place of the ids' embeddings; its dtype is the compute
   *    dtype, otherwise that of the final norm's weight is. `input_ids` may then be undefined; if not, its
   * shape is compared.
   *  @returns last hidden state after the final norm, (B, L, hidden_size)
   *  @throws ArgumentError when a shape does not fit or a parameter has no data */
  Tensor forward(const Tensor& input_ids, const std::optional<Tensor>& inputs_embeds = std::nullopt) const;

  struct States {
    Tensor hidden;  // (B, L, hidden_size), before the last layers and without the final norm
    Tensor pooled;  // (B, projection_dim): the last state at each text's end, projected; else undefined
  };
  /** What Stable Diffusion XL reads of a text.
   *  @param input_ids, inputs_embeds as for forward(); the ids are needed where there is a projection
   *  @param skip how many layers at the end `hidden` is before, at least 1
   *  @throws ArgumentError as forward(), and when a text has no end */
  States hidden_states(const Tensor& input_ids, const std::optional<Tensor>& inputs_embeds,
                       int64_t skip) const;

  /** The token embeddings alone, to be changed and passed as `inputs_embeds`.  (B, L) → (B, L, hidden_size)
   */
  Tensor embed_tokens(const Tensor& input_ids) const;

  const CLIPTextConfig& config() const { return config_; }

 private:
  Tensor embeds_of(const Tensor& input_ids, const std::optional<Tensor>& inputs_embeds) const;

  CLIPTextConfig config_;
  std::shared_ptr<CLIPTextTransformer> text_model_;
  std::shared_ptr<Linear> text_projection_;
};

}  // namespace kpop::nn
