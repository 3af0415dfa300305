#pragma once

#include <string>
#include <vector>

#include "module.h"

namespace kpop::nn {

/** A learned prompt for some cross-attention layers (KPOP, arXiv 2403.12326, section 3.3). */
struct Prompt {
  enum class Mechanism { concat, additive };

  Tensor value;  // concat: (k, d) or (B, k, d), rows after the text's; additive: (L, d) or (B, L, d)
  Mechanism mechanism = Mechanism::concat;
  std::vector<std::string> layers;  // names out of UNet2DConditionModel::cross_attention_names()
};

/** What the cross-attention layers of one forward read: the text, or the text with the prompt in it. */
class Conditioning {
 public:
  /** @param names the network's cross-attention layers in order; a layer's index here is its `site`
   *  @param text (B, L, d), in the compute dtype
   *  @throws ArgumentError when the prompt's shape does not fit or it names an unknown layer */
  Conditioning(const std::vector<std::string>& names, Tensor text, const Prompt* prompt);

  /** How many texts there are. */
  int64_t size() const { return text_.size(0); }

  /** (B, L, d), or (B, L + k, d) where the prompt was appended. */
  const Tensor& at(size_t site) const { return prompted_sites_[site] ? prompted_ : text_; }

 private:
  Tensor text_, prompted_;
  std::vector<bool> prompted_sites_;
};

}  // namespace kpop::nn
