#pragma once

#include <napi.h>

namespace kpop {

/** Registers createModule, the forwards and the NativeModule class. */
void define_modules(Napi::Env env, Napi::Object exports);

}  // namespace kpop
