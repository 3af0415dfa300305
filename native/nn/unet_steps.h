#pragma once

#include <ATen/ops/cat.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "conditioning.h"

namespace kpop::nn {

/** What the steps of one forward of the UNet read and write. */
struct UNetState {
  Tensor x{};              // (B, C, h, w), or the tokens (B, N, C) inside of a transformer
  Tensor branch{};         // what attention or feed-forward is to add to the tokens: (B, N, width)
  Tensor residual{};       // what a transformer is to be added to: (B, C, h, w)
  Tensor probabilities{};  // (B, heads, N, L), where the next attention is to use these in place of its own
  Tensor time{};           // (B, time_width), after its activation
  std::vector<Tensor> skips{};  // what the down path left and the up path has not yet taken
  Conditioning conditioning;

  /** Repeats everything until there is a copy of it for each text. */
  void meet_texts() {
    const auto count = conditioning.size() / x.size(0);
    if (count == 1) return;
    const auto repeat = [count](Tensor& value) {
      if (value.defined()) value = at::cat(std::vector<Tensor>(count, value));
    };
    for (auto* value : {&x, &branch, &residual, &time}) repeat(*value);
    for (auto& skip : skips) repeat(skip);
  }

  // The outputs that steps can have.
  static Tensor& current(UNetState& state) { return state.x; }
  static Tensor& to_add(UNetState& state) { return state.branch; }
  static Tensor& attention(UNetState& state) { return state.probabilities; }
  static Tensor& last_skip(UNetState& state) { return state.skips.back(); }
};

/** One piece of a forward, under the name of the module whose output it leaves in `output`. */
struct Step {
  std::string name;  // empty where the piece ends in no module's output
  std::function<void(UNetState&)> run;
  Tensor& (*output)(UNetState&) = UNetState::current;
  bool on_request =
      false;  // run only where a forward stops at it; the output is used only if it was replaced
};

/** The pieces of a forward in order, as the modules append them. */
class Steps {
 public:
  void add(std::string name, std::function<void(UNetState&)> run,
           Tensor& (*output)(UNetState&) = UNetState::current) {
    list_.push_back({std::move(name), std::move(run), output});
  }
  /** A piece that a plain forward leaves out. */
  void add_on_request(std::string name, std::function<void(UNetState&)> run, Tensor& (*output)(UNetState&)) {
    list_.push_back({std::move(name), std::move(run), output, /*on_request=*/true});
  }
  /** Another name for what is current: that of the module around the one before. */
  void name_current(std::string name) {
    add(std::move(name), [](UNetState&) {});
  }
  /** Leaves what is current for the up path, as "skips.0", "skips.1" and so on. */
  void keep_skip() {
    add(
        "skips." + std::to_string(skips_++), [](UNetState& s) { s.skips.push_back(s.x); },
        UNetState::last_skip);
  }

  const std::vector<Step>& list() const { return list_; }

 private:
  std::vector<Step> list_;
  size_t skips_ = 0;
};

}  // namespace kpop::nn
