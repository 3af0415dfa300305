#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "bindings/settled.h"

namespace kpop {

/** Bytes of host memory that V8 is told of, once for all handles on tensors that share them. Touched by the
 *  JavaScript thread alone. */
struct HostMemory {
  int64_t bytes = 0;
  int64_t handles = 0;
};

/** A tensor that is there, or will be when the work queued for it has run. Its shape, dtype and device are
 * known from the start, so the JavaScript thread never waits to describe it. */
class TensorSlot : public Settled<at::Tensor> {
 public:
  /** A tensor in the making, contiguous as far as anyone knows. */
  TensorSlot(std::vector<int64_t> sizes, at::ScalarType dtype, at::Device device)
      : TensorSlot(at::empty(sizes, at::TensorOptions().dtype(dtype).device(at::kMeta)), device) {}
  /** A tensor in the making that looks like `meta`. */
  TensorSlot(const at::Tensor& meta, at::Device device)
      : sizes(meta.sizes().vec()),
        strides(meta.strides().vec()),
        dtype(meta.scalar_type()),
        device(device),
        memory(host_memory(meta, device)) {}
  explicit TensorSlot(at::Tensor value)
      : Settled(value),
        sizes(value.sizes().vec()),
        strides(value.strides().vec()),
        dtype(value.scalar_type()),
        device(value.device()),
        memory(host_memory(value, device)) {}

  /** The same without data. */
  at::Tensor meta() const {
    return at::empty_strided(sizes, strides, at::TensorOptions().dtype(dtype).device(at::kMeta));
  }

  /** The gradient as the last task that changed any left it; undefined where there is none. */
  at::Tensor gradient() const {
    std::lock_guard<std::mutex> lock(gradient_mutex_);
    return gradient_;
  }
  void set_gradient(at::Tensor gradient) {
    std::lock_guard<std::mutex> lock(gradient_mutex_);
    std::swap(gradient_, gradient);
  }

  const std::vector<int64_t> sizes;
  const std::vector<int64_t> strides;  // a guess until the tensor is there
  const at::ScalarType dtype;
  const at::Device device;
  std::shared_ptr<HostMemory> memory;  // null for another device's; that of a view is its base's

 private:
  static std::shared_ptr<HostMemory> host_memory(const at::Tensor& like, at::Device device) {
    if (!device.is_cpu()) return nullptr;
    return std::make_shared<HostMemory>(HostMemory{static_cast<int64_t>(like.nbytes())});
  }

  mutable std::mutex gradient_mutex_;
  at::Tensor gradient_;
};

using SlotPtr = std::shared_ptr<TensorSlot>;

}  // namespace kpop
