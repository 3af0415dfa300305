#include "bindings/addon_data.h"

namespace kpop {

Channel::Channel(Napi::Env env) : function_(decltype(function_)::New(env, "kpop", 0, 1, this)) {
  function_.Unref(env);
}

void Channel::complete(std::function<void(Napi::Env)> settle) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) return;
    waiting_.push_back(std::move(settle));
  }
  function_.BlockingCall();
}

void Channel::wake(Napi::Env env, Napi::Function, Channel* channel, void*) {
  if (env != nullptr) channel->settle_one(env);
}

void Channel::settle_one(Napi::Env env) {
  std::function<void(Napi::Env)> settle;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (waiting_.empty()) return;
    settle = std::move(waiting_.front());
    waiting_.pop_front();
  }
  try {
    if (--expected_ == 0) function_.Unref(env);
    settle(env);
  } catch (...) {
    // `settle` passes on what it can. What it throws comes from where JavaScript may not run any more, in a
    // thread that is being terminated: no one waits for it.
  }
}

void Channel::expect_one(Napi::Env env) {
  if (expected_++ == 0) function_.Ref(env);
}

void Channel::close() {
  std::deque<std::function<void(Napi::Env)>> dropped;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (closed_.exchange(true)) return;
    dropped.swap(waiting_);
  }
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
