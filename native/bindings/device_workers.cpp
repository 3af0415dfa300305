#include "bindings/device_workers.h"

#include <map>
#include <memory>
#include <mutex>
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

Worker& worker_of(c10::Device device) {
  std::lock_guard<std::mutex> lock(pool().mutex);
  const int index = device.has_index() && !device.is_cpu() ? device.index() : 0;
  auto& worker = pool().workers[{static_cast<int>(device.type()), index}];
  if (!worker) worker = std::make_unique<Worker>();
  return *worker;
}

void drain_workers() {
  std::vector<Worker*> all;
  {
    std::lock_guard<std::mutex> lock(pool().mutex);
    for (const auto& entry : pool().workers) all.push_back(entry.second.get());
  }
  for (auto* worker : all) worker->drain();
}

}  // namespace kpop
