#include "unet_2d_condition_model.h"

#include <algorithm>

#include "compute_dtype.h"

namespace kpop::nn {
namespace {

/** One entry per level out of a list that may hold a single one for all. */
std::vector<int64_t> per_level(std::vector<int64_t> list, size_t levels, const char* field) {
  check_argument(list.size() == 1 || list.size() == levels, "Expected ", field, " to have 1 or ", levels,
                 " entries but received ", list.size());
  check_argument(std::all_of(list.begin(), list.end(), [](int64_t n) { return n > 0; }), "Expected ", field,
                 " to hold positive numbers");
  if (list.size() == 1) list.assign(levels, list.front());
  return list;
}

/** Whether the block type is the one with attention.  @throws ArgumentError when it is neither */
bool has_attention(const std::string& type, const char* plain, const char* attending) {
  check_argument(type == plain || type == attending, "Expected a block type to be ", plain, " or ", attending,
                 " but received \"", type, "\"");
  return type == attending;
}

UNetConfig checked(UNetConfig c) {
  const auto levels = c.block_out_channels.size();
  check_argument(levels > 0, "Expected block_out_channels to have at least one entry but received none");
  check_argument(c.down_block_types.size() == levels && c.up_block_types.size() == levels,
                 "Expected down_block_types and up_block_types to have ", levels,
                 " entries, as block_out_channels has, but received ", c.down_block_types.size(), " and ",
                 c.up_block_types.size());
  check_argument(c.mid_block_type == "UNetMidBlock2DCrossAttn",
                 "Expected mid_block_type to be UNetMidBlock2DCrossAttn but received \"", c.mid_block_type,
                 "\"");
  check_argument(!c.only_cross_attention, "Expected only_cross_attention to be false but received true");
  check_argument(c.downsample_padding == 0 || c.downsample_padding == 1,
                 "Expected downsample_padding to be 0 or 1 but received ", c.downsample_padding);
  check_argument(c.in_channels > 0 && c.out_channels > 0 && c.cross_attention_dim > 0,
                 "Expected in_channels, out_channels and cross_attention_dim to be positive but received ",
                 c.in_channels, ", ", c.out_channels, " and ", c.cross_attention_dim);
  check_argument(c.mid_block_scale_factor != 0, "Expected mid_block_scale_factor to differ from 0");
  check_argument(c.addition_embed_type.empty() || c.addition_embed_type == "text_time",
                 "Expected addition_embed_type to be text_time or none but received \"",
                 c.addition_embed_type, "\"");
  check_argument(
      c.addition_embed_type.empty() || (c.addition_time_embed_dim > 0 &&
                                        c.projection_class_embeddings_input_dim > c.addition_time_embed_dim),
      "Expected addition_time_embed_dim to be positive and projection_class_embeddings_input_dim to be "
      "more than it, but received ",
      c.addition_time_embed_dim, " and ", c.projection_class_embeddings_input_dim);
  c.block_out_channels = per_level(c.block_out_channels, levels, "block_out_channels");
  c.layers_per_block = per_level(c.layers_per_block, levels, "layers_per_block");
  c.transformer_layers_per_block =
      per_level(c.transformer_layers_per_block, levels, "transformer_layers_per_block");
  c.num_attention_heads = c.num_attention_heads.empty()
                              ? per_level(c.attention_head_dim, levels, "attention_head_dim")
                              : per_level(c.num_attention_heads, levels, "num_attention_heads");
  return c;
}

/** What the blocks of one level have in common. */
UNetBlockOptions level_options(const UNetConfig& c, size_t level, int64_t time_width, Activation act) {
  return {.out_channels = c.block_out_channels[level],
          .layers = c.layers_per_block[level],
          .downsample_padding = c.downsample_padding,
          .resnet = {.time_width = time_width, .groups = c.norm_num_groups, .eps = c.norm_eps, .act = act},
          .transformer = {.heads = c.num_attention_heads[level],
                          .layers = c.transformer_layers_per_block[level],
                          .cross_attention_dim = c.cross_attention_dim,
                          .norm_num_groups = c.norm_num_groups,
                          .use_linear_projection = c.use_linear_projection,
                          .upcast_attention = c.upcast_attention}};
}

}  // namespace

UNet2DConditionModel::UNet2DConditionModel(const UNetConfig& config)
    : Network("UNet2DConditionModel"),
      config_(checked(config)),
      act_(parse_activation(config.act_fn, "act_fn")) {
  const auto& channels = config_.block_out_channels;
  const auto levels = channels.size();
  const int64_t time_width = 4 * channels[0];

  conv_in_ = register_module("conv_in", std::make_shared<Conv2d>(config_.in_channels, channels[0], 3, 1, 1));
  time_embedding_ =
      register_module("time_embedding", std::make_shared<TimestepEmbedding>(channels[0], time_width, act_));
  if (!config_.addition_embed_type.empty())
    add_embedding_ = register_module(
        "add_embedding", std::make_shared<TimestepEmbedding>(config_.projection_class_embeddings_input_dim,
                                                             time_width, Activation::silu));

  // Channels of every skip connection, in the order in which the down path leaves them.
  std::vector<int64_t> skips = {channels[0]};
  down_blocks_ = register_module("down_blocks", std::make_shared<List<UNetDownBlock>>());
  for (size_t i = 0; i < levels; ++i) {
    auto o = level_options(config_, i, time_width, act_);
    o.in_channels = i == 0 ? channels[0] : channels[i - 1];
    o.attention = has_attention(config_.down_block_types[i], "DownBlock2D", "CrossAttnDownBlock2D");
    o.resample = i + 1 < levels;
    skips.insert(skips.end(), o.layers + o.resample, o.out_channels);
    down_blocks_->emplace_back(o);
  }

  auto mid = level_options(config_, levels - 1, time_width, act_);
  mid.in_channels = mid.out_channels;
  mid.layers = 1;
  mid.resnet.output_scale_factor = config_.mid_block_scale_factor;
  mid_block_ = register_module("mid_block", std::make_shared<UNetMidBlock2DCrossAttn>(mid));

  up_blocks_ = register_module("up_blocks", std::make_shared<List<UNetUpBlock>>());
  for (size_t i = 0; i < levels; ++i) {
    const auto level = levels - 1 - i;
    auto o = level_options(config_, level, time_width, act_);
    o.in_channels = i == 0 ? channels[level] : channels[level + 1];
    o.layers += 1;
    o.attention = has_attention(config_.up_block_types[i], "UpBlock2D", "CrossAttnUpBlock2D");
    o.resample = i + 1 < levels;
    o.skip_channels.assign(skips.rbegin(), skips.rbegin() + o.layers);
    skips.resize(skips.size() - o.layers);
    up_blocks_->emplace_back(o);
  }

  conv_norm_out_ = register_module(
      "conv_norm_out", std::make_shared<GroupNorm>(config_.norm_num_groups, channels[0], config_.norm_eps));
  conv_out_ =
      register_module("conv_out", std::make_shared<Conv2d>(channels[0], config_.out_channels, 3, 1, 1));
  number_cross_attention();
  append_steps();
  index_parameters();
}

void UNet2DConditionModel::number_cross_attention() {
  for (const auto& entry : named_modules(/*name_prefix=*/"", /*include_self=*/false)) {
    if (auto* block = dynamic_cast<BasicTransformerBlock*>(entry.value().get())) {
      block->set_site(cross_attention_names_.size());
      cross_attention_names_.push_back(entry.key() + ".attn2");
    }
  }
}

void UNet2DConditionModel::append_steps() {
  steps_.add("conv_in", [this](UNetState& s) {
    s.x = conv_in_->forward(config_.center_input_sample ? 2 * s.x - 1 : s.x);
  });
  steps_.keep_skip();
  for (size_t i = 0; i < down_blocks_->size(); ++i)
    (*down_blocks_)[i].append_steps(steps_, "down_blocks." + std::to_string(i));
  mid_block_->append_steps(steps_, "mid_block");
  for (size_t i = 0; i < up_blocks_->size(); ++i)
    (*up_blocks_)[i].append_steps(steps_, "up_blocks." + std::to_string(i));
  steps_.add("conv_out", [this](UNetState& s) {
    s.x = conv_out_->forward(conv_norm_out_->forward(s.x, act_));
  });
}

void UNet2DConditionModel::check(const UNetInputs& inputs) const {
  const auto& [sample, timesteps, context, prompt, added] = inputs;
  check_argument(sample.dim() == 4 && sample.size(1) == config_.in_channels && sample.is_floating_point(),
                 "Expected sample to be a floating-point tensor of shape (B, ", config_.in_channels,
                 ", h, w) but received ", sample.sizes(), " of ", sample.scalar_type());
  check_argument(timesteps.dim() == 1 && timesteps.size(0) == sample.size(0),
                 "Expected timesteps to have shape [", sample.size(0), "], one per sample, but received ",
                 timesteps.sizes());
  const auto batch = sample.size(0);
  check_argument(context.dim() == 3 && context.size(2) == config_.cross_attention_dim &&
                     (context.size(0) == batch || (!add_embedding_ && batch > 0 && context.size(0) > 0 &&
                                                   context.size(0) % batch == 0)),
                 "Expected context to have shape (", batch, ", L, ", config_.cross_attention_dim, ")",
                 add_embedding_ ? "" : ", or a multiple of that many texts,", " but received ",
                 context.sizes());
  if (prompt) Conditioning(cross_attention_names_, context, &*prompt);
  check_added(inputs);
}

void UNet2DConditionModel::check_added(const UNetInputs& inputs) const {
  const auto& added = inputs.added;
  if (!add_embedding_) {
    check_argument(!added, "Expected no pooled text and time ids: the network takes none");
    return;
  }
  check_argument(added.has_value(), "Expected a pooled text and time ids, which the network takes");
  const auto& [pooled, ids] = *added;
  const auto batch = inputs.sample.size(0), width = config_.projection_class_embeddings_input_dim;
  check_argument(pooled.dim() == 2 && pooled.size(0) == batch && pooled.is_floating_point() &&
                     ids.dim() == 2 && ids.size(0) == batch &&
                     pooled.size(1) + ids.size(1) * config_.addition_time_embed_dim == width,
                 "Expected a pooled text of shape (", batch, ", p) and time ids of shape (", batch,
                 ", n) with p + ", config_.addition_time_embed_dim, " n = ", width, " but received ",
                 pooled.sizes(), " and ", ids.sizes());
}

/** (B, time_width), before the activation that all residual blocks start with. */
Tensor UNet2DConditionModel::time_embedding(const UNetInputs& inputs, at::ScalarType dtype) const {
  const auto features_of = [this, dtype](const Tensor& numbers, int64_t width) {
    return timestep_features(numbers, width, config_.flip_sin_to_cos, config_.freq_shift).to(dtype);
  };
  auto time = time_embedding_->forward(features_of(inputs.timesteps, config_.block_out_channels[0]));
  if (!inputs.added) return time;
  const auto& [pooled, ids] = *inputs.added;
  const auto sizes = features_of(ids.flatten(), config_.addition_time_embed_dim).view({ids.size(0), -1});
  return add_residual(add_embedding_->forward(at::cat({pooled.to(dtype), sizes}, 1)), time);
}

UNetState UNet2DConditionModel::begin(const UNetInputs& inputs) const {
  check_assigned();
  check(inputs);
  const auto dtype = compute_dtype(inputs.sample);
  const auto& prompt = inputs.prompt;
  return {.x = conv_in_->in_layout(inputs.sample.to(dtype)),
          // The residual blocks all start with the same activation of the time, so it is applied once here.
          .time = activate(time_embedding(inputs, dtype), act_),
          .conditioning = {cross_attention_names_, inputs.context.to(dtype), prompt ? &*prompt : nullptr}};
}

Tensor UNet2DConditionModel::forward(const UNetInputs& inputs) const {
  auto state = begin(inputs);
  for (const auto& step : steps()) {
    if (!step.on_request) step.run(state);
  }
  return end(state, inputs);
}

}  // namespace kpop::nn
