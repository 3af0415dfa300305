#pragma once

#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

namespace kpop {

/** What JavaScript learns of a native failure: the fields of `NativeFailure` in typings/native.d.ts. */
struct Failure {
  std::string code;
  std::string message;
  std::string operation;
};

/** A failure that was translated before: it keeps the name of the operation that it happened in. */
class TranslatedError : public std::runtime_error {
 public:
  explicit TranslatedError(Failure failure)
      : std::runtime_error(failure.message), failure(std::move(failure)) {}
  const Failure failure;
};

/** A handle that was disposed before. */
class DisposedError : public std::runtime_error {
 public:
  explicit DisposedError(const std::string& what) : std::runtime_error(what + " was disposed") {}
};

/** A device that this machine or this libtorch does not have. */
class DeviceError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/** The only place that turns exceptions (ATen's, ours, the standard library's) into codes and sentences. */
Failure translate(std::exception_ptr exception, const std::string& operation);

}  // namespace kpop
