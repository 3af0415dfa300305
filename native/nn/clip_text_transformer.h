#pragma once

#include "clip_encoder.h"
#include "clip_text_model.h"

namespace kpop::nn {

/** CLIP's text tower, without what a network adds to it: token plus position embeddings, the causal layers,
 * the final norm. */
class CLIPTextTransformer : public torch::nn::Module {
 public:
  /** @throws ArgumentError for a configuration that cannot be built */
  explicit CLIPTextTransformer(const CLIPTextConfig& config);

  /** The token embeddings in the dtype of the final norm's weight.  ids (B, L) int64 in [0, vocab_size),
   * which the caller has checked: to look at them here would be to wait for the device → (B, L, hidden_size)
   *  @throws ArgumentError when the shape or the dtype does not fit */
  Tensor embed(const Tensor& ids) const;

  /** @param embeds (B, L, hidden_size); their dtype is the compute dtype   @returns same, after the final
   * norm
   *  @throws ArgumentError when the shape does not fit */
  Tensor forward(const Tensor& embeds) const;

  /** @param skip the layers at the end that `hidden` is before, at least 1
   *  @param whole whether to go on to `last`
   *  @returns the states there, without the final norm, and what forward() gives, or undefined
   *  @throws ArgumentError when the shape does not fit or there are no such layers */
  struct States {
    Tensor hidden, last;
  };
  States forward(const Tensor& embeds, int64_t skip, bool whole) const;

  /** The state at each row's first end token.  ids (B, L), states (B, L, hidden_size) → (B, hidden_size)
   *  @throws ArgumentError when a row has no end */
  Tensor pool(const Tensor& ids, const Tensor& states) const;

 private:
  Tensor with_positions(const Tensor& embeds) const;

  int64_t width_, positions_, eos_token_id_;
  std::shared_ptr<Embedding> token_embedding_, position_embedding_;
  std::shared_ptr<CLIPEncoder> encoder_;
  std::shared_ptr<LayerNorm> final_layer_norm_;
};

}  // namespace kpop::nn
