#pragma once

#include <napi.h>

namespace kpop {

/** Registers mapTensors. */
void define_mapped_file(Napi::Env env, Napi::Object exports);

}  // namespace kpop
