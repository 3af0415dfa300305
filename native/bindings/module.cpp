#include "bindings/module.h"

#include "bindings/arguments.h"
#include "bindings/async.h"
#include "bindings/guarded.h"
#include "bindings/module_config.h"
#include "bindings/tensor.h"
#include "nn/unet_2d_condition_model.h"

namespace kpop {

ModuleHandle::ModuleHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ModuleHandle>(info) {
  guarded(info.Env(), "createModule", [&] {
    kind_ = string_argument(info[0], "kind");
    if (!info[1].IsObject()) throw ArgumentError("Expected config to be an object");
    network_ = {info.Env(), at::kCPU, build_network(kind_, info[1].As<Napi::Object>())};
  });
}

void ModuleHandle::define(Napi::Env env) {
  auto constructor = DefineClass(
      env, "NativeModule",
      {InstanceAccessor<&ModuleHandle::kind>("kind"),
       InstanceMethod<&ModuleHandle::parameter_shapes>("parameterShapes"),
       InstanceMethod<&ModuleHandle::cross_attention_names>("crossAttentionNames"),
       InstanceMethod<&ModuleHandle::tap_names>("tapNames"), InstanceMethod<&ModuleHandle::assign>("assign"),
       InstanceMethod<&ModuleHandle::use_fastest_layout>("useFastestLayout"),
       InstanceMethod<&ModuleHandle::dispose>("dispose")});
  AddonData::of(env).module_class = Napi::Persistent(constructor);
}

std::shared_ptr<nn::Network> ModuleHandle::network_of(const Napi::Value& value) {
  if (!value.IsObject() ||
      !value.As<Napi::Object>().InstanceOf(AddonData::of(value.Env()).module_class.Value())) {
    throw ArgumentError("Expected module to be a network");
  }
  return Unwrap(value.As<Napi::Object>())->live();
}

std::shared_ptr<nn::Network> ModuleHandle::live() const {
  if (!network_) throw DisposedError("the network");
  return network_.get();
}

Napi::Value ModuleHandle::kind(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), kind_);
}

Napi::Value ModuleHandle::parameter_shapes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "parameterShapes", [&] {
    const auto network = live();
    const auto& names = network->parameter_names();
    auto shapes = Napi::Object::New(info.Env());
    for (size_t i = 0; i < names.size(); ++i)
      shapes.Set(names[i], shape_value(info.Env(), network->parameter_shapes()[i]));
    return shapes;
  });
}

Napi::Value ModuleHandle::cross_attention_names(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "crossAttentionNames", [&] {
    const auto unet = unwrap<nn::UNet2DConditionModel>(info.This());
    auto names = Napi::Array::New(info.Env());
    for (const auto& name : unet->cross_attention_names()) names.Set(names.Length(), name);
    return names;
  });
}

Napi::Value ModuleHandle::tap_names(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "tapNames", [&] {
    const auto unet = unwrap<nn::UNet2DConditionModel>(info.This());
    auto names = Napi::Array::New(info.Env());
    for (const auto& step : unet->steps())
      if (!step.name.empty()) names.Set(names.Length(), step.name);
    return names;
  });
}

Napi::Value ModuleHandle::assign(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "assign", [&] {
    auto names = strings_argument(info[0], "names");
    auto values = slots_argument(info[1], "values");
    if (names.size() != values.size() || names.empty()) {
      throw ArgumentError("Expected as many values as names, and at least one");
    }
    const auto device = values[0]->device;
    network_.move_to(device);
    return submit(info.Env(), device, "assign",
                  [network = live(), names = std::move(names), values = std::move(values)] {
                    for (size_t i = 0; i < names.size(); ++i)
                      network->assign_parameter(names[i], values[i]->get());
                  });
  });
}

Napi::Value ModuleHandle::use_fastest_layout(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "useFastestLayout", [&] {
    const bool on_use = bool_argument(info[0], "onUse");
    return submit(info.Env(), at::kCPU, "useFastestLayout",
                  [network = live(), on_use] { network->use_fastest_layout(on_use); });
  });
}

Napi::Value ModuleHandle::dispose(const Napi::CallbackInfo& info) {
  network_.reset();
  return info.Env().Undefined();
}

namespace {

Napi::Value create_module(const Napi::CallbackInfo& info) {
  return AddonData::of(info.Env()).module_class.New({info[0], info[1]});
}

}  // namespace

void define_modules(Napi::Env env, Napi::Object exports) {
  ModuleHandle::define(env);
  exports.Set("createModule", Napi::Function::New<create_module>(env, "createModule"));
}

}  // namespace kpop
