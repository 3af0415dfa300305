#include "bindings/gradients.h"

#include <map>
#include <unordered_map>
#include <utility>

namespace kpop {
namespace {

using Watched = std::unordered_map<TensorSlot*, std::weak_ptr<TensorSlot>>;

struct Registry {
  std::mutex mutex;
  std::map<std::pair<int, int>, Watched> of_device;
};

Registry& registry() {
  // Leaked on purpose, as the workers are.
  static auto* instance = new Registry;
  return *instance;
}

std::pair<int, int> key(at::Device device) {
  return {static_cast<int>(device.type()), device.index()};
}

}  // namespace

void watch_gradient(const SlotPtr& slot) {
  std::lock_guard<std::mutex> lock(registry().mutex);
  registry().of_device[key(slot->device)].insert_or_assign(slot.get(), slot);
}

void record_gradients(at::Device device) {
  std::vector<SlotPtr> live;  // let go after the lock: the last share of a slot may be among them
  std::lock_guard<std::mutex> lock(registry().mutex);
  auto& watched = registry().of_device[key(device)];
  live.reserve(watched.size());
  for (auto entry = watched.begin(); entry != watched.end();) {
    auto slot = entry->second.lock();
    if (!slot) {
      entry = watched.erase(entry);
      continue;
    }
    if (slot->ready() && !slot->failed()) {
      const auto value = slot->get();
      if (value.is_leaf() || value.retains_grad()) slot->set_gradient(value.grad());
    }
    live.push_back(std::move(slot));
    ++entry;
  }
}

}  // namespace kpop
