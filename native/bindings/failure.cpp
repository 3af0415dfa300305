#include "bindings/failure.h"

#include <c10/util/Exception.h>

#include <new>

#include "nn/argument_error.h"

namespace kpop {
namespace {

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

bool is_out_of_memory(const std::string& message) {
  return contains(message, "out of memory") || contains(message, "can't allocate memory") ||
         contains(message, "not enough memory");
}

}  // namespace

Failure translate(std::exception_ptr exception, const std::string& operation) {
  try {
    std::rethrow_exception(std::move(exception));
  } catch (const TranslatedError& error) {
    return error.failure;
  } catch (const ArgumentError& error) {
    return {"INVALID_ARGUMENT", error.what(), operation};
  } catch (const DeviceError& error) {
    return {"DEVICE_UNAVAILABLE", error.what(), operation};
  } catch (const DisposedError& error) {
    return {"DISPOSED", operation + ": " + error.what(), operation};
  } catch (const c10::OutOfMemoryError& error) {
    return {"OUT_OF_MEMORY", operation + ": " + first_line(error.what_without_backtrace()), operation};
  } catch (const c10::LinAlgError& error) {
    return {"NUMERIC_FAILURE", operation + ": " + first_line(error.what_without_backtrace()), operation};
  } catch (const c10::Error& error) {
    const std::string message = first_line(error.what_without_backtrace());
    return {is_out_of_memory(message) ? "OUT_OF_MEMORY" : "NATIVE_FAILURE", operation + ": " + message,
            operation};
  } catch (const std::bad_alloc&) {
    return {"OUT_OF_MEMORY", operation + ": the system refused the memory asked for", operation};
  } catch (const std::exception& error) {
    const std::string message = first_line(error.what());
    return {is_out_of_memory(message) ? "OUT_OF_MEMORY" : "NATIVE_FAILURE", operation + ": " + message,
            operation};
  } catch (...) {
    return {"NATIVE_FAILURE", operation + ": an exception of an unknown kind", operation};
  }
}

}  // namespace kpop
