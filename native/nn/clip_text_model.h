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
};

class CLIPTextTransformer;

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

  /** The token embeddings alone, to be changed and passed as `inputs_embeds`.  (B, L) → (B, L, hidden_size)
   */
  Tensor embed_tokens(const Tensor& input_ids) const;

  const CLIPTextConfig& config() const { return config_; }

 private:
  CLIPTextConfig config_;
  std::shared_ptr<CLIPTextTransformer> text_model_;
};

}  // namespace kpop::nn
