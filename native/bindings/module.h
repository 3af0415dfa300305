#pragma once

#include <napi.h>

#include <memory>
#include <string>

#include "bindings/worker_share.h"
#include "nn/module.h"

namespace kpop {

/** The JavaScript handle on a network. */
class ModuleHandle : public Napi::ObjectWrap<ModuleHandle> {
 public:
  explicit ModuleHandle(const Napi::CallbackInfo& info);

  static void define(Napi::Env env);
  /** The network behind a JavaScript value. @throws ArgumentError when it is no network of class T,
   * DisposedError */
  template <class T>
  static std::shared_ptr<T> unwrap(const Napi::Value& value) {
    auto network = std::dynamic_pointer_cast<T>(network_of(value));
    if (!network) throw ArgumentError("The network has no such forward");
    return network;
  }

 private:
  static std::shared_ptr<nn::Network> network_of(const Napi::Value& value);
  std::shared_ptr<nn::Network> live() const;

  Napi::Value kind(const Napi::CallbackInfo& info);
  Napi::Value parameter_shapes(const Napi::CallbackInfo& info);
  Napi::Value cross_attention_names(const Napi::CallbackInfo& info);
  Napi::Value tap_names(const Napi::CallbackInfo& info);
  Napi::Value assign(const Napi::CallbackInfo& info);
  Napi::Value use_fastest_layout(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  std::string kind_;
  WorkerShare<nn::Network> network_;
};

/** Registers createModule and the NativeModule class. */
void define_modules(Napi::Env env, Napi::Object exports);

}  // namespace kpop
