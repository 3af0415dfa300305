#pragma once

#include <functional>

namespace kpop {

/** Runs `task` a millisecond later, on a thread of its own that serves all; tasks must be short and not throw. */
void after_a_millisecond(std::function<void()> task);

}  // namespace kpop
