#pragma once

#include <c10/core/Device.h>
#include <napi.h>

#include <memory>
#include <utility>

#include "bindings/addon_data.h"
#include "bindings/device_workers.h"

namespace kpop {

/** The JavaScript thread's share of something big. It is dropped on the device's worker, behind what is
 * queued there, so that freeing gigabytes holds nobody up; once the environment has ended, in place. */
template <class T>
class WorkerShare {
 public:
  WorkerShare() = default;
  WorkerShare(Napi::Env env, c10::Device device, std::shared_ptr<T> value)
      : value_(std::move(value)), device_(device), channel_(AddonData::of(env).channel) {}
  WorkerShare(WorkerShare&& other) noexcept = default;
  WorkerShare& operator=(WorkerShare&& other) noexcept {
    reset();
    value_ = std::move(other.value_);
    device_ = other.device_;
    channel_ = std::move(other.channel_);
    return *this;
  }
  ~WorkerShare() { reset(); }

  void reset() noexcept {
    if (!value_) return;
    try {
      if (!channel_->closed()) worker_of(device_).post([value = std::move(value_)] {});
    } catch (...) {
      // Without memory for a task it goes here.
    }
    value_.reset();
  }

  const std::shared_ptr<T>& get() const { return value_; }
  explicit operator bool() const { return value_ != nullptr; }
  /** Where it will be dropped: the device whose memory it holds. */
  void move_to(c10::Device device) { device_ = device; }

 private:
  std::shared_ptr<T> value_;
  c10::Device device_{c10::kCPU};
  std::shared_ptr<Channel> channel_;
};

}  // namespace kpop
