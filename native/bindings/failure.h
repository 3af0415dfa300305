#pragma once

#include <exception>
#include <string>

namespace kpop {

/** What JavaScript learns of a native failure: the fields of `NativeFailure` in typings/native.d.ts. */
struct Failure {
  std::string code;
  std::string message;
  std::string operation;
};

/** The only place that turns exceptions (ATen's, ours, the standard library's) into codes and sentences. */
Failure translate(std::exception_ptr exception, const std::string& operation);

}  // namespace kpop
