#include "bindings/worker.h"

#include <future>
#include <memory>
#include <utility>

namespace kpop {

Worker::Worker() {
  // Last, and not as a member: the thread reads what the members before it are.
  std::thread([this] { run(); }).detach();
}

void Worker::post(std::function<void()> task) {
  {
    std::lock_guard<std::mutex> lock(queue_mutex_);
    queue_.push_back(std::move(task));
  }
  queued_.notify_one();
}

bool Worker::has_more() {
  std::lock_guard<std::mutex> lock(queue_mutex_);
  return !queue_.empty();
}

void Worker::drain() {
  auto done = std::make_shared<std::promise<void>>();
  auto reached = done->get_future();
  post([done] { done->set_value(); });
  reached.wait();
}

void Worker::run() {
  for (;;) {
    std::function<void()> task;
    {
      std::unique_lock<std::mutex> lock(queue_mutex_);
      queued_.wait(lock, [this] { return !queue_.empty(); });
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task();
    // What the task held goes with it here, before the next one starts.
  }
}

}  // namespace kpop
