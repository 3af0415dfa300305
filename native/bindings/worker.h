#pragma once

#include <c10/core/Device.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace kpop {

/** One thread per device that runs what it is given, in order. Workers live as long as the process. */
class Worker {
 public:
  static Worker& of(c10::Device device);

  /** Queues a task; tasks must not throw. */
  void post(std::function<void()> task);

  /** Waits until the task that runs now, if any, has ended, and keeps the next one from starting while `body`
   * runs. */
  template <typename Body>
  auto between_tasks(Body&& body) {
    std::lock_guard<std::mutex> running(running_);
    return body();
  }

  /** Waits until everything queued so far has run. */
  void drain();
  static void drain_all();

 private:
  Worker();
  void run();

  std::mutex queue_mutex_;
  std::condition_variable queued_;
  std::deque<std::function<void()>> queue_;
  std::mutex running_;
  std::thread thread_;
};

}  // namespace kpop
