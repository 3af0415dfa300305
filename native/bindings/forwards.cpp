#include "bindings/forwards.h"

#include "bindings/arguments.h"
#include "bindings/async.h"
#include "bindings/guarded.h"
#include "bindings/module.h"
#include "bindings/tensor.h"
#include "nn/autoencoder_kl.h"
#include "nn/clip_model.h"
#include "nn/clip_text_model.h"
#include "nn/inception_v3.h"
#include "nn/lpips.h"
#include "nn/resnet_classifier.h"

namespace kpop {
namespace {

Napi::Value wrap_result(Napi::Env env, const at::Tensor& value) {
  return TensorHandle::wrap(env, std::make_shared<TensorSlot>(value));
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
template <class T, class Run, class Wrap = decltype(&wrap_result)>
Napi::Value forward(const Napi::CallbackInfo& info, const char* operation, const char* input, Run run,
                    Wrap wrap = wrap_result) {
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
        wrap);
  });
}

Napi::Value vae_decode(const Napi::CallbackInfo& info) {
  return forward<nn::AutoencoderKL>(info, "AutoencoderKL.decode", "latents",
                                    [](auto& vae, const auto& latents) { return vae.decode(latents); });
}

/** What is queued in place of the ids' embeddings; null where nothing is. */
SlotPtr embeddings_argument(const Napi::CallbackInfo& info) {
  if (info[3].IsUndefined() || info[3].IsNull()) return nullptr;
  return TensorHandle::unwrap(info[3], "embeddings");
}

Napi::Value clip_text_forward(const Napi::CallbackInfo& info) {
  constexpr auto kOperation = "CLIPTextModel.forward";
  return guarded(info.Env(), kOperation, [&] {
    const auto embeddings = embeddings_argument(info);
    return forward<nn::CLIPTextModel>(
        info, kOperation, "inputIds", [embeddings](auto& encoder, const auto& ids) {
          return encoder.forward(ids, embeddings ? std::optional(embeddings->get()) : std::nullopt);
        });
  });
}

Napi::Value clip_text_hidden_states(const Napi::CallbackInfo& info) {
  constexpr auto kOperation = "CLIPTextModel.hiddenStates";
  return guarded(info.Env(), kOperation, [&] {
    const auto embeddings = embeddings_argument(info);
    const auto skip = static_cast<int64_t>(number_argument(info[4], "skip"));
    return forward<nn::CLIPTextModel>(
        info, kOperation, "inputIds",
        [embeddings, skip](auto& encoder, const auto& ids) {
          return encoder.hidden_states(ids, embeddings ? std::optional(embeddings->get()) : std::nullopt,
                                       skip);
        },
        [](Napi::Env env, const nn::CLIPTextModel::States& states) {
          auto pair = Napi::Array::New(env, 2);
          pair.Set(0u, wrap_result(env, states.hidden));
          pair.Set(1u, states.pooled.defined() ? wrap_result(env, states.pooled) : env.Null());
          return pair;
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

Napi::Value inception_forward(const Napi::CallbackInfo& info) {
  return forward<nn::InceptionV3>(
      info, "InceptionV3.forward", "images",
      [](auto& inception, const auto& images) { return inception.forward(images); });
}

Napi::Value lpips_forward(const Napi::CallbackInfo& info) {
  constexpr auto kOperation = "LPIPS.forward";
  return guarded(info.Env(), kOperation, [&] {
    auto second = TensorHandle::unwrap(info[3], "second");
    return forward<nn::Lpips>(info, kOperation, "first", [second](auto& lpips, const auto& first) {
      return lpips.forward(first, second->get());
    });
  });
}

}  // namespace

void define_forwards(Napi::Env env, Napi::Object exports) {
  exports.Set("vaeEncode", Napi::Function::New<vae_encode>(env, "vaeEncode"));
  exports.Set("vaeDecode", Napi::Function::New<vae_decode>(env, "vaeDecode"));
  exports.Set("clipTextForward", Napi::Function::New<clip_text_forward>(env, "clipTextForward"));
  exports.Set("clipTextHiddenStates",
              Napi::Function::New<clip_text_hidden_states>(env, "clipTextHiddenStates"));
  exports.Set("clipTextEmbed", Napi::Function::New<clip_text_embed>(env, "clipTextEmbed"));
  exports.Set("clipTextFeatures", Napi::Function::New<clip_text_features>(env, "clipTextFeatures"));
  exports.Set("clipImageFeatures", Napi::Function::New<clip_image_features>(env, "clipImageFeatures"));
  exports.Set("resnetForward", Napi::Function::New<resnet_forward>(env, "resnetForward"));
  exports.Set("inceptionForward", Napi::Function::New<inception_forward>(env, "inceptionForward"));
  exports.Set("lpipsForward", Napi::Function::New<lpips_forward>(env, "lpipsForward"));
}

}  // namespace kpop
