#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <napi.h>
#include <torch/csrc/api/include/torch/cuda.h>

#include "bindings/addon_data.h"
#include "bindings/arguments.h"
#include "bindings/async.h"
#include "bindings/forwards.h"
#include "bindings/guarded.h"
#include "bindings/mapped_file.h"
#include "bindings/module.h"
#include "bindings/optimizer.h"
#include "bindings/tensor.h"

namespace kpop {
namespace {

Napi::Value initialize(const Napi::CallbackInfo& info) {
  AddonData::of(info.Env()).make_error = Napi::Persistent(info[0].As<Napi::Function>());
  return info.Env().Undefined();
}

Napi::Value device_count(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(torch::cuda::device_count()));
}

Napi::Value cpu_capability(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), at::get_cpu_capability());
}

Napi::Value threads(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), at::get_num_threads());
}

/** The count is thread-local in OpenMP, so the worker sets it for itself. */
Napi::Value set_threads(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "setThreads", [&] {
    const int count = static_cast<int>(number_argument(info[0], "count"));
    at::set_num_threads(count);
    return submit(info.Env(), at::Device(at::kCPU), "setThreads", [count] { at::set_num_threads(count); });
  });
}

/** A running task may hold the last share of this environment's handles: wait for it, skip what is queued. */
void stop(Channel& channel) {
  channel.close();
  drain_workers();
}

/** process.exit() runs no cleanup hooks of the main thread's environment, but the destructors of libtorch's
 * globals. */
Napi::Value shut_down(const Napi::CallbackInfo& info) {
  stop(*AddonData::of(info.Env()).channel);
  return info.Env().Undefined();
}

Napi::Object start(Napi::Env env, Napi::Object exports) {
  auto* data = new AddonData;
  env.SetInstanceData(data);
  data->channel = std::make_shared<Channel>(env);
  env.AddCleanupHook(
      [](std::shared_ptr<Channel>* channel) {
        stop(**channel);
        delete channel;
      },
      new std::shared_ptr<Channel>(data->channel));
  exports.Set("builtForTorch", KPOP_TORCH_VERSION);
  exports.Set("initialize", Napi::Function::New<initialize>(env, "initialize"));
  exports.Set("shutDown", Napi::Function::New<shut_down>(env, "shutDown"));
  exports.Set("deviceCount", Napi::Function::New<device_count>(env, "deviceCount"));
  exports.Set("cpuCapability", Napi::Function::New<cpu_capability>(env, "cpuCapability"));
  exports.Set("threads", Napi::Function::New<threads>(env, "threads"));
  exports.Set("setThreads", Napi::Function::New<set_threads>(env, "setThreads"));
  TensorHandle::define(env);
  define_tensor_functions(env, exports);
  define_mapped_file(env, exports);
  define_optimizer(env, exports);
  define_modules(env, exports);
  define_unet_forward(env, exports);
  define_forwards(env, exports);
  return exports;
}

}  // namespace
}  // namespace kpop

Napi::Object kpop_start(Napi::Env env, Napi::Object exports) {
  return kpop::start(env, exports);
}

NODE_API_MODULE(kpop_native, kpop_start)
