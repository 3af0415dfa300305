#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace kpop {

/** A thread that runs what it is given, in order, for as long as the process lives. Knows nothing of torch or
 *  Node, so that test/native can run it under ThreadSanitizer. */
class Worker {
 public:
  Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /** Queues a task; tasks must not throw. */
  void post(std::function<void()> task);

  /** Whether tasks wait behind the one that runs. */
  bool has_more();

  /** Waits until everything queued so far has run. */
  void drain();

 private:
  void run();

  std::mutex queue_mutex_;
  std::condition_variable queued_;
  std::deque<std::function<void()>> queue_;
};

}  // namespace kpop
