#pragma once

#include <napi.h>

#include "bindings/addon_data.h"

namespace kpop {

/** Runs the body of a binding; whatever it throws reaches JavaScript as the library's error. */
template <typename Body>
auto guarded(Napi::Env env, const char* operation, Body&& body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw to_error(env, translate(std::current_exception(), operation));
  }
}

}  // namespace kpop
