// The parts of the add-on that several threads touch and that need neither Node nor torch, driven hard enough
// for ThreadSanitizer to see their locking. Built and run by `npm run test:tsan`.
//
//   worker_queue ROUNDS
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "bindings/settled.h"
#include "bindings/worker.h"

namespace {

constexpr int kProducers = 4;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "FAILED: %s\n", what);
  std::exit(1);
}

template <typename Body>
void together(int count, Body body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back(body, i);
  for (auto& thread : threads) thread.join();
}

/** Workers live as long as the process, as the add-on's do. */
kpop::Worker& worker(int index) {
  static auto* const both = new kpop::Worker[2];
  return both[index];
}

void tasks_of_one_thread_run_in_its_order(int rounds) {
  std::vector<std::vector<int>> seen(kProducers);  // written by the worker alone, with no lock of its own
  together(kProducers, [&](int producer) {
    for (int i = 0; i < rounds; ++i) {
      worker(0).post([&seen, producer, i] { seen[producer].push_back(i); });
    }
  });
  worker(0).drain();
  for (const auto& order : seen) {
    require(order.size() == static_cast<size_t>(rounds), "every task runs once");
    for (int i = 0; i < rounds; ++i) require(order[i] == i, "tasks run in order");
  }
}

/** As optimizer steps, which write to what the next task reads. */
void tasks_of_many_threads_never_meet(int rounds) {
  struct {
    int first = 0;
    int second = 0;
  } pair;  // touched by tasks, with no lock of its own
  together(kProducers, [&](int) {
    for (int i = 0; i < rounds; ++i) {
      worker(0).post([&pair] {
        require(pair.first == pair.second, "no task meets another half done");
        ++pair.first;
        ++pair.second;
      });
    }
  });
  worker(0).drain();
  require(pair.first == kProducers * rounds, "every task has run by the end of drain");
}

/** As a chain of tensor operations across two devices: each waits for the one before on the other worker. */
void values_pass_from_worker_to_worker(int rounds) {
  auto value = std::make_shared<kpop::Settled<std::vector<int>>>(std::vector<int>{0});
  for (int i = 0; i < rounds; ++i) {
    auto next = std::make_shared<kpop::Settled<std::vector<int>>>();
    worker(i % 2).post([value, next] { next->set({value->get()[0] + 1}); });
    value = next;
  }
  together(kProducers,
           [&](int) { require(value->get()[0] == rounds, "the chain ends with its last value"); });
  require(value->ready(), "what was read is ready");
}

void a_failure_reaches_every_reader(int rounds) {
  for (int i = 0; i < rounds; ++i) {
    auto value = std::make_shared<kpop::Settled<int>>();
    worker(i % 2).post([value] {
      try {
        throw std::runtime_error("on purpose");
      } catch (...) {
        value->fail(std::current_exception());
      }
    });
    std::atomic<int> told{0};
    together(2, [&](int) {
      try {
        value->get();
      } catch (const std::runtime_error& error) {
        if (error.what() == std::string("on purpose")) ++told;
      }
    });
    require(told == 2, "every reader is told");
  }
}

void what_a_task_holds_is_gone_when_drain_ends(int rounds) {
  for (int i = 0; i < rounds; ++i) {
    auto held = std::make_shared<std::vector<int>>(1, i);
    std::weak_ptr<std::vector<int>> watch = held;
    worker(0).post([held = std::move(held)] { held->push_back(0); });
    worker(0).drain();
    require(watch.expired(), "a task's captures are freed on the worker");
  }
}

}  // namespace

int main(int count, char** arguments) {
  const int rounds = count > 1 ? std::atoi(arguments[1]) : 1000;
  require(rounds > 0, "ROUNDS is a positive number");
  tasks_of_one_thread_run_in_its_order(rounds);
  tasks_of_many_threads_never_meet(rounds);
  values_pass_from_worker_to_worker(rounds);
  a_failure_reaches_every_reader(rounds / 10 + 1);
  what_a_task_holds_is_gone_when_drain_ends(rounds);
  std::puts("ok");
}
