#pragma once

#include <napi.h>

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

#include "bindings/failure.h"

namespace kpop {

/** The way from a worker thread back to the JavaScript thread of one environment. Outlives the environment.
 */
class Channel : public std::enable_shared_from_this<Channel> {
 public:
  explicit Channel(Napi::Env env);

  /** On a worker thread: runs `settle` on the JavaScript thread. Dropped when the environment is gone.
   * @param more whether the worker has more to do: then up to a millisecond's completions go together, since a
   *   JavaScript thread that wakes for each takes a core from the work */
  void complete(std::function<void(Napi::Env)> settle, bool more);

  /** Wakes the JavaScript thread. */
  void flush();

  /** On the JavaScript thread: keep the event loop alive until as many completions have arrived. */
  void expect_one(Napi::Env env);

  /** The environment ends: queued work of it is skipped from now on, and what waits to be settled is freed.
   */
  void close();
  bool closed() const { return closed_; }

 private:
  static void wake(Napi::Env env, Napi::Function, Channel* channel, void*);
  void settle_all(Napi::Env env);

  // Completions wait here and not in the function's own queue, which frees nothing when the environment ends.
  std::mutex mutex_;
  std::deque<std::function<void(Napi::Env)>> waiting_;
  Napi::TypedThreadSafeFunction<Channel, void, &Channel::wake> function_;
  bool delayed_ = false;  // whether a wake-up is due
  std::atomic<bool> closed_{false};
  int expected_ = 0;  // touched by the JavaScript thread alone
};

/** What the addon keeps for each environment (the main thread and every worker_thread have their own). */
struct AddonData {
  Napi::FunctionReference tensor_class;
  Napi::FunctionReference module_class;
  Napi::FunctionReference optimizer_class;
  Napi::FunctionReference make_error;
  std::shared_ptr<Channel> channel;

  static AddonData& of(Napi::Env env) { return *env.GetInstanceData<AddonData>(); }
};

/** A failure as the error class of the library, or as a plain Error before `initialize`. */
Napi::Error to_error(Napi::Env env, const Failure& failure);

}  // namespace kpop
