#include "bindings/module_config.h"

#include "bindings/arguments.h"
#include "nn/autoencoder_kl.h"
#include "nn/clip_model.h"
#include "nn/inception_v3.h"
#include "nn/lpips.h"
#include "nn/resnet_classifier.h"
#include "nn/unet_2d_condition_model.h"

namespace kpop {
namespace {

/** Copies fields of a JavaScript object into a struct; the member's type decides how each is read. */
class Fields {
 public:
  explicit Fields(Napi::Object object) : object_(object) {}

  void read(const char* name, std::string& field) const { field = string_argument(object_.Get(name), name); }
  void read(const char* name, double& field) const { field = number_argument(object_.Get(name), name); }
  void read(const char* name, bool& field) const { field = bool_argument(object_.Get(name), name); }
  void read(const char* name, int64_t& field) const {
    field = static_cast<int64_t>(number_argument(object_.Get(name), name));
  }
  void read(const char* name, std::vector<int64_t>& field) const {
    field = integers_argument(object_.Get(name), name);
  }
  void read(const char* name, std::vector<std::string>& field) const {
    field = strings_argument(object_.Get(name), name);
  }
  Fields nested(const char* name) const {
    const auto value = object_.Get(name);
    if (!value.IsObject()) throw ArgumentError(std::string("Expected ") + name + " to be an object");
    return Fields(value.As<Napi::Object>());
  }

 private:
  Napi::Object object_;
};

#define KPOP_READ(FIELD) fields.read(#FIELD, config.FIELD)

nn::UNetConfig unet_config(const Fields& fields) {
  nn::UNetConfig config;
  KPOP_READ(in_channels);
  KPOP_READ(out_channels);
  KPOP_READ(center_input_sample);
  KPOP_READ(flip_sin_to_cos);
  KPOP_READ(freq_shift);
  KPOP_READ(down_block_types);
  KPOP_READ(mid_block_type);
  KPOP_READ(up_block_types);
  KPOP_READ(only_cross_attention);
  KPOP_READ(block_out_channels);
  KPOP_READ(layers_per_block);
  KPOP_READ(downsample_padding);
  KPOP_READ(mid_block_scale_factor);
  KPOP_READ(act_fn);
  KPOP_READ(norm_num_groups);
  KPOP_READ(norm_eps);
  KPOP_READ(cross_attention_dim);
  KPOP_READ(transformer_layers_per_block);
  KPOP_READ(attention_head_dim);
  KPOP_READ(num_attention_heads);
  KPOP_READ(use_linear_projection);
  KPOP_READ(upcast_attention);
  KPOP_READ(addition_embed_type);
  KPOP_READ(addition_time_embed_dim);
  KPOP_READ(projection_class_embeddings_input_dim);
  return config;
}

nn::AutoencoderKLConfig vae_config(const Fields& fields) {
  nn::AutoencoderKLConfig config;
  KPOP_READ(in_channels);
  KPOP_READ(out_channels);
  KPOP_READ(latent_channels);
  KPOP_READ(down_block_types);
  KPOP_READ(up_block_types);
  KPOP_READ(block_out_channels);
  KPOP_READ(layers_per_block);
  KPOP_READ(act_fn);
  KPOP_READ(norm_num_groups);
  KPOP_READ(use_quant_conv);
  KPOP_READ(use_post_quant_conv);
  KPOP_READ(mid_block_add_attention);
  return config;
}

nn::CLIPTextConfig clip_text_config(const Fields& fields) {
  nn::CLIPTextConfig config;
  KPOP_READ(vocab_size);
  KPOP_READ(hidden_size);
  KPOP_READ(intermediate_size);
  KPOP_READ(num_hidden_layers);
  KPOP_READ(num_attention_heads);
  KPOP_READ(max_position_embeddings);
  KPOP_READ(hidden_act);
  KPOP_READ(layer_norm_eps);
  KPOP_READ(eos_token_id);
  KPOP_READ(projection_dim);
  return config;
}

nn::CLIPVisionConfig clip_vision_config(const Fields& fields) {
  nn::CLIPVisionConfig config;
  KPOP_READ(hidden_size);
  KPOP_READ(intermediate_size);
  KPOP_READ(num_hidden_layers);
  KPOP_READ(num_attention_heads);
  KPOP_READ(num_channels);
  KPOP_READ(image_size);
  KPOP_READ(patch_size);
  KPOP_READ(hidden_act);
  KPOP_READ(layer_norm_eps);
  return config;
}

nn::CLIPConfig clip_config(const Fields& fields) {
  nn::CLIPConfig config;
  KPOP_READ(projection_dim);
  config.text_config = clip_text_config(fields.nested("text_config"));
  config.vision_config = clip_vision_config(fields.nested("vision_config"));
  return config;
}

nn::ResNetConfig resnet_config(const Fields& fields) {
  nn::ResNetConfig config;
  KPOP_READ(depth);
  KPOP_READ(num_classes);
  KPOP_READ(width);
  KPOP_READ(stem);
  return config;
}

nn::LpipsConfig lpips_config(const Fields& fields) {
  nn::LpipsConfig config;
  KPOP_READ(net);
  return config;
}

#undef KPOP_READ

}  // namespace

std::shared_ptr<nn::Network> build_network(const std::string& kind, const Napi::Object& config) {
  const Fields fields(config);
  if (kind == "unet") return std::make_shared<nn::UNet2DConditionModel>(unet_config(fields));
  if (kind == "vae") return std::make_shared<nn::AutoencoderKL>(vae_config(fields));
  if (kind == "clip-text") return std::make_shared<nn::CLIPTextModel>(clip_text_config(fields));
  if (kind == "clip") return std::make_shared<nn::CLIPModel>(clip_config(fields));
  if (kind == "resnet") return std::make_shared<nn::ResNet>(resnet_config(fields));
  if (kind == "inception") return std::make_shared<nn::InceptionV3>();
  if (kind == "lpips") return std::make_shared<nn::Lpips>(lpips_config(fields));
  throw ArgumentError(
      "Expected kind to be unet, vae, clip-text, clip, resnet, inception or lpips but received \"" + kind +
      "\"");
}

}  // namespace kpop
