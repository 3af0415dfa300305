#pragma once

#include <condition_variable>
#include <exception>
#include <mutex>
#include <utility>

namespace kpop {

/** A value that is there, or will be when the work queued for it has run, or never, for the reason that an
 *  exception gives. Set or failed once, read by any thread. */
template <typename Value>
class Settled {
 public:
  Settled() = default;
  explicit Settled(Value value) : value_(std::move(value)), ready_(true) {}

  void set(Value value) { settle(std::move(value), nullptr); }
  void fail(std::exception_ptr error) { settle({}, std::move(error)); }

  bool ready() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return ready_;
  }

  bool failed() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return error_ != nullptr;
  }

  /** The value; waits where another thread makes it; rethrows what went wrong in making it. */
  Value get() const {
    std::unique_lock<std::mutex> lock(mutex_);
    settled_.wait(lock, [this] { return ready_; });
    if (error_) std::rethrow_exception(error_);
    return value_;
  }

 private:
  void settle(Value value, std::exception_ptr error) {
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
  Value value_{};
  std::exception_ptr error_;
  bool ready_ = false;
};

}  // namespace kpop
