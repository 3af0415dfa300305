#include "bindings/worker.h"

#include <future>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace kpop {
namespace {

struct Pool {
  std::mutex mutex;
  std::map<std::pair<int, int>, std::unique_ptr<Worker>> workers;
};

Pool& pool() {
  // Leaked on purpose: a thread that waits for work must not meet the destructors of a process that ends.
  static auto* instance = new Pool;
  return *instance;
}

}  // namespace

Worker& Worker::of(c10::Device device) {
  std::lock_guard<std::mutex> lock(pool().mutex);
  const int index = device.has_index() && !device.is_cpu() ? device.index() : 0;
  auto& worker = pool().workers[{static_cast<int>(device.type()), index}];
  if (!worker) worker.reset(new Worker);
  return *worker;
}

void Worker::drain_all() {
  std::vector<Worker*> all;
  {
    std::lock_guard<std::mutex> lock(pool().mutex);
    for (const auto& entry : pool().workers) all.push_back(entry.second.get());
  }
  for (auto* worker : all) worker->drain();
}

Worker::Worker() : thread_([this] { run(); }) {
  thread_.detach();
}

void Worker::post(std::function<void()> task) {
  {
    std::lock_guard<std::mutex> lock(queue_mutex_);
    queue_.push_back(std::move(task));
  }
  queued_.notify_one();
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
    std::lock_guard<std::mutex> running(running_);
    task();
    task = nullptr;  // what the task held goes before the next waiter is let in
  }
}

}  // namespace kpop
