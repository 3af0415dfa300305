#pragma once

#include <napi.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "bindings/addon_data.h"
#include "bindings/device_workers.h"
#include "bindings/tensor_slot.h"

namespace kpop {

/** Queues `work` (no arguments, returns a value) on the device's worker and gives a Promise of
 *  `convert(env, value)`, which runs on the JavaScript thread. Grad mode is thread-local: `work` sets its
 * own. */
template <typename Work, typename Convert>
Napi::Promise submit(Napi::Env env, c10::Device device, std::string operation, Work work, Convert convert) {
  using Result = decltype(work());
  auto deferred = Napi::Promise::Deferred::New(env);
  auto channel = AddonData::of(env).channel;
  channel->expect_one(env);
  auto& worker = worker_of(device);
  worker.post([&worker, channel, deferred, operation = std::move(operation), work = std::move(work),
                          convert = std::move(convert)]() mutable {
    if (channel->closed()) return;
    std::shared_ptr<Result> result;
    std::optional<Failure> failure;
    try {
      result = std::make_shared<Result>(work());
    } catch (...) {
      failure = translate(std::current_exception(), operation);
    }
    auto settle = [deferred, result, failure, operation, convert = std::move(convert)](Napi::Env env) {
      Napi::HandleScope scope(env);
      if (failure) {
        deferred.Reject(to_error(env, *failure).Value());
        return;
      }
      try {
        deferred.Resolve(convert(env, *result));
      } catch (const Napi::Error& error) {
        deferred.Reject(error.Value());
      } catch (...) {
        deferred.Reject(to_error(env, translate(std::current_exception(), operation)).Value());
      }
    };
    channel->complete(std::move(settle), worker.has_more());
  });
  return deferred.Promise();
}

/** As above for work that returns nothing. */
template <typename Work>
Napi::Promise submit(Napi::Env env, c10::Device device, std::string operation, Work work) {
  return submit(
      env, device, std::move(operation),
      [work = std::move(work)]() mutable {
        work();
        return true;
      },
      [](Napi::Env env, bool) { return env.Undefined(); });
}

/** Queues the making of a tensor; a failure stays in the slot and reaches whoever reads it. */
template <typename Make>
void produce(Napi::Env env, SlotPtr slot, std::string operation, Make make) {
  auto& worker = worker_of(slot->device);
  worker.post([channel = AddonData::of(env).channel, slot = std::move(slot), operation = std::move(operation),
               make = std::move(make)]() mutable {
    try {
      if (channel->closed()) throw std::runtime_error("the thread that asked for it has ended");
      slot->set(make());
    } catch (...) {
      slot->fail(std::make_exception_ptr(TranslatedError(translate(std::current_exception(), operation))));
    }
  });
}

}  // namespace kpop
