#pragma once

#include <cstddef>

#include "activation.h"
#include "attention.h"
#include "unet_steps.h"

namespace kpop::nn {

/** One Linear for values and gates: values · gelu(gates) (Shazeer 2020, GEGLU).  (..., in) → (..., out) */
class GEGLU : public torch::nn::Module {
 public:
  GEGLU(int64_t in, int64_t out) { proj_ = register_module("proj", std::make_shared<Linear>(in, 2 * out)); }
  Tensor forward(const Tensor& x) const {
    // Two products instead of one split in two: what follows reads contiguous memory (0.7 of the time in all
    // at 4096 × 320 on a CPU), and backward joins no halves.
    auto [values, gates] = proj_->forward_halves(x);
    return multiply_by_gelu(std::move(values), std::move(gates));
  }

 private:
  std::shared_ptr<Linear> proj_;
};

/** GEGLU to four times the width and back; diffusers numbers its parts 0 and 2, dropout being 1. */
class FeedForward : public torch::nn::Module {
 public:
  explicit FeedForward(int64_t width) {
    auto net = register_module("net", std::make_shared<torch::nn::Module>());
    geglu_ = net->register_module("0", std::make_shared<GEGLU>(width, 4 * width));
    out_ = net->register_module("2", std::make_shared<Linear>(4 * width, width));
  }
  /** (B, N, width) → (B, N, 4 · width), which is what `out` takes back to (B, N, width) */
  Tensor geglu(const Tensor& x) const { return geglu_->forward(x); }
  Tensor out(const Tensor& hidden) const { return out_->forward(hidden); }

 private:
  std::shared_ptr<GEGLU> geglu_;
  std::shared_ptr<Linear> out_;
};

/** Shape and options of one transformer site of the UNet. */
struct TransformerOptions {
  int64_t channels = 0;
  int64_t heads = 8;
  int64_t layers = 1;
  int64_t cross_attention_dim = 768;
  int64_t norm_num_groups = 32;
  bool use_linear_projection = false;
  bool upcast_attention = false;
};

/** Self-attention, cross-attention and feed-forward, each on a LayerNorm and added to its input, the tokens
 *  (B, N, channels). */
class BasicTransformerBlock : public torch::nn::Module {
 public:
  explicit BasicTransformerBlock(const TransformerOptions& o) {
    const AttentionOptions self{.width = o.channels, .heads = o.heads, .upcast = o.upcast_attention};
    auto cross = self;
    cross.context_width = o.cross_attention_dim;
    norm1_ = register_module("norm1", std::make_shared<LayerNorm>(o.channels));
    attn1_ = register_module("attn1", std::make_shared<Attention>(self));
    norm2_ = register_module("norm2", std::make_shared<LayerNorm>(o.channels));
    attn2_ = register_module("attn2", std::make_shared<Attention>(cross));
    norm3_ = register_module("norm3", std::make_shared<LayerNorm>(o.channels));
    ff_ = register_module("ff", std::make_shared<FeedForward>(o.channels));
  }

  /** Position of attn2 among the network's cross-attention layers. */
  void set_site(size_t site) { site_ = site; }

  void append_steps(Steps& steps, const std::string& name) const {
    append_attention(steps, name + ".attn1", *norm1_, *attn1_,
                     [](const UNetState&, const Tensor& normed) { return normed; });
    if (site_ == 0) steps.add("", [](UNetState& s) { s.meet_texts(); });
    append_attention(steps, name + ".attn2", *norm2_, *attn2_,
                     [this](const UNetState& s, const Tensor&) { return s.conditioning.at(site_); });
    steps.add(
        name + ".ff.net.0", [this](UNetState& s) { s.branch = ff_->geglu(norm3_->forward(s.x)); },
        UNetState::to_add);
    steps.add(name + ".ff", [this](UNetState& s) { s.branch = ff_->out(s.branch); }, UNetState::to_add);
    steps.add(name, add_branch);
  }

 private:
  static void add_branch(UNetState& s) { s.x = add_residual(std::move(s.branch), s.x); }

  /** @param context of a state and its normed tokens: what the layer attends to */
  template <class Context>
  static void append_attention(Steps& steps, const std::string& name, const LayerNorm& norm,
                               const Attention& attention, Context context) {
    steps.add_on_request(
        name + ".probabilities",
        [&norm, &attention, context](UNetState& s) {
          const auto normed = norm.forward(s.x);
          s.probabilities = attention.probabilities(normed, context(s, normed));
        },
        UNetState::attention);
    steps.add(
        name,
        [&norm, &attention, context](UNetState& s) {
          const auto normed = norm.forward(s.x);
          const auto given = std::exchange(s.probabilities, {});
          s.branch = given.defined() ? attention.forward_with(given, context(s, normed))
                                     : attention.forward(normed, context(s, normed));
        },
        UNetState::to_add);
    steps.add("", add_branch);
  }

  size_t site_ = 0;
  std::shared_ptr<LayerNorm> norm1_, norm2_, norm3_;
  std::shared_ptr<Attention> attn1_, attn2_;
  std::shared_ptr<FeedForward> ff_;
};

/** Transformer blocks over the pixels of a feature map (B, channels, h, w), added to it. */
class Transformer2DModel : public torch::nn::Module {
 public:
  explicit Transformer2DModel(const TransformerOptions& o) {
    norm_ = register_module("norm", std::make_shared<GroupNorm>(o.norm_num_groups, o.channels, 1e-6));
    proj_in_ = projection("proj_in", o);
    blocks_ = register_module("transformer_blocks", std::make_shared<List<BasicTransformerBlock>>());
    for (int64_t i = 0; i < o.layers; ++i) blocks_->emplace_back(o);
    proj_out_ = projection("proj_out", o);
  }

  void append_steps(Steps& steps, const std::string& name) const {
    steps.add("", [this](UNetState& s) {
      s.residual = std::move(s.x);
      // In channels-last memory neither this reordering nor the one back copies anything.
      const auto tokens =
          norm_->forward(s.residual).permute({0, 2, 3, 1}).flatten(1, 2);  // (B, h·w, channels)
      s.x = proj_in_.forward(tokens);
    });
    for (size_t i = 0; i < blocks_->size(); ++i)
      (*blocks_)[i].append_steps(steps, name + ".transformer_blocks." + std::to_string(i));
    steps.add(name, [this](UNetState& s) {
      const auto height = s.residual.size(2), width = s.residual.size(3);
      const auto added = proj_out_.forward(s.x).unflatten(1, {height, width}).permute({0, 3, 1, 2});
      s.x = add_residual(std::move(s.residual), added);
    });
  }

 private:
  /** Linear, or the 1×1 convolution that older checkpoints store: the same map, weights of another shape. */
  struct Projection {
    std::shared_ptr<Linear> linear;
    std::shared_ptr<Conv2d> conv;
    Tensor forward(const Tensor& x) const { return linear ? linear->forward(x) : conv->forward_tokens(x); }
  };
  Projection projection(const char* name, const TransformerOptions& o) {
    if (o.use_linear_projection)
      return {register_module(name, std::make_shared<Linear>(o.channels, o.channels)), nullptr};
    return {nullptr, register_module(name, std::make_shared<Conv2d>(o.channels, o.channels, 1))};
  }

  std::shared_ptr<GroupNorm> norm_;
  Projection proj_in_, proj_out_;
  std::shared_ptr<List<BasicTransformerBlock>> blocks_;
};

}  // namespace kpop::nn
