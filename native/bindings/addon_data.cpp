#include "bindings/addon_data.h"

namespace kpop {

Channel::Channel(Napi::Env env)
    : function_(Napi::ThreadSafeFunction::New(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}),
                                              "kpop", 0, 1)) {
  function_.Unref(env);
}

void Channel::complete(std::function<void(Napi::Env)> settle) {
  if (closed_) return;
  auto* boxed = new std::function<void(Napi::Env)>(std::move(settle));
  const auto status = function_.BlockingCall(boxed, [this](Napi::Env env, Napi::Function, auto* call) {
    std::unique_ptr<std::function<void(Napi::Env)>> owned(call);
    if (env == nullptr || closed_) return;
    try {
      if (--expected_ == 0) function_.Unref(env);
      (*owned)(env);
    } catch (const Napi::Error&) {
      // Thrown where JavaScript may not run any more, in a thread that is being terminated: no one waits for
      // it.
    }
  });
  if (status != napi_ok) delete boxed;
}

void Channel::expect_one(Napi::Env env) {
  if (expected_++ == 0) function_.Ref(env);
}

void Channel::close() {
  if (closed_.exchange(true)) return;
  function_.Abort();
}

Napi::Error to_error(Napi::Env env, const Failure& failure) {
  auto& data = AddonData::of(env);
  if (data.make_error.IsEmpty()) return Napi::Error::New(env, failure.message);
  auto fields = Napi::Object::New(env);
  fields.Set("code", failure.code);
  fields.Set("message", failure.message);
  fields.Set("operation", failure.operation);
  return Napi::Error(env, data.make_error.Call({fields}));
}

}  // namespace kpop
