#pragma once

#include <napi.h>

namespace kpop {

/** Registers unetForward. */
void define_unet_forward(Napi::Env env, Napi::Object exports);

/** Registers the forwards of the other networks. */
void define_forwards(Napi::Env env, Napi::Object exports);

}  // namespace kpop
