#include "bindings/addon_data.h"

#include "bindings/delay.h"

namespace kpop {

Channel::Channel(Napi::Env env) : function_(decltype(function_)::New(env, "kpop", 0, 1, this)) {
  function_.Unref(env);
}

void Channel::complete(std::function<void(Napi::Env)> settle, bool more) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) return;
    waiting_.push_back(std::move(settle));
    if (delayed_) {
      if (more) return;
    } else if (more) {
      delayed_ = true;
      after_a_millisecond([channel = shared_from_this()] { channel->flush(); });
      return;
    }
  }
  flush();
}

void Channel::flush() {
  // The lock keeps the function from ending meanwhile; a call only queues.
  std::lock_guard<std::mutex> lock(mutex_);
  delayed_ = false;
  if (!closed_ && !waiting_.empty()) function_.BlockingCall();
}

void Channel::wake(Napi::Env env, Napi::Function, Channel* channel, void*) {
  if (env != nullptr) channel->settle_all(env);
}

void Channel::settle_all(Napi::Env env) {
  std::deque<std::function<void(Napi::Env)>> all;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    all.swap(waiting_);
  }
  for (auto& settle : all) {
    try {
      if (--expected_ == 0) function_.Unref(env);
      settle(env);
    } catch (...) {
      // `settle` passes on what it can. What it throws comes from where JavaScript may not run any more, in a
      // thread that is being terminated: no one waits for it.
    }
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
