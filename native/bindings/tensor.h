#pragma once

#include <napi.h>

#include "bindings/tensor_slot.h"

namespace kpop {

/** The JavaScript handle on a TensorSlot. Disposing drops this handle's share; queued work keeps its own. */
class TensorHandle : public Napi::ObjectWrap<TensorHandle> {
 public:
  explicit TensorHandle(const Napi::CallbackInfo& info);
  ~TensorHandle() override;

  static void define(Napi::Env env);
  /** A new handle. `owns_memory`: whether the bytes are to be reported to V8 (not for aliases). */
  static Napi::Object wrap(Napi::Env env, SlotPtr slot, bool owns_memory = true);
  /** The slot behind a JavaScript value. @throws ArgumentError when it is no tensor, DisposedError */
  static SlotPtr unwrap(const Napi::Value& value, const char* name);

 private:
  Napi::Value shape(const Napi::CallbackInfo& info);
  Napi::Value dtype(const Napi::CallbackInfo& info);
  Napi::Value device(const Napi::CallbackInfo& info);
  Napi::Value disposed(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
  void release(Napi::Env env);

  SlotPtr slot_;
  int64_t reported_bytes_ = 0;
};

std::vector<SlotPtr> slots_argument(const Napi::Value& value, const char* name);

/** Registers fromData, empty, hostBytes, randn, op, to, read, readBytes, settle and the autograd calls. */
void define_tensor_functions(Napi::Env env, Napi::Object exports);

}  // namespace kpop
