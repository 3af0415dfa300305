#include "bindings/delay.h"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

namespace kpop {
namespace {

using Clock = std::chrono::steady_clock;

class Delay {
 public:
  Delay() {
    std::thread([this] { run(); }).detach();
  }

  void post(std::function<void()> task) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      queue_.emplace_back(Clock::now() + std::chrono::milliseconds(1), std::move(task));
    }
    queued_.notify_one();
  }

 private:
  void run() {
    for (;;) {
      std::pair<Clock::time_point, std::function<void()>> next;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        queued_.wait(lock, [this] { return !queue_.empty(); });
        next = std::move(queue_.front());
        queue_.pop_front();
      }
      // All wait equally long, so that the first in the queue is the first due.
      std::this_thread::sleep_until(next.first);
      next.second();
    }
  }

  std::mutex mutex_;
  std::condition_variable queued_;
  std::deque<std::pair<Clock::time_point, std::function<void()>>> queue_;
};

}  // namespace

void after_a_millisecond(std::function<void()> task) {
  // Leaked on purpose: a thread that waits must not meet the destructors of a process that ends.
  static auto* delay = new Delay;
  delay->post(std::move(task));
}

}  // namespace kpop
