#include "bindings/module.h"

#include <ATen/ATen.h>

#include "bindings/arguments.h"
#include "bindings/async.h"
#include "bindings/guarded.h"
#include "bindings/module_config.h"
#include "bindings/tensor.h"
#include "nn/autoencoder_kl.h"
#include "nn/clip_model.h"
#include "nn/clip_text_model.h"
#include "nn/resnet_classifier.h"
#include "nn/unet_2d_condition_model.h"

namespace kpop {
namespace {

class ModuleHandle : public Napi::ObjectWrap<ModuleHandle> {
 public:
  explicit ModuleHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ModuleHandle>(info) {
    guarded(info.Env(), "createModule", [&] {
      kind_ = string_argument(info[0], "kind");
      if (!info[1].IsObject()) throw ArgumentError("Expected config to be an object");
      network_ = build_network(kind_, info[1].As<Napi::Object>());
    });
  }

  static void define(Napi::Env env) {
    auto constructor =
        DefineClass(env, "NativeModule",
                    {InstanceAccessor<&ModuleHandle::kind>("kind"),
                     InstanceMethod<&ModuleHandle::parameter_shapes>("parameterShapes"),
                     InstanceMethod<&ModuleHandle::cross_attention_names>("crossAttentionNames"),
                     InstanceMethod<&ModuleHandle::assign>("assign"),
                     InstanceMethod<&ModuleHandle::use_fastest_layout>("useFastestLayout"),
                     InstanceMethod<&ModuleHandle::dispose>("dispose")});
    AddonData::of(env).module_class = Napi::Persistent(constructor);
  }

  /** The network behind a JavaScript value. @throws ArgumentError when it is no live module of class T */
  template <class T>
  static std::shared_ptr<T> unwrap(const Napi::Value& value) {
    if (!value.IsObject() ||
        !value.As<Napi::Object>().InstanceOf(AddonData::of(value.Env()).module_class.Value())) {
      throw ArgumentError("Expected module to be a network");
    }
    auto network = std::dynamic_pointer_cast<T>(Unwrap(value.As<Napi::Object>())->live());
    if (!network) throw ArgumentError("The network has no such forward");
    return network;
  }

 private:
  std::shared_ptr<nn::Network> live() const {
    if (!network_) throw DisposedError("the network");
    return network_;
  }

  Napi::Value kind(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), kind_); }

  Napi::Value parameter_shapes(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), "parameterShapes", [&] {
      auto network = live();
      auto shapes = Napi::Object::New(info.Env());
      for (const auto& name : network->parameter_names()) {
        shapes.Set(name, shape_value(info.Env(), network->parameter(name).sizes()));
      }
      return shapes;
    });
  }

  Napi::Value cross_attention_names(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), "crossAttentionNames", [&] {
      const auto unet = std::dynamic_pointer_cast<nn::UNet2DConditionModel>(live());
      if (!unet) throw ArgumentError("Only a UNet has cross-attention layers");
      auto names = Napi::Array::New(info.Env());
      for (const auto& name : unet->cross_attention_names()) names.Set(names.Length(), name);
      return names;
    });
  }

  Napi::Value assign(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), "assign", [&] {
      auto names = strings_argument(info[0], "names");
      auto values = slots_argument(info[1], "values");
      if (names.size() != values.size() || names.empty()) {
        throw ArgumentError("Expected as many values as names, and at least one");
      }
      const auto device = values[0]->device;
      return submit(info.Env(), device, "assign",
                    [network = live(), names = std::move(names), values = std::move(values)] {
                      for (size_t i = 0; i < names.size(); ++i)
                        network->assign_parameter(names[i], values[i]->get());
                    });
    });
  }

  Napi::Value use_fastest_layout(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), "useFastestLayout", [&] {
      const bool on_use = bool_argument(info[0], "onUse");
      return submit(info.Env(), at::kCPU, "useFastestLayout",
                    [network = live(), on_use] { network->use_fastest_layout(on_use); });
    });
  }

  Napi::Value dispose(const Napi::CallbackInfo& info) {
    network_.reset();
    return info.Env().Undefined();
  }

  std::string kind_;
  std::shared_ptr<nn::Network> network_;
};

Napi::Value wrap_result(Napi::Env env, const at::Tensor& value) {
  return TensorHandle::wrap(env, std::make_shared<TensorSlot>(value));
}

Napi::Value create_module(const Napi::CallbackInfo& info) {
  return AddonData::of(info.Env()).module_class.New({info[0], info[1]});
}

/** A prompt whose tensor may still be in the making. */
struct QueuedPrompt {
  SlotPtr value;
  nn::Prompt::Mechanism mechanism;
  std::vector<std::string> layers;
};

std::optional<QueuedPrompt> prompt_argument(const Napi::Value& value) {
  if (value.IsNull()) return std::nullopt;
  auto fields = value.As<Napi::Object>();
  const bool additive = string_argument(fields.Get("mechanism"), "mechanism") == "additive";
  return QueuedPrompt{TensorHandle::unwrap(fields.Get("value"), "prompt"),
                      additive ? nn::Prompt::Mechanism::additive : nn::Prompt::Mechanism::concat,
                      strings_argument(fields.Get("layers"), "layers")};
}

Napi::Value unet_forward(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "UNet2DConditionModel.forward", [&] {
    auto unet = ModuleHandle::unwrap<nn::UNet2DConditionModel>(info[0]);
    auto sample = TensorHandle::unwrap(info[1], "sample");
    auto timesteps = numbers_argument(info[2], "timesteps");
    auto context = TensorHandle::unwrap(info[3], "context");
    auto prompt = prompt_argument(info[4]);
    const bool grad = bool_argument(info[5], "grad");
    const auto device = sample->device;
    return submit(
        info.Env(), device, "UNet2DConditionModel.forward",
        [unet, sample, timesteps = std::move(timesteps), context, prompt = std::move(prompt), grad] {
          at::AutoGradMode mode(grad);
          const auto when = at::tensor(timesteps, at::kFloat).to(sample->device);
          if (!prompt) return unet->forward(sample->get(), when, context->get());
          const nn::Prompt injected{prompt->value->get(), prompt->mechanism, prompt->layers};
          return unet->forward(sample->get(), when, context->get(), &injected);
        },
        wrap_result);
  });
}

Napi::Value vae_encode(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "AutoencoderKL.encode", [&] {
    auto vae = ModuleHandle::unwrap<nn::AutoencoderKL>(info[0]);
    auto image = TensorHandle::unwrap(info[1], "image");
    const bool grad = bool_argument(info[2], "grad");
    return submit(
        info.Env(), image->device, "AutoencoderKL.encode",
        [vae, image, grad] {
          at::AutoGradMode mode(grad);
          return vae->encode(image->get());
        },
        [](Napi::Env env, const nn::LatentDistribution& latents) {
          auto pair = Napi::Array::New(env, 2);
          pair.Set(0u, wrap_result(env, latents.mean));
          pair.Set(1u, wrap_result(env, latents.logvar));
          return pair;
        });
  });
}

/** Queues `run(network, input)` for the network, the tensor and the grad mode that a call starts with. */
template <class T, class Run>
Napi::Value forward(const Napi::CallbackInfo& info, const char* operation, const char* input, Run run) {
  return guarded(info.Env(), operation, [&] {
    auto network = ModuleHandle::unwrap<T>(info[0]);
    auto slot = TensorHandle::unwrap(info[1], input);
    const bool grad = bool_argument(info[2], "grad");
    return submit(
        info.Env(), slot->device, operation,
        [network, slot, grad, run] {
          at::AutoGradMode mode(grad);
          return run(*network, slot->get());
        },
        wrap_result);
  });
}

Napi::Value vae_decode(const Napi::CallbackInfo& info) {
  return forward<nn::AutoencoderKL>(info, "AutoencoderKL.decode", "latents",
                                    [](auto& vae, const auto& latents) { return vae.decode(latents); });
}

Napi::Value clip_text_forward(const Napi::CallbackInfo& info) {
  constexpr auto kOperation = "CLIPTextModel.forward";
  return guarded(info.Env(), kOperation, [&] {
    SlotPtr embeddings;
    if (!info[3].IsUndefined() && !info[3].IsNull()) embeddings = TensorHandle::unwrap(info[3], "embeddings");
    return forward<nn::CLIPTextModel>(
        info, kOperation, "inputIds", [embeddings](auto& encoder, const auto& ids) {
          return encoder.forward(ids, embeddings ? std::optional(embeddings->get()) : std::nullopt);
        });
  });
}

Napi::Value clip_text_embed(const Napi::CallbackInfo& info) {
  return forward<nn::CLIPTextModel>(info, "CLIPTextModel.embedTokens", "inputIds",
                                    [](auto& encoder, const auto& ids) { return encoder.embed_tokens(ids); });
}

Napi::Value clip_text_features(const Napi::CallbackInfo& info) {
  return forward<nn::CLIPModel>(info, "CLIPModel.textFeatures", "inputIds",
                                [](auto& clip, const auto& ids) { return clip.text_features(ids); });
}

Napi::Value clip_image_features(const Napi::CallbackInfo& info) {
  return forward<nn::CLIPModel>(info, "CLIPModel.imageFeatures", "pixels",
                                [](auto& clip, const auto& pixels) { return clip.image_features(pixels); });
}

Napi::Value resnet_forward(const Napi::CallbackInfo& info) {
  constexpr auto kOperation = "ResNet.forward";
  return guarded(info.Env(), kOperation, [&] {
    const bool train = bool_argument(info[3], "train");
    return forward<nn::ResNet>(info, kOperation, "images", [train](auto& resnet, const auto& images) {
      return resnet.forward(images, train);
    });
  });
}

}  // namespace

void define_modules(Napi::Env env, Napi::Object exports) {
  ModuleHandle::define(env);
  exports.Set("createModule", Napi::Function::New<create_module>(env, "createModule"));
  exports.Set("unetForward", Napi::Function::New<unet_forward>(env, "unetForward"));
  exports.Set("vaeEncode", Napi::Function::New<vae_encode>(env, "vaeEncode"));
  exports.Set("vaeDecode", Napi::Function::New<vae_decode>(env, "vaeDecode"));
  exports.Set("clipTextForward", Napi::Function::New<clip_text_forward>(env, "clipTextForward"));
  exports.Set("clipTextEmbed", Napi::Function::New<clip_text_embed>(env, "clipTextEmbed"));
  exports.Set("clipTextFeatures", Napi::Function::New<clip_text_features>(env, "clipTextFeatures"));
  exports.Set("clipImageFeatures", Napi::Function::New<clip_image_features>(env, "clipImageFeatures"));
  exports.Set("resnetForward", Napi::Function::New<resnet_forward>(env, "resnetForward"));
}

}  // namespace kpop
