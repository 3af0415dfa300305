#include "nn/unet_forward.h"

#include <ATen/ATen.h>

#include "bindings/arguments.h"
#include "bindings/async.h"
#include "bindings/forwards.h"
#include "bindings/guarded.h"
#include "bindings/module.h"
#include "bindings/tensor.h"
#include "bindings/upload.h"

namespace kpop {
namespace {

/** What a forward takes, its tensors still in the making. */
struct QueuedInputs {
  struct Prompt {
    SlotPtr value;
    nn::Prompt::Mechanism mechanism;
    std::vector<std::string> layers;
  };

  SlotPtr sample;
  std::vector<double> timesteps;
  SlotPtr context;
  std::optional<Prompt> prompt;
  SlotPtr pooled, time_ids;  // both or neither
  std::vector<std::string> parameter_names;
  std::vector<SlotPtr> parameter_values;
  bool grad;

  /** The inputs, with `tensor_of(slot)` for every slot.  @param when the timesteps, (B) */
  template <class TensorOf>
  nn::UNetInputs inputs(at::Tensor when, TensorOf tensor_of) const {
    nn::UNetInputs result{tensor_of(sample), std::move(when), tensor_of(context)};
    if (prompt) result.prompt = nn::Prompt{tensor_of(prompt->value), prompt->mechanism, prompt->layers};
    if (pooled) result.added = nn::AddedConditions{tensor_of(pooled), tensor_of(time_ids)};
    return result;
  }
};

QueuedInputs inputs_argument(const Napi::CallbackInfo& info) {
  const auto options = info[4].As<Napi::Object>();
  QueuedInputs inputs{.sample = TensorHandle::unwrap(info[1], "sample"),
                      .timesteps = numbers_argument(info[2], "timesteps"),
                      .context = TensorHandle::unwrap(info[3], "context"),
                      .prompt = {},
                      .pooled = {},
                      .time_ids = {},
                      .parameter_names = strings_argument(options.Get("parameterNames"), "parameterNames"),
                      .parameter_values = slots_argument(options.Get("parameterValues"), "parameters"),
                      .grad = bool_argument(options.Get("grad"), "grad")};
  if (const auto given = options.Get("prompt"); !given.IsNull()) {
    const auto fields = given.As<Napi::Object>();
    const bool additive = string_argument(fields.Get("mechanism"), "mechanism") == "additive";
    inputs.prompt = {TensorHandle::unwrap(fields.Get("value"), "prompt"),
                     additive ? nn::Prompt::Mechanism::additive : nn::Prompt::Mechanism::concat,
                     strings_argument(fields.Get("layers"), "layers")};
  }
  if (const auto given = options.Get("added"); !given.IsNull()) {
    const auto fields = given.As<Napi::Object>();
    inputs.pooled = TensorHandle::unwrap(fields.Get("pooled"), "pooled");
    inputs.time_ids = TensorHandle::unwrap(fields.Get("timeIds"), "timeIds");
  }
  return inputs;
}

/** A forward that is on its way, touched by the worker alone. */
struct Run {
  std::shared_ptr<nn::UNet2DConditionModel> unet;
  QueuedInputs queued;
  std::vector<std::string> stops;
  std::optional<nn::UNetForward> forward{};

  /** Runs on to the next stop, of which it gives the name, or to the end: null. */
  const std::string* advance(const SlotPtr& replacement) {
    at::AutoGradMode mode(queued.grad);
    if (!forward) {
      nn::Parameters parameters;
      for (size_t i = 0; i < queued.parameter_names.size(); ++i)
        parameters.emplace_back(queued.parameter_names[i], queued.parameter_values[i]->get());
      auto when = upload(at::tensor(queued.timesteps, at::kFloat), queued.sample->device);
      auto inputs = queued.inputs(std::move(when), [](const SlotPtr& slot) { return slot->get(); });
      forward.emplace(unet, std::move(inputs), std::move(parameters), stops);
    } else if (replacement) {
      forward->replace(replacement->get());
    }
    return forward->advance();
  }
};

/** A mistake in shapes has the caller's stack: what only needs shapes is checked here and now. */
std::vector<int64_t> checked_output(const nn::UNet2DConditionModel& unet, const QueuedInputs& queued) {
  const auto shape_of = [](const SlotPtr& slot) { return slot->meta(); };
  const auto count = static_cast<int64_t>(queued.timesteps.size());
  unet.check(queued.inputs(at::empty({count}, at::TensorOptions().device(at::kMeta)), shape_of));
  if (queued.parameter_names.size() != queued.parameter_values.size())
    throw ArgumentError("Expected as many parameters as names");
  for (size_t i = 0; i < queued.parameter_names.size(); ++i)
    unet.check_parameter(queued.parameter_names[i], shape_of(queued.parameter_values[i]));
  auto sizes = queued.sample->sizes;
  sizes[0] = queued.context->sizes[0];
  sizes[1] = unet.config().out_channels;
  return sizes;
}

struct Stop {
  std::string name;
  at::Tensor output;
};

Napi::Value go_on(const Napi::CallbackInfo& info, const std::shared_ptr<Run>& run, const SlotPtr& output) {
  constexpr auto kOperation = "UNet2DConditionModel.forward";
  return guarded(info.Env(), kOperation, [&] {
    if (!run) throw DisposedError("the forward");
    SlotPtr replacement;
    if (!info[0].IsNull()) replacement = TensorHandle::unwrap(info[0], "replacement");
    return submit(
        info.Env(), output->device, kOperation,
        [run, output, replacement]() -> std::optional<Stop> {
          const auto* name = run->advance(replacement);
          if (name != nullptr) return Stop{*name, run->forward->output()};
          output->set(run->forward->result());
          return std::nullopt;
        },
        [](Napi::Env env, const std::optional<Stop>& stop) -> Napi::Value {
          if (!stop) return env.Null();
          auto result = Napi::Object::New(env);
          result.Set("name", stop->name);
          result.Set("output", TensorHandle::wrap(env, std::make_shared<TensorSlot>(stop->output)));
          return result;
        });
  });
}

/** The functions that JavaScript calls to go on, from the start and then from each stop, and to have enough.
 */
void set_controls(Napi::Object result, std::shared_ptr<Run> run, SlotPtr output) {
  const auto env = result.Env();
  auto share = std::make_shared<WorkerShare<Run>>(env, output->device, std::move(run));
  const auto next = [share, output](const Napi::CallbackInfo& info) {
    return go_on(info, share->get(), output);
  };
  const auto drop = [share](const Napi::CallbackInfo&) { share->reset(); };
  result.Set("next", Napi::Function::New(env, next, "next"));
  result.Set("drop", Napi::Function::New(env, drop, "drop"));
}

Napi::Value unet_forward(const Napi::CallbackInfo& info) {
  constexpr auto kOperation = "UNet2DConditionModel.forward";
  return guarded(info.Env(), kOperation, [&]() -> Napi::Value {
    auto run = std::make_shared<Run>(Run{.unet = ModuleHandle::unwrap<nn::UNet2DConditionModel>(info[0]),
                                         .queued = inputs_argument(info),
                                         .stops = strings_argument(info[5], "stops")});
    const auto& sample = run->queued.sample;
    auto output =
        std::make_shared<TensorSlot>(checked_output(*run->unet, run->queued), sample->dtype, sample->device);
    auto result = Napi::Object::New(info.Env());
    result.Set("output", TensorHandle::wrap(info.Env(), output));
    if (!run->stops.empty()) {
      set_controls(result, std::move(run), output);
      return result;
    }
    result.Set("next", info.Env().Null());
    result.Set("drop", info.Env().Null());
    produce(info.Env(), output, kOperation, [run = std::move(run)] {
      run->advance(nullptr);
      return run->forward->result();
    });
    return result;
  });
}

}  // namespace

void define_unet_forward(Napi::Env env, Napi::Object exports) {
  exports.Set("unetForward", Napi::Function::New<unet_forward>(env, "unetForward"));
}

}  // namespace kpop
