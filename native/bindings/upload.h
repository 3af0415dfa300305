#pragma once

#include <ATen/core/Tensor.h>

namespace kpop {

/** A tensor in host memory, put on the device. Small ones go by way of pinned memory: the copy is queued
 * then, and nobody waits for what the device is doing. */
inline at::Tensor upload(const at::Tensor& host, at::Device device) {
  constexpr size_t kSmall = size_t{1} << 20;
  if (device.is_cpu()) return host;
  const auto options = host.options().device(device);
  return host.nbytes() <= kSmall ? host.pin_memory().to(options, /*non_blocking=*/true) : host.to(options);
}

}  // namespace kpop
