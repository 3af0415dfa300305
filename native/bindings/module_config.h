#pragma once

#include <napi.h>

#include <memory>
#include <string>

#include "nn/module.h"

namespace kpop {

/** Builds the network of that kind from its configuration object (diffusers' field names, every field
 * present).
 *  @throws ArgumentError when the kind is unknown or a field is missing or of another type */
std::shared_ptr<nn::Network> build_network(const std::string& kind, const Napi::Object& config);

}  // namespace kpop
