#pragma once

#include <c10/util/StringUtil.h>

#include <stdexcept>

namespace kpop {

/** A value the caller gave is unusable. `what()` is one sentence: what was expected, what came. */
class ArgumentError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/** Throws ArgumentError with the concatenated `parts` unless `holds`. */
template <class... Parts>
void check_argument(bool holds, const Parts&... parts) {
  if (!holds) [[unlikely]] {
    throw ArgumentError(c10::str(parts...));
  }
}

}  // namespace kpop
