#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <utility>
#include <vector>

#include "bindings/settled.h"

namespace kpop {

/** A tensor that is there, or will be when the work queued for it has run. Its shape, dtype and device are
 * known from the start, so the JavaScript thread never waits to describe it. */
class TensorSlot : public Settled<at::Tensor> {
 public:
  TensorSlot(std::vector<int64_t> sizes, at::ScalarType dtype, at::Device device)
      : sizes(std::move(sizes)), dtype(dtype), device(device) {}
  explicit TensorSlot(at::Tensor value)
      : Settled(value), sizes(value.sizes().vec()), dtype(value.scalar_type()), device(value.device()) {}

  const std::vector<int64_t> sizes;
  const at::ScalarType dtype;
  const at::Device device;
};

using SlotPtr = std::shared_ptr<TensorSlot>;

}  // namespace kpop
