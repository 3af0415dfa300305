#pragma once

#include <optional>
#include <string>
#include <vector>

#include "embeddings.h"
#include "unet_blocks.h"

namespace kpop::nn {

/** Fields of diffusers' config.json; the defaults are diffusers' own. The lists marked "per level" hold one
 *  entry for all levels or one for each. */
struct UNetConfig {
  int64_t in_channels = 4;
  int64_t out_channels = 4;
  bool center_input_sample = false;
  bool flip_sin_to_cos = true;
  double freq_shift = 0;
  std::vector<std::string> down_block_types = {"CrossAttnDownBlock2D", "CrossAttnDownBlock2D",
                                               "CrossAttnDownBlock2D", "DownBlock2D"};
  std::string mid_block_type = "UNetMidBlock2DCrossAttn";
  std::vector<std::string> up_block_types = {"UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D",
                                             "CrossAttnUpBlock2D"};
  bool only_cross_attention = false;  // true is not supported
  std::vector<int64_t> block_out_channels = {320, 640, 1280, 1280};
  std::vector<int64_t> layers_per_block = {2};  // per level
  int64_t downsample_padding = 1;
  double mid_block_scale_factor = 1;
  std::string act_fn = "silu";
  int64_t norm_num_groups = 32;
  double norm_eps = 1e-5;
  int64_t cross_attention_dim = 1280;
  std::vector<int64_t> transformer_layers_per_block = {1};  // per level
  std::vector<int64_t> attention_head_dim = {8};            // per level; despite its name the number of heads
  std::vector<int64_t> num_attention_heads = {};  // per level; when given it replaces attention_head_dim
  bool use_linear_projection = false;
  bool upcast_attention = false;
  std::string addition_embed_type = "";  // "text_time": the forward takes AddedConditions; "": nothing else
  int64_t addition_time_embed_dim = 0;   // of text_time: features of each number
  int64_t projection_class_embeddings_input_dim = 0;  // of text_time: pooled width plus those of all numbers
};

/** What a network of Stable Diffusion XL is told beside text and time (Podell et al. 2023, arXiv 2307.01952,
 *  section 2.2). */
struct AddedConditions {
  Tensor pooled;    // (B, p), the text as one vector, cast to the compute dtype
  Tensor time_ids;  // (B, n), numbers that are embedded as timesteps are: sizes and crop
};

/** What a forward of the UNet reads beside the parameters. A network that takes no AddedConditions may be given
 *  n·B texts for B samples: all samples under the first B texts, then all under the next, and so on. What comes
 *  before the first cross-attention is computed once for all of them. */
struct UNetInputs {
  Tensor sample;                   // (B, in_channels, h, w), any h and w >= 1; its dtype is the compute dtype
  Tensor timesteps;                // (B), integers or floats
  Tensor context;                  // (n·B, L, cross_attention_dim), cast to the compute dtype
  std::optional<Prompt> prompt{};  // put into the context of the layers it names
  std::optional<AddedConditions> added{};  // where addition_embed_type is text_time, and there alone
};

/** The noise predictor of Stable Diffusion 1.x, 2.x and XL (Rombach et al. 2022, arXiv 2112.10752). */
class UNet2DConditionModel : public Network {
 public:
  /** @throws ArgumentError for a configuration outside this family */
  explicit UNet2DConditionModel(const UNetConfig& config = {});

  /** @returns (n·B, out_channels, h, w) in the sample's dtype
   *  @throws ArgumentError when a shape does not fit, a layer is unknown or a parameter has no data */
  Tensor forward(const UNetInputs& inputs) const;

  // The same in parts: begin(), every step but those on request, end().
  UNetState begin(const UNetInputs& inputs) const;
  const std::vector<Step>& steps() const { return steps_.list(); }
  static Tensor end(const UNetState& state, const UNetInputs& inputs) {
    return state.x.to(inputs.sample.scalar_type());
  }

  /** Whether the inputs fit; tensors without data are enough.  @throws ArgumentError as forward() does */
  void check(const UNetInputs& inputs) const;

  /** Full names of the attn2 modules in the order in which a forward meets them: down, mid, up. */
  const std::vector<std::string>& cross_attention_names() const { return cross_attention_names_; }

  const UNetConfig& config() const { return config_; }

 private:
  void number_cross_attention();
  void check_added(const UNetInputs& inputs) const;
  Tensor time_embedding(const UNetInputs& inputs, at::ScalarType dtype) const;
  void append_steps();

  UNetConfig config_;
  Activation act_;
  std::vector<std::string> cross_attention_names_;
  std::shared_ptr<Conv2d> conv_in_, conv_out_;
  std::shared_ptr<TimestepEmbedding> time_embedding_, add_embedding_;
  std::shared_ptr<List<UNetDownBlock>> down_blocks_;
  std::shared_ptr<UNetMidBlock2DCrossAttn> mid_block_;
  std::shared_ptr<List<UNetUpBlock>> up_blocks_;
  std::shared_ptr<GroupNorm> conv_norm_out_;
  Steps steps_;  // they refer to the modules above
};

}  // namespace kpop::nn
