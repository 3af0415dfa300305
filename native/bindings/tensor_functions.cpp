#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/grad_mode.h>

#include <cmath>
#include <cstring>

#include "bindings/arguments.h"
#include "bindings/async.h"
#include "bindings/gradients.h"
#include "bindings/guarded.h"
#include "bindings/tensor.h"
#include "bindings/tensor_ops.h"
#include "bindings/upload.h"

namespace kpop {
namespace {

at::ScalarType typed_array_dtype(const Napi::TypedArray& array) {
  switch (array.TypedArrayType()) {
    case napi_float32_array:
      return at::kFloat;
    case napi_float64_array:
      return at::kDouble;
    case napi_bigint64_array:
      return at::kLong;
    case napi_int32_array:
      return at::kInt;
    case napi_uint8_array:
    case napi_uint8_clamped_array:
      return at::kByte;
    default:
      throw ArgumentError(
          "Expected data to be a Float32Array, Float64Array, BigInt64Array, Int32Array or Uint8Array");
  }
}

Napi::Value from_data(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "Tensor.from", [&]() -> Napi::Value {
    if (!info[0].IsTypedArray()) throw ArgumentError("Expected data to be a typed array");
    auto array = info[0].As<Napi::TypedArray>();
    const auto sizes = integers_argument(info[1], "shape");
    const auto dtype = dtype_argument(info[2]);
    const auto device = device_argument(info[3]);
    const bool requires_grad = bool_argument(info[4], "requiresGrad");
    auto* bytes = static_cast<char*>(array.ArrayBuffer().Data()) + array.ByteOffset();
    // Not a copy by libtorch: OpenMP would give this thread a team beside the worker's, and with more threads
    // than processors it puts both to sleep in every short region from then on.
    auto host = at::empty(sizes, at::TensorOptions().dtype(typed_array_dtype(array)));
    if (host.nbytes() != array.ByteLength()) {
      throw ArgumentError("Expected data to be as long as shape holds");
    }
    if (array.ByteLength() > 0) std::memcpy(host.mutable_data_ptr(), bytes, array.ByteLength());
    if (device.is_cpu() && host.scalar_type() == dtype) {
      host.requires_grad_(requires_grad);
      auto slot = std::make_shared<TensorSlot>(std::move(host));
      if (requires_grad) watch_gradient(slot);
      return TensorHandle::wrap(info.Env(), slot);
    }
    auto slot = std::make_shared<TensorSlot>(sizes, dtype, device);
    if (requires_grad) watch_gradient(slot);
    produce(info.Env(), slot, "Tensor.from", [host = std::move(host), dtype, device, requires_grad] {
      return upload(host.to(dtype), device).requires_grad_(requires_grad);
    });
    return TensorHandle::wrap(info.Env(), slot);
  });
}

Napi::Value zeros(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "Tensor.zeros", [&] {
    const auto sizes = integers_argument(info[0], "shape");
    const auto dtype = dtype_argument(info[1]);
    const auto device = device_argument(info[2]);
    const bool requires_grad = bool_argument(info[3], "requiresGrad");
    auto slot = std::make_shared<TensorSlot>(sizes, dtype, device);
    if (requires_grad) watch_gradient(slot);
    // Host memory is asked for here, so that a refusal has the caller's stack. It costs nothing before the
    // first byte is written.
    at::Tensor made;
    if (device.is_cpu()) made = at::empty(sizes, at::TensorOptions().dtype(dtype));
    produce(info.Env(), slot, "Tensor.zeros", [made = std::move(made), sizes, dtype, device, requires_grad] {
      const auto zeros =
          made.defined() ? made.zero_() : at::zeros(sizes, at::TensorOptions().dtype(dtype).device(device));
      return zeros.requires_grad_(requires_grad);
    });
    return TensorHandle::wrap(info.Env(), slot);
  });
}

Napi::Value empty(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "Tensor.empty", [&] {
    const auto sizes = integers_argument(info[0], "shape");
    auto value = at::empty(sizes, at::TensorOptions().dtype(dtype_argument(info[1])));
    return TensorHandle::wrap(info.Env(), std::make_shared<TensorSlot>(std::move(value)));
  });
}

/** A typed array's buffer over the tensor's own memory; the buffer keeps the memory alive. */
Napi::ArrayBuffer alias(Napi::Env env, const at::Tensor& host) {
  // Not the tensor: a weight may be laid out anew, elsewhere.
  using Share = WorkerShare<at::Storage>;
  if (host.numel() == 0) return Napi::ArrayBuffer::New(env, 0);
  auto share = std::make_shared<Share>(env, at::kCPU, std::make_shared<at::Storage>(host.storage()));
  auto* keep = new std::shared_ptr<Share>(share);
  try {
    return Napi::ArrayBuffer::New(
        env, host.data_ptr(), host.nbytes(),
        [](Napi::Env, void*, std::shared_ptr<Share>* held) { delete held; }, keep);
  } catch (...) {
    // In a thread that is being terminated. Whether `keep` has an owner is not known, so only the memory
    // goes.
    share->reset();
    throw;
  }
}

Napi::Value host_bytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "hostBytes", [&] {
    auto slot = TensorHandle::unwrap(info[0], "tensor");
    if (!slot->device.is_cpu() || !slot->ready())
      throw ArgumentError("hostBytes needs a tensor made by empty()");
    auto value = slot->get();
    if (!value.is_contiguous()) throw ArgumentError("hostBytes needs a contiguous tensor");
    return Napi::Uint8Array::New(info.Env(), value.nbytes(), alias(info.Env(), value), 0);
  });
}

Napi::Value randn(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "randn", [&] {
    const auto sizes = integers_argument(info[0], "shape");
    bool lossless = false;
    const uint64_t seed = info[1].As<Napi::BigInt>().Uint64Value(&lossless);
    const auto dtype = dtype_argument(info[2]);
    auto slot = std::make_shared<TensorSlot>(sizes, dtype, device_argument(info[3]));
    produce(info.Env(), slot, "randn", [sizes, seed, dtype, device = slot->device] {
      auto generator = at::detail::createCPUGenerator(seed);
      return upload(at::randn(sizes, generator, at::TensorOptions().dtype(at::kFloat)).to(dtype), device);
    });
    return TensorHandle::wrap(info.Env(), slot);
  });
}

Napi::Value op(const Napi::CallbackInfo& info) {
  const auto name = info[0].As<Napi::String>().Utf8Value();
  return guarded(info.Env(), name.c_str(), [&] {
    const auto& operation = tensor_op(name);
    auto inputs = slots_argument(info[1], "inputs");
    auto integers = integers_argument(info[2], "integers");
    auto scalars = numbers_argument(info[3], "scalars");
    const bool grad = bool_argument(info[4], "grad");
    if (inputs.empty() || (operation.inputs >= 0 && inputs.size() != static_cast<size_t>(operation.inputs))) {
      throw ArgumentError(name + " takes another number of tensors");
    }
    std::vector<at::Tensor> shapes;
    shapes.reserve(inputs.size());
    for (const auto& input : inputs) {
      if (input->device != inputs[0]->device) {
        throw ArgumentError(name + " needs tensors of one device but received " +
                            device_name(inputs[0]->device) + " and " + device_name(input->device));
      }
      shapes.push_back(input->meta());
    }
    // Run on shapes alone, here and now: the result can be described at once, and a mistake has the caller's
    // stack.
    at::NoGradGuard no_grad;
    const auto shape = operation.run(shapes, integers, scalars);
    auto slot = std::make_shared<TensorSlot>(shape, inputs[0]->device);
    if (shape.is_alias_of(shapes[0])) slot->memory = inputs[0]->memory;
    produce(info.Env(), slot, name,
            [&operation, inputs = std::move(inputs), integers = std::move(integers),
             scalars = std::move(scalars), grad]() mutable {
              at::AutoGradMode mode(grad);
              std::vector<at::Tensor> values;
              values.reserve(inputs.size());
              for (const auto& input : inputs) values.push_back(input->get());
              inputs.clear();
              return operation.run(values, integers, scalars);
            });
    return TensorHandle::wrap(info.Env(), slot);
  });
}

Napi::Value to(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "to", [&] {
    auto input = TensorHandle::unwrap(info[0], "tensor");
    const auto dtype = dtype_argument(info[1]);
    const auto device = device_argument(info[2]);
    const bool grad = bool_argument(info[3], "grad");
    if (dtype == input->dtype && device == input->device) return TensorHandle::wrap(info.Env(), input);
    auto slot = std::make_shared<TensorSlot>(input->sizes, dtype, device);
    produce(info.Env(), slot, "to", [input, dtype, device, grad] {
      at::AutoGradMode mode(grad);
      return input->get().to(device, dtype);
    });
    return TensorHandle::wrap(info.Env(), slot);
  });
}

Napi::Value copy_into(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "copyInto", [&] {
    auto target = TensorHandle::unwrap(info[0], "target");
    auto source = TensorHandle::unwrap(info[1], "source");
    return submit(info.Env(), target->device, "copyInto", [target, source] {
      at::NoGradGuard no_grad;
      target->get().copy_(source->get());
    });
  });
}

Napi::Value typed_array(Napi::Env env, const at::Tensor& host) {
  auto buffer = alias(env, host);
  const auto count = static_cast<size_t>(host.numel());
  switch (host.scalar_type()) {
    case at::kDouble:
      return Napi::Float64Array::New(env, count, buffer, 0);
    case at::kLong:
      return Napi::BigInt64Array::New(env, count, buffer, 0);
    case at::kInt:
      return Napi::Int32Array::New(env, count, buffer, 0);
    case at::kByte:
    case at::kBool:
      return Napi::Uint8Array::New(env, count, buffer, 0);
    default:
      return Napi::Float32Array::New(env, count, buffer, 0);
  }
}

Napi::Value read(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "data", [&] {
    auto slot = TensorHandle::unwrap(info[0], "tensor");
    return submit(
        info.Env(), slot->device, "data",
        [slot] {
          at::NoGradGuard no_grad;
          auto value = slot->get().detach();
          const bool half = value.scalar_type() == at::kHalf || value.scalar_type() == at::kBFloat16;
          auto host = value.to(at::kCPU, half ? at::kFloat : value.scalar_type()).contiguous();
          return host.is_alias_of(value) ? host.clone() : host;
        },
        [](Napi::Env env, const at::Tensor& host) { return typed_array(env, host); });
  });
}

Napi::Value item(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "item", [&] {
    auto slot = TensorHandle::unwrap(info[0], "tensor");
    return submit(
        info.Env(), slot->device, "item", [slot] { return slot->get().item().toDouble(); },
        [](Napi::Env env, double value) { return Napi::Number::New(env, value); });
  });
}

Napi::Value read_bytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "bytes", [&] {
    auto slot = TensorHandle::unwrap(info[0], "tensor");
    return submit(
        info.Env(), slot->device, "bytes",
        [slot] {
          at::NoGradGuard no_grad;
          return slot->get().detach().to(at::kCPU).contiguous();
        },
        [](Napi::Env env, const at::Tensor& host) -> Napi::Value {
          return Napi::Uint8Array::New(env, host.nbytes(), alias(env, host), 0);
        });
  });
}

Napi::Value settle(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "settle", [&] {
    auto slot = TensorHandle::unwrap(info[0], "tensor");
    return submit(info.Env(), slot->device, "settle", [slot] { slot->get(); });
  });
}

Napi::Value require_grad(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "requireGrad", [&]() -> Napi::Value {
    auto slots = slots_argument(info[0], "tensors");
    const bool on = bool_argument(info[1], "on");
    if (slots.empty()) return info.Env().Undefined();
    const auto device = slots[0]->device;
    return submit(info.Env(), device, "requireGrad", [slots = std::move(slots), on] {
      for (const auto& slot : slots) {
        slot->get().requires_grad_(on);
        if (on) watch_gradient(slot);
      }
    });
  });
}

Napi::Value backward(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "backward", [&] {
    auto loss = TensorHandle::unwrap(info[0], "loss");
    std::vector<SlotPtr> inputs;
    if (!info[1].IsNull()) inputs = slots_argument(info[1], "inputs");
    return submit(info.Env(), loss->device, "backward", [loss, inputs = std::move(inputs)] {
      at::AutoGradMode mode(true);
      std::vector<at::Tensor> targets;
      for (const auto& input : inputs) targets.push_back(input->get());
      for (const auto& input : inputs) watch_gradient(input);
      try {
        torch::autograd::backward({loss->get()}, {}, /*retain_graph=*/false, /*create_graph=*/false, targets);
      } catch (...) {
        record_gradients(loss->device);
        throw;
      }
      record_gradients(loss->device);
    });
  });
}

Napi::Value grad(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "grad", [&]() -> Napi::Value {
    auto slot = TensorHandle::unwrap(info[0], "tensor");
    const auto gradient = slot->gradient();
    if (!gradient.defined()) return info.Env().Null();
    return TensorHandle::wrap(info.Env(), std::make_shared<TensorSlot>(gradient), false);
  });
}

Napi::Value zero_grad(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "zeroGrad", [&]() -> Napi::Value {
    auto slots = slots_argument(info[0], "tensors");
    if (slots.empty()) return info.Env().Undefined();
    const auto device = slots[0]->device;
    return submit(info.Env(), device, "zeroGrad", [slots = std::move(slots), device] {
      for (const auto& slot : slots) slot->get().mutable_grad().reset();
      record_gradients(device);
    });
  });
}

/** Norms in float32 at least: that of a bfloat16 gradient has three digits in its own dtype. */
double clip_to_norm(const std::vector<SlotPtr>& slots, double max_norm) {
  at::NoGradGuard no_grad;
  std::vector<at::Tensor> gradients;
  auto dtype = at::kFloat;
  for (const auto& slot : slots) {
    const auto gradient = slot->get().grad();
    if (!gradient.defined()) continue;
    dtype = at::promote_types(dtype, gradient.scalar_type());
    gradients.push_back(gradient);
  }
  if (gradients.empty()) return 0;
  const auto norms = at::_foreach_norm(gradients, 2, dtype);
  const auto norm = at::linalg_vector_norm(at::stack(norms)).item<double>();
  const double factor = max_norm / (norm + 1e-6);
  if (std::isfinite(norm) && factor < 1) at::_foreach_mul_(gradients, factor);
  return norm;
}

Napi::Value clip_gradients(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), "clipGradients", [&] {
    auto slots = slots_argument(info[0], "tensors");
    if (slots.empty()) throw ArgumentError("Expected tensors to be at least one tensor");
    const double max_norm = number_argument(info[1], "maxNorm");
    const auto device = slots[0]->device;
    return submit(
        info.Env(), device, "clipGradients",
        [slots = std::move(slots), max_norm] { return clip_to_norm(slots, max_norm); },
        [](Napi::Env env, double norm) { return Napi::Number::New(env, norm); });
  });
}

}  // namespace

void define_tensor_functions(Napi::Env env, Napi::Object exports) {
  exports.Set("fromData", Napi::Function::New<from_data>(env, "fromData"));
  exports.Set("zeros", Napi::Function::New<zeros>(env, "zeros"));
  exports.Set("empty", Napi::Function::New<empty>(env, "empty"));
  exports.Set("hostBytes", Napi::Function::New<host_bytes>(env, "hostBytes"));
  exports.Set("randn", Napi::Function::New<randn>(env, "randn"));
  exports.Set("op", Napi::Function::New<op>(env, "op"));
  exports.Set("to", Napi::Function::New<to>(env, "to"));
  exports.Set("copyInto", Napi::Function::New<copy_into>(env, "copyInto"));
  exports.Set("read", Napi::Function::New<read>(env, "read"));
  exports.Set("item", Napi::Function::New<item>(env, "item"));
  exports.Set("readBytes", Napi::Function::New<read_bytes>(env, "readBytes"));
  exports.Set("settle", Napi::Function::New<settle>(env, "settle"));
  exports.Set("requireGrad", Napi::Function::New<require_grad>(env, "requireGrad"));
  exports.Set("backward", Napi::Function::New<backward>(env, "backward"));
  exports.Set("grad", Napi::Function::New<grad>(env, "grad"));
  exports.Set("zeroGrad", Napi::Function::New<zero_grad>(env, "zeroGrad"));
  exports.Set("clipGradients", Napi::Function::New<clip_gradients>(env, "clipGradients"));
}

}  // namespace kpop
