#pragma once

#include <ATen/core/Tensor.h>

#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <vector>

namespace kpop {

/** A tensor that is there, or will be when the work queued for it has run. Its shape, dtype and device are
 * known from the start, so the JavaScript thread never waits to describe it. */
class TensorSlot {
 public:
  TensorSlot(std::vector<int64_t> sizes, at::ScalarType dtype, at::Device device)
      : sizes(std::move(sizes)), dtype(dtype), device(device) {}
  explicit TensorSlot(at::Tensor value)
      : sizes(value.sizes().vec()),
        dtype(value.scalar_type()),
        device(value.device()),
        value_(std::move(value)),
        ready_(true) {}

  const std::vector<int64_t> sizes;
  const at::ScalarType dtype;
  const at::Device device;

  void set(at::Tensor value) { settle(std::move(value), nullptr); }
  void fail(std::exception_ptr error) { settle({}, std::move(error)); }

  bool ready() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return ready_;
  }

  /** The tensor; waits where another device's worker makes it; rethrows what went wrong in making it. */
  at::Tensor get() const {
    std::unique_lock<std::mutex> lock(mutex_);
    settled_.wait(lock, [this] { return ready_; });
    if (error_) std::rethrow_exception(error_);
    return value_;
  }

 private:
  void settle(at::Tensor value, std::exception_ptr error) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      value_ = std::move(value);
      error_ = std::move(error);
      ready_ = true;
    }
    settled_.notify_all();
  }

  mutable std::mutex mutex_;
  mutable std::condition_variable settled_;
  at::Tensor value_;
  std::exception_ptr error_;
  bool ready_ = false;
};

using SlotPtr = std::shared_ptr<TensorSlot>;

}  // namespace kpop
