#include "bindings/tensor.h"

#include <utility>

#include "bindings/addon_data.h"
#include "bindings/arguments.h"
#include "bindings/guarded.h"

namespace kpop {

TensorHandle::TensorHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<TensorHandle>(info) {
  if (info.Length() != 2 || !info[0].IsExternal()) {
    throw Napi::TypeError::New(info.Env(), "Tensors are made by the addon's functions");
  }
  const auto& slot = *info[0].As<Napi::External<SlotPtr>>().Data();
  slot_ = WorkerShare<TensorSlot>(info.Env(), slot->device, slot);
  if (!info[1].As<Napi::Boolean>().Value() || !slot->memory) return;
  memory_ = slot->memory;
  if (memory_->handles++ == 0) Napi::MemoryManagement::AdjustExternalMemory(info.Env(), memory_->bytes);
}

TensorHandle::~TensorHandle() {
  release(Env());
}

void TensorHandle::release(Napi::Env env) {
  slot_.reset();
  const auto memory = std::exchange(memory_, nullptr);
  if (memory && --memory->handles == 0) Napi::MemoryManagement::AdjustExternalMemory(env, -memory->bytes);
}

void TensorHandle::define(Napi::Env env) {
  auto constructor = DefineClass(
      env, "NativeTensor",
      {InstanceAccessor<&TensorHandle::shape>("shape"), InstanceAccessor<&TensorHandle::dtype>("dtype"),
       InstanceAccessor<&TensorHandle::device>("device"),
       InstanceAccessor<&TensorHandle::disposed>("disposed"),
       InstanceMethod<&TensorHandle::dispose>("dispose")});
  AddonData::of(env).tensor_class = Napi::Persistent(constructor);
}

Napi::Object TensorHandle::wrap(Napi::Env env, SlotPtr slot, bool counted) {
  return AddonData::of(env).tensor_class.New(
      {Napi::External<SlotPtr>::New(env, &slot), Napi::Boolean::New(env, counted)});
}

SlotPtr TensorHandle::unwrap(const Napi::Value& value, const char* name) {
  if (!value.IsObject() ||
      !value.As<Napi::Object>().InstanceOf(AddonData::of(value.Env()).tensor_class.Value())) {
    throw ArgumentError(std::string("Expected ") + name + " to be a tensor");
  }
  auto slot = Unwrap(value.As<Napi::Object>())->slot_.get();
  if (!slot) throw DisposedError(name);
  return slot;
}

std::vector<SlotPtr> slots_argument(const Napi::Value& value, const char* name) {
  return array_argument(value, name,
                        [&](const Napi::Value& item) { return TensorHandle::unwrap(item, name); });
}

Napi::Value TensorHandle::shape(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "shape",
                 [&] { return shape_value(info.Env(), unwrap(info.This(), "the tensor")->sizes); });
}

Napi::Value TensorHandle::dtype(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "dtype", [&] {
    return Napi::String::New(info.Env(), dtype_name(unwrap(info.This(), "the tensor")->dtype));
  });
}

Napi::Value TensorHandle::device(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "device", [&] {
    return Napi::String::New(info.Env(), device_name(unwrap(info.This(), "the tensor")->device));
  });
}

Napi::Value TensorHandle::disposed(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), !slot_);
}

Napi::Value TensorHandle::dispose(const Napi::CallbackInfo& info) {
  release(info.Env());
  return info.Env().Undefined();
}

}  // namespace kpop
