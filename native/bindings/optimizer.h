#pragma once

#include <napi.h>

namespace kpop {

/** Registers createAdam and the NativeOptimizer class. */
void define_optimizer(Napi::Env env, Napi::Object exports);

}  // namespace kpop
