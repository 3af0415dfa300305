#pragma once

#include <napi.h>

#include "bindings/tensor_slot.h"
#include "bindings/worker_share.h"

namespace kpop {

/** The JavaScript handle on a TensorSlot. Disposing drops this handle's share; queued work keeps its own. */
class TensorHandle : public Napi::ObjectWrap<TensorHandle> {
 public:
  explicit TensorHandle(const Napi::CallbackInfo& info);
  ~TensorHandle() override;

  static void define(Napi::Env env);
  /** A new handle. `counted`: whether V8 is to know of the memory; not for what something else keeps anyway.
   */
  static Napi::Object wrap(Napi::Env env, SlotPtr slot, bool counted = true);
  /** The slot behind a JavaScript value. @throws ArgumentError when it is no tensor, DisposedError */
  static SlotPtr unwrap(const Napi::Value& value, const char* name);

 private:
  Napi::Value shape(const Napi::CallbackInfo& info);
  Napi::Value dtype(const Napi::CallbackInfo& info);
  Napi::Value device(const Napi::CallbackInfo& info);
  Napi::Value disposed(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
  void release(Napi::Env env);

  WorkerShare<TensorSlot> slot_;
  std::shared_ptr<HostMemory> memory_;  // what this handle counts for
};

std::vector<SlotPtr> slots_argument(const Napi::Value& value, const char* name);

/** Registers fromData, empty, hostBytes, randn, op, to, read, item, readBytes, settle and the autograd calls.
 */
void define_tensor_functions(Napi::Env env, Napi::Object exports);

}  // namespace kpop
