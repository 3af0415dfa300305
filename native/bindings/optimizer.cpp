#include "bindings/optimizer.h"

#include <memory>

#include "bindings/adam.h"
#include "bindings/arguments.h"
#include "bindings/async.h"
#include "bindings/gradients.h"
#include "bindings/guarded.h"
#include "bindings/tensor.h"
#include "bindings/worker_share.h"

namespace kpop {
namespace {

class OptimizerHandle : public Napi::ObjectWrap<OptimizerHandle> {
 public:
  explicit OptimizerHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<OptimizerHandle>(info) {
    if (info.Length() == 0 || !info[0].IsExternal()) {
      throw Napi::TypeError::New(info.Env(), "Optimizers are made by createAdam");
    }
    auto* made = info[0].As<Napi::External<Made>>().Data();
    adam_ = WorkerShare<Adam>(info.Env(), made->device, made->adam);
    device_ = made->device;
  }

  static void define(Napi::Env env) {
    auto constructor = DefineClass(
        env, "NativeOptimizer",
        {InstanceMethod<&OptimizerHandle::step>("step"), InstanceMethod<&OptimizerHandle::state>("state"),
         InstanceMethod<&OptimizerHandle::dispose>("dispose")});
    AddonData::of(env).optimizer_class = Napi::Persistent(constructor);
  }

  static Napi::Value create(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), "createAdam", [&]() -> Napi::Value {
      auto slots = slots_argument(info[0], "parameters");
      if (slots.empty()) throw ArgumentError("Expected parameters to be at least one tensor");
      auto fields = info[1].As<Napi::Object>();
      const auto decoupled = fields.Get("decoupled");
      const AdamOptions options{number_argument(fields.Get("beta1"), "beta1"),
                                number_argument(fields.Get("beta2"), "beta2"),
                                number_argument(fields.Get("eps"), "eps"),
                                number_argument(fields.Get("weightDecay"), "weightDecay"),
                                !decoupled.IsUndefined() && bool_argument(decoupled, "decoupled")};
      const auto device = slots[0]->device;
      return submit(
          info.Env(), device, "createAdam",
          [slots = std::move(slots), options, device] {
            std::vector<at::Tensor> parameters;
            for (const auto& slot : slots) parameters.push_back(slot->get());
            return Made{std::make_shared<Adam>(std::move(parameters), options), device};
          },
          [](Napi::Env env, Made& made) -> Napi::Value {
            return AddonData::of(env).optimizer_class.New({Napi::External<Made>::New(env, &made)});
          });
    });
  }

 private:
  struct Made {
    std::shared_ptr<Adam> adam;
    at::Device device;
  };

  std::shared_ptr<Adam> live() const {
    if (!adam_) throw DisposedError("the optimizer");
    return adam_.get();
  }

  Napi::Value step(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), "optimizer step", [&] {
      const double rate = number_argument(info[0], "learningRate");
      return submit(info.Env(), device_, "optimizer step", [adam = live(), rate, device = device_] {
        adam->step(rate);
        record_gradients(device);
      });
    });
  }

  Napi::Value state(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), "optimizer state", [&] {
      auto adam = live();
      auto list = [&](const std::vector<at::Tensor>& tensors) {
        auto array = Napi::Array::New(info.Env(), tensors.size());
        for (uint32_t i = 0; i < tensors.size(); ++i) {
          array.Set(i, TensorHandle::wrap(info.Env(), std::make_shared<TensorSlot>(tensors[i]), false));
        }
        return array;
      };
      auto result = Napi::Object::New(info.Env());
      result.Set("first", list(adam->first));
      result.Set("second", list(adam->second));
      result.Set("steps", list(adam->steps));
      return result;
    });
  }

  Napi::Value dispose(const Napi::CallbackInfo& info) {
    adam_.reset();
    return info.Env().Undefined();
  }

  WorkerShare<Adam> adam_;
  at::Device device_{at::kCPU};
};

}  // namespace

void define_optimizer(Napi::Env env, Napi::Object exports) {
  OptimizerHandle::define(env);
  exports.Set("createAdam", Napi::Function::New<OptimizerHandle::create>(env, "createAdam"));
}

}  // namespace kpop
